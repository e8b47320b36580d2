import { expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { EngineError } from "../../src/engines/Engine.ts"
import { Waiting } from "../../src/engines/remote.ts"

it.effect("questions get their own answers, and nothing waits by the time the last one goes on", () =>
  Effect.gen(function* () {
    const said: Array<string> = []
    const waiting = new Waiting<string>(() => said.push("idle"))
    const asked: Array<number> = []
    const ask = Effect.tap(
      waiting.ask(id => asked.push(id)),
      answer => Effect.sync(() => said.push(answer))
    )
    const fibers = [yield* Effect.forkChild(ask), yield* Effect.forkChild(ask)]
    yield* Effect.yieldNow
    waiting.answer(asked[1]!, Effect.succeed("second"))
    waiting.answer(asked[0]!, Effect.succeed("first"))
    waiting.answer(7, Effect.succeed("nobody's"))
    yield* Effect.forEach(fibers, Fiber.join)
    // A thread that is let go of only after its last answer may be closing by then.
    expect(said).toEqual(["second", "idle", "first"])
  })
)

it.effect("what waits fails when there is nobody to answer, and so does what is asked later", () =>
  Effect.gen(function* () {
    const waiting = new Waiting<string>()
    const error = new EngineError({ engine: "ort", message: "gone" })
    const fiber = yield* Effect.forkChild(Effect.exit(waiting.ask(() => undefined)))
    yield* Effect.yieldNow
    expect(waiting.end(error)).toBe(error)
    expect(waiting.end(new EngineError({ engine: "ort", message: "later" }))).toBe(error)
    for (const exit of [yield* Fiber.join(fiber), yield* Effect.exit(waiting.ask(() => undefined))])
      expect(exit).toEqual(Exit.fail(error))
  })
)
