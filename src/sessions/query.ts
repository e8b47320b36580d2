/** A bidirectional model on an engine that is asked about places of a canvas: what is common to all that decodes with masks. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { type ModelConfig, parameterSpecs } from "../models/config.ts"
import { parameterInputs } from "../models/parameters.ts"
import { forward, type ModelWeights, weightsOf } from "../models/decoder.ts"
import { gather, input, reshape } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"

export interface AskedOptions {
  /** At most; a canvas may have fewer. */
  readonly rows: number
  /** Tokens of a row. */
  readonly length: number
  /** Places that are asked for at once, at most. */
  readonly wanted: number
  /** Whether the token at a place is predicted from the state before it, as in an autoregressive model, or from that at the place itself. Default true. */
  readonly tokenShift?: boolean
}

/**
 * Answers about the tokens at places of the canvas (row x length + column), one after the other. `pads`: how many columns at the beginning of each row are
 * padding.
 */
export type Ask<E> = (
  canvas: Int32Array,
  pads: ReadonlyArray<number>,
  places: ReadonlyArray<number>
) => Effect.Effect<Float32Array, E>

/** Prepares a model whose parameters lie in buffers. `answer`: from the states that predict the tokens, [wanted, d], to f32 [wanted, …]. */
export const makeAsked = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { length, rows, tokenShift = true, wanted }: AskedOptions,
  answer: (states: Tensor, weights: ModelWeights) => Tensor
): Effect.Effect<Ask<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const specs = parameterSpecs(config)
    const weights = weightsOf(config, parameterInputs(specs))
    const { final } = forward(config, weights, input("ids", "i32", [rows, length]), {
      causal: false,
      segmentIds: input("segmentIds", "i32", [rows, length]),
      positions: input("positions", "i32", [rows, length])
    })
    // The head is the larger half of a small model: it reads only the rows that are asked for.
    const states = gather(reshape(final, [rows * length, config.hiddenSize]), input("columns", "i32", [wanted]))
    const answers = answer(states, weights)
    const executable = yield* engine.compile(makeProgram({ answers }))
    const data = {
      ids: yield* engine.allocate("i32", [rows, length]),
      segmentIds: yield* engine.allocate("i32", [rows, length]),
      positions: yield* engine.allocate("i32", [rows, length]),
      columns: yield* engine.allocate("i32", [wanted])
    }
    const output = yield* engine.allocate("f32", answers.shape)
    const own = Object.fromEntries(specs.map(({ name }) => [name, parameters[name]!]))
    const call = yield* engine.bind(executable, { ...own, ...data }, { answers: output })
    const perPlace = answers.size / wanted
    return (canvas, pads, places) =>
      Effect.gen(function* () {
        if (canvas.length !== pads.length * length || pads.length > rows || places.length > wanted)
          return yield* Effect.die(
            new RangeError(`made for ${rows} rows and ${wanted} places, asked for ${pads.length} and ${places.length}`)
          )
        const ids = new Int32Array(rows * length)
        ids.set(canvas)
        const segmentIds = new Int32Array(rows * length)
        const positions = new Int32Array(rows * length)
        for (const [row, pad] of pads.entries())
          for (let i = 0; i < length; i++) {
            segmentIds[row * length + i] = i < pad ? -1 : 0
            positions[row * length + i] = Math.max(0, i - pad)
          }
        const columns = new Int32Array(wanted)
        for (const [i, place] of places.entries()) columns[i] = tokenShift ? place - 1 : place
        yield* engine.upload(data.ids, ids)
        yield* engine.upload(data.segmentIds, segmentIds)
        yield* engine.upload(data.positions, positions)
        yield* engine.upload(data.columns, columns)
        yield* engine.run([call])
        return ((yield* engine.download(output)) as Float32Array).subarray(0, places.length * perPlace)
      })
  })
