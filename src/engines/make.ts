/** Starts the engine that an action's key names. */
import { Effect, type Scope } from "effect"
import { type Engine, EngineError } from "./Engine.ts"
import { engineOfClass, precisionOfClass } from "./names.ts"

/** Loads no engine but the one that is asked for. */
export const makeEngine = (
  numericClass: string,
  options: { readonly threads: number }
): Effect.Effect<Engine, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const name = engineOfClass(numericClass)
    const precision = precisionOfClass(numericClass)
    switch (name) {
      case "ort": {
        const { makeOrt } = yield* Effect.promise(() => import("./ort/ort.ts"))
        return yield* makeOrt(options)
      }
      case "webgpu": {
        const { makeOrt } = yield* Effect.promise(() => import("./ort/ort.ts"))
        return yield* makeOrt({ ...options, device: "webgpu" })
      }
      case "reference": {
        const { makeReference } = yield* Effect.promise(() => import("./reference/reference.ts"))
        return makeReference()
      }
      case "torch": {
        if (precision === undefined) break
        const { makeTorch } = yield* Effect.promise(() => import("./torch/torch.ts"))
        // Which of the GPUs it is, CUDA_VISIBLE_DEVICES says: an action sees only those that it holds.
        const device = numericClass.split("/")[1]!
        return yield* makeTorch({ ...options, device, precision, compiled: device === "cuda" })
      }
      case undefined:
    }
    return yield* new EngineError({ engine: numericClass, message: `this version has no engine ${numericClass}` })
  })
