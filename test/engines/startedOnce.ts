/** One engine for all tests of a file. */
import { Effect, Exit, Scope } from "effect"
import { afterAll, beforeAll } from "vitest"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import type { MakeEngine } from "./runOnce.ts"

export const startedOnce = (make: Effect.Effect<Engine, EngineError, Scope.Scope>): MakeEngine => {
  const scope = Effect.runSync(Scope.make())
  let engine: Engine | undefined
  beforeAll(async () => {
    engine = await Effect.runPromise(Effect.provideService(make, Scope.Scope, scope))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return () => Effect.sync(() => engine!)
}
