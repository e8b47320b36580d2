/** How much of a text survives in Cola's latents: texts of which only the first token is visible, told by the mean of their latents. */
import { Effect, type Scope } from "effect"
import { windowArrays } from "../../tokens/windows.ts"
import type { Buffers, Engine, EngineError } from "../../engines/Engine.ts"
import { rowTensors } from "../../sessions/query.ts"
import { inputsOf, makeSession } from "../../sessions/session.ts"
import type { ModelConfig } from "../../models/config.ts"
import { cola, type ColaArchitecture } from "./networks.ts"
import { forward, weightsOf } from "../../models/decoder.ts"
import { constant, equal, lessEqual, reshape, select, sliceAxis } from "../../tensor/ops.ts"
import { judged, type Reconstruction, type ReconstructionShape, total } from "../shared/latents/reconstruction.ts"

export const colaReconstruction = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  architecture: ColaArchitecture,
  { length, mask, pad, rows }: ReconstructionShape & { readonly length: number; readonly mask: number }
): Effect.Effect<
  (sequences: ReadonlyArray<Int32Array>) => Effect.Effect<Reconstruction, EngineError>,
  EngineError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const parameter = inputsOf(parameters)
    const networks = cola(architecture, config, parameter, length)
    const weights = weightsOf(config, parameter)
    const { segmentIds, ids: given, positions } = rowTensors({ rows, length })
    const context = { causal: false, segmentIds, positions }
    const seen = lessEqual(constant(0, "i32"), segmentIds)
    const clean = forward(config, weights, given, context).hiddenStates[networks.shape.stateLayer]!
    const { mean } = networks.distribution(networks.encode(clean, { seen, at: positions }))
    // The first token stays, and all others are masks.
    const first = equal(positions, 0)
    const ids = select(first, given, constant(mask, "i32"))
    const last = networks.decode(forward(config, weights, ids, context).hiddenStates.at(-1)!, mean, positions)
    const final = weights.finalNorm(last)
    const columns = rows * (length - 1)
    const before = reshape(sliceAxis(final, 1, 0, length - 1), [columns, config.hiddenSize])
    const targets = reshape(sliceAxis(given, 1, 1, length), [columns])
    const { run } = yield* makeSession(engine, judged(before, weights.head, targets), parameters)
    return sequences =>
      Effect.gen(function* () {
        const results: Array<Parameters<typeof total>[0][number]> = []
        for (let start = 0; start < sequences.length; start += rows) {
          const some = sequences.slice(start, start + rows)
          const filled = Array.from({ length: rows }, (_, r) => some[r] ?? some[0]!)
          const windows = filled.map((text, sequence) => ({ sequence, start: 0, size: Math.min(length, text.length) }))
          const { losses, right } = yield* run({ ...windowArrays(filled, windows, { prompt: 0, length, pad }) })
          const sequenceOf = (place: number): number | undefined => {
            const row = Math.floor(place / (length - 1))
            return row < some.length && (place % (length - 1)) + 1 < windows[row]!.size ? start + row : undefined
          }
          results.push({ losses, right, sequenceOf })
        }
        return total(results, sequences.length)
      })
  })
