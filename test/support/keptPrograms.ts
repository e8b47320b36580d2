/** Engines that compile equal programs once, for tests that make the same model many times: most of what ONNX Runtime does for a small model is to get it ready. */
import { Effect, Scope } from "effect"
import type { Engine, EngineError, Executable } from "../../src/engines/Engine.ts"
import { makeOrt, type OrtOptions } from "../../src/engines/ort/ort.ts"
import { encodeProgram } from "../../src/tensor/encode.ts"

/** What is compiled stays until the scope of the engine ends. */
export const keepingPrograms = (engine: Engine): Effect.Effect<Engine, never, Scope.Scope> =>
  Effect.map(Effect.scope, scope => {
    const kept = new Map<string, Executable>()
    return {
      ...engine,
      compile: (program, options = {}) =>
        Effect.suspend(() => {
          const key = JSON.stringify([encodeProgram(program), options])
          const known = kept.get(key)
          if (known !== undefined) return Effect.succeed(known)
          return Effect.tap(Effect.provideService(engine.compile(program, options), Scope.Scope, scope), executable =>
            Effect.sync(() => void kept.set(key, executable))
          )
        })
    }
  })

/** An ONNX Runtime that keeps its programs. */
export const keepingOrt = (options: OrtOptions = {}): Effect.Effect<Engine, EngineError, Scope.Scope> =>
  Effect.flatMap(makeOrt(options), keepingPrograms)
