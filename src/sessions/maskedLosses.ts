/** Losses of masked tokens of packed rows under a model whose parameters lie on an engine. Logits are made for the tokens that are asked for, and for no others. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { logitBytes, logits } from "../models/decoder.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import { softmaxCrossEntropy } from "../tensor/composites.ts"
import { gather, input } from "../tensor/ops.ts"
import type { PackedArrays } from "../tokens/packing.ts"
import { cleanTensor, maskedForward, type MaskedReading, rowTensors } from "./query.ts"
import { inputsOf, makeSession } from "./session.ts"

/** Tokens that are asked for: places of rows (row x length + column), and the tokens that stand there without masks. */
export interface Asked {
  readonly places: Int32Array
  readonly targets: Int32Array
}

/** Losses of the tokens that are asked for, nats, in their order. The rows hold masks; where each block is read behind clean ones, all masks are asked for. */
export type MaskedLosses = (rows: PackedArrays, asked: Asked) => Effect.Effect<Float32Array, EngineError>

/** Tokens whose logits are made at once: few enough that little is wasted on the last of them, enough for a fast product. */
const mostAtOnce = 256
const bytesOfLogit = 4

/** The place in the rows that the token at a place is predicted from. */
export const predictingPlace = (place: number, tokenShift = true): number => (tokenShift ? place - 1 : place)

/** The rows with the tokens that are asked for in the places of their masks. */
const unmasked = (ids: Int32Array, { places, targets }: Asked): Int32Array<ArrayBuffer> => {
  const clean = Int32Array.from(ids)
  for (const [i, place] of places.entries()) clean[place] = targets[i]!
  return clean
}

export const makeMaskedLosses = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { extension, halves = false, length, rows, tokenShift }: BatchShape & MaskedReading
): Effect.Effect<MaskedLosses, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { read, weights } = maskedForward(config, inputsOf(parameters), rowTensors({ rows, length }), {
      ...(extension === undefined ? {} : { extension }),
      ...(tokenShift === undefined ? {} : { tokenShift }),
      ...(halves ? { clean: cleanTensor({ rows, length }) } : {})
    })
    const body = yield* makeSession(engine, { read }, parameters)
    // A program of its own: how many tokens are masked differs from pass to pass.
    const size = Math.max(
      1,
      Math.min(mostAtOnce, rows * length, Math.floor(logitBytes / (bytesOfLogit * config.vocabSize)))
    )
    const states = gather(input("read", read.dtype, read.shape), input("columns", "i32", [size])) // [size, d]
    const losses = softmaxCrossEntropy(logits(states, weights), input("targets", "i32", [size]))
    const head = yield* makeSession(engine, { losses }, { ...parameters, read: body.memory["read"]! })
    return (arrays, { places, targets }) =>
      Effect.gen(function* () {
        const clean = halves ? { clean: unmasked(arrays.ids, { places, targets }) } : {}
        yield* body.upload({ ...arrays, ...clean, ...extension?.data(arrays.ids, []) })
        yield* body.compute()
        const all = new Float32Array(places.length)
        for (let start = 0; start < places.length; start += size) {
          const n = Math.min(size, places.length - start)
          // What is left of the last of them asks for the first column again.
          const columns = Int32Array.from({ length: size }, (_, i) =>
            i < n ? predictingPlace(places[start + i]!, tokenShift) : 0
          )
          const own = new Int32Array(size)
          own.set(targets.subarray(start, start + n))
          const found = yield* head.run({ columns, targets: own })
          all.set(found.losses.subarray(0, n), start)
        }
        return all
      })
  })
