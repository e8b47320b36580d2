/** Hidden states of token sequences at some layers. */
import { Effect, type Scope } from "effect"
import { type PackedArrays, packedArrays } from "../tokens/packing.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { forward, weightsOf } from "../models/decoder.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import { rowTensors } from "./query.ts"
import { inputsOf, makeSession } from "./session.ts"

export interface HiddenStatesOptions {
  readonly causal: boolean
  readonly pad: number
  /** 0: the embedding; 1: what leaves the first layer, before any norm; … */
  readonly layers: ReadonlyArray<number>
  /** Tokens of a pass, padding included; a sequence that has more is a pass of its own. */
  readonly tokensPerPass: number
}

/** Prepares a model for rows of one length; then gives, for packed rows, hidden states of each layer, f32 [rows x length x d]. */
export type RowStates<E> = (
  options: Pick<HiddenStatesOptions, "causal" | "layers"> & BatchShape
) => Effect.Effect<(packed: PackedArrays) => Effect.Effect<ReadonlyArray<Float32Array<ArrayBuffer>>, E>, E, Scope.Scope>

/** Hidden states of a sequence: for each layer f32 [tokens x d]. */
export type OnSequence<E, R> = (
  sequence: number,
  hiddenStates: ReadonlyArray<Float32Array<ArrayBuffer>>
) => Effect.Effect<void, E, R>

const shortest = 16

/** Tokens of the row in which a sequence is computed: 16, 24, 32, 48, 64, 96 and so on, so that few programs serve all lengths. */
export const bucketOf = (tokens: number): number => {
  let power = shortest
  while (power < tokens) power *= 2
  const between = (power * 3) / 4
  return power > shortest && tokens <= between ? between : power
}

/**
 * Computes the hidden states of sequences by a model. Each sequence has a row of its own, with others of about its length beside it, and
 * the padding is cut off: what is computed depends on the sequence alone, not on its company.
 */
export const computeHiddenStates = <E, E2, R>(
  { hiddenSize }: ModelConfig,
  rowStates: RowStates<E2>,
  options: HiddenStatesOptions,
  sequences: ReadonlyArray<ArrayLike<number>>,
  onSequence: OnSequence<E, R>
): Effect.Effect<void, E | E2, R> =>
  Effect.gen(function* () {
    const buckets = new Map<number, Array<number>>()
    for (const [i, { length }] of sequences.entries()) {
      const bucket = bucketOf(length)
      const members = buckets.get(bucket)
      if (members === undefined) buckets.set(bucket, [i])
      else members.push(i)
    }
    for (const [length, members] of buckets) {
      const rows = Math.min(members.length, Math.max(1, Math.floor(options.tokensPerPass / length)))
      const pass = Effect.gen(function* () {
        const run = yield* rowStates({ ...options, rows, length })
        for (let start = 0; start < members.length; start += rows) {
          const own = members.slice(start, start + rows)
          const filled = Array.from({ length: rows }, (_, r) => (r < own.length ? [r] : []))
          const texts = own.map(i => sequences[i]!)
          const computed = yield* run(packedArrays(texts, filled, { capacity: length, pad: options.pad }))
          const width = length * hiddenSize
          for (const [r, sequence] of own.entries()) {
            const size = sequences[sequence]!.length * hiddenSize
            yield* onSequence(
              sequence,
              computed.map(values => values.subarray(r * width, r * width + size))
            )
          }
        }
      })
      yield* Effect.scoped(pass)
    }
  })

/** Hidden states by a model whose parameters lie in buffers. */
export const residentStates =
  (engine: Engine, config: ModelConfig, parameters: Buffers): RowStates<EngineError> =>
  ({ causal, layers, ...shape }) => {
    const tokens = rowTensors(shape)
    const weights = weightsOf(config, inputsOf(parameters))
    const { hiddenStates } = forward(config, weights, tokens.ids, { causal, ...tokens })
    const wanted = Object.fromEntries(layers.map(layer => [String(layer), hiddenStates[layer]!]))
    return Effect.map(
      makeSession(engine, wanted, parameters),
      ({ run }) =>
        packed =>
          Effect.map(run({ ...packed }), found => layers.map(layer => found[String(layer)]!))
    )
  }
