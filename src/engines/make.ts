/** Starts the engine that an action's key names. */
import { Effect, type Scope } from "effect"
import { type Engine, EngineError } from "./Engine.ts"
import { engineOfClass, precisionOfClass, torchDevice } from "./names.ts"

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
      case "reference": {
        const { makeReference } = yield* Effect.promise(() => import("./reference/reference.ts"))
        return makeReference()
      }
      case "torch": {
        if (precision === undefined) break
        const { makeTorch } = yield* Effect.promise(() => import("./torch/torch.ts"))
        // The class says which kind of device the key was made for; the environment may say which of them.
        const kind = numericClass.split("/")[1]!
        const device = torchDevice().startsWith(kind) ? torchDevice() : kind
        return yield* makeTorch({ ...options, device, precision, compiled: device.startsWith("cuda") })
      }
      case undefined:
    }
    return yield* new EngineError({ engine: numericClass, message: `this version has no engine ${numericClass}` })
  })
