/** How much of a text survives in LDLM's latents: pieces of text, each encoded alone and decoded by the token decoder. */
import { Effect, type Scope } from "effect"
import { type Window, windowArrays } from "../../tokens/windows.ts"
import type { Buffers, Engine, EngineError } from "../../engines/Engine.ts"
import { inputsOf, makeSession } from "../../sessions/session.ts"
import type { ModelConfig } from "../../models/config.ts"
import { cleanStates, rowInputs } from "../shared/latents/cleanStates.ts"
import { ldlm, type LdlmArchitecture } from "./networks.ts"
import { normalised, type Statistics } from "./statistics.ts"
import { constant, input, lessEqual, reshape, sliceAxis } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { judged, type Reconstruction, type ReconstructionShape, total } from "../shared/latents/reconstruction.ts"

export const ldlmReconstruction = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  architecture: LdlmArchitecture,
  { pad, rows }: ReconstructionShape
): Effect.Effect<
  (
    sequences: ReadonlyArray<Int32Array>,
    windows: ReadonlyArray<Window>,
    statistics: Statistics
  ) => Effect.Effect<Reconstruction, EngineError>,
  EngineError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const { promptLength: prompt, seqLen: length } = architecture
    const parameter = inputsOf(parameters)
    const networks = ldlm(architecture, config, parameter)
    const row = inputsOf(rowInputs([rows, prompt + length]))
    const states = cleanStates(config, parameter, row, { causal: true, layer: networks.shape.stateLayer })
    const piece = (x: Tensor): Tensor => sliceAxis(x, 1, prompt, prompt + length)
    const seen = piece(lessEqual(constant(0, "i32"), row("segmentIds")))
    const clean = networks.encode(piece(normalised(states, input("statistics", "f32", [3]))), seen)
    const { bias, weight } = networks.head()
    const targets = reshape(piece(row("ids")), [rows * length])
    const { run } = yield* makeSession(
      engine,
      judged(networks.tokens(networks.decode(clean)), weight, targets, bias),
      parameters
    )
    return (sequences, windows, statistics) =>
      Effect.gen(function* () {
        const results: Array<Parameters<typeof total>[0][number]> = []
        for (let start = 0; start < windows.length; start += rows) {
          const some = windows.slice(start, start + rows)
          const filled = Array.from({ length: rows }, (_, r) => some[r] ?? some[0]!)
          const arrays = windowArrays(sequences, filled, { prompt, length, pad })
          const { losses, right } = yield* run({ ...arrays, statistics: Float32Array.from(statistics) })
          const sequenceOf = (place: number): number | undefined => {
            const window = some[Math.floor(place / length)]
            return window !== undefined && place % length < window.size ? window.sequence : undefined
          }
          results.push({ losses, right, sequenceOf })
        }
        return total(results, sequences.length)
      })
  })
