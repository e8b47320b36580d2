/**
 * The final norm and the head of a model, [V, d], the head streamed in blocks of its rows: logits, cross-entropy and its gradients in memory that does not grow
 * with the vocabulary. The loss needs two passes: the logarithm of the sum of exponentials over all blocks first, then the gradients.
 */
import { Effect, type Scope } from "effect"
import type { FileError } from "../formats/fileError.ts"
import type { StoredTensor, TensorFilesError } from "../formats/tensorFiles.ts"
import type { Buffer, Engine, EngineError } from "../engines/Engine.ts"
import { embeddingKey, finalNorm, headKey, type ModelConfig } from "../models/config.ts"
import { allocateParameters, parameterInputs } from "../models/parameters.ts"
import { loadTensor } from "../models/weights.ts"
import { vjp } from "../tensor/autodiff.ts"
import { oneHot } from "../tensor/composites.ts"
import { add, exp, gather, input, matmul, max, mul, reshape, sub, sum } from "../tensor/ops.ts"
import { makeSession } from "./session.ts"

export type StreamError = EngineError | FileError | TensorFilesError

/** What happens to the gradient of a parameter, or of some of its rows from `firstRow` on; parts for the same rows add up. */
export type OnGradient = (name: string, gradient: Float32Array, firstRow: number) => Effect.Effect<void, StreamError>

/** What is to be predicted, and how much each prediction weighs. Positions count through the rows. */
export interface Targets {
  readonly positions: Int32Array
  readonly targets: Int32Array
  readonly weights: Float32Array
}

export interface StreamedHead {
  /** [predictions, V] at positions, counted through the rows. */
  readonly logits: (positions: Int32Array) => Effect.Effect<Float32Array, StreamError>
  /** Sum of weighted cross-entropies, nats. Leaves its gradient in `statesGradient`. */
  readonly loss: (wanted: Targets, onGradient: OnGradient) => Effect.Effect<number, StreamError>
  /** With respect to what leaves the last layer, f32 [rows, length, d]. */
  readonly statesGradient: Buffer
}

export interface StreamedHeadOptions {
  /** What leaves the last layer, f32 [rows, length, d]. */
  readonly states: Buffer
  /** Positions that are asked for at once. */
  readonly predictions: number
  /** Rows of the head that are held at once. */
  readonly blockRows: number
}

export const makeStreamedHead = (
  engine: Engine,
  config: ModelConfig,
  stored: (name: string) => StoredTensor,
  { blockRows, predictions: n, states }: StreamedHeadOptions
): Effect.Effect<StreamedHead, StreamError, Scope.Scope> =>
  Effect.gen(function* () {
    const { hiddenSize: d, vocabSize } = config
    const headName = config.tiedHead ? embeddingKey : headKey
    const head = stored(headName)
    const { make, specs } = finalNorm(config)
    const parameter = parameterInputs(specs)
    const { views: norm } = yield* allocateParameters(engine, specs)
    const names = specs.map(({ name }) => name)
    for (const name of names) yield* loadTensor(engine, norm[name]!, stored(name))

    const last = input("states", "f32", states.shape)
    const picked = make(parameter)(gather(reshape(last, [-1, d]), input("positions", "i32", [n]))) // [N, d]
    const pick = yield* makeSession(engine, { hidden: picked }, { states, ...norm })
    const { hidden, positions } = pick.memory as { readonly hidden: Buffer; readonly positions: Buffer }
    const read = (at: Int32Array) => Effect.andThen(pick.upload({ positions: at }), pick.compute())
    const hiddenGradient = yield* engine.allocate("f32", [n, d])
    const flowing = vjp([picked], [input("hiddenGradient", "f32", [n, d])], [last, ...names.map(parameter)])
    const below = yield* makeSession(
      engine,
      Object.fromEntries(["states", ...names].map((name, i) => [`gradient/${name}`, flowing[i]!])),
      { states, positions, hiddenGradient, ...norm }
    )
    const floats = (buffer: Buffer) => Effect.map(engine.download(buffer), data => data as Float32Array)

    const blockOf = (size: number) =>
      Effect.gen(function* () {
        const w = input("block", "f32", [size, d])
        const x = input("hidden", "f32", [n, d])
        const rows = matmul(x, w, { transposeB: true }) // [N, size]
        const peaks = max(rows, [1])
        // Targets of other blocks lie outside and match no column.
        const hits = oneHot(input("targets", "i32", [n]), size, "f32")
        const shares = exp(sub(rows, input("logSums", "f32", [n, 1])))
        const gradient = mul(sub(shares, hits), input("weights", "f32", [n, 1])) // [N, size]
        const block = yield* engine.allocate("f32", [size, d])
        const given = { hidden, hiddenGradient, block }
        return {
          block,
          logits: yield* makeSession(engine, { logits: rows }, given),
          summary: yield* makeSession(
            engine,
            { peaks, sums: sum(exp(sub(rows, reshape(peaks, [n, 1]))), [1]), ofTargets: sum(mul(rows, hits), [1]) },
            given
          ),
          backward: yield* makeSession(
            engine,
            {
              hiddenNext: add(input("hiddenGradient", "f32", [n, d]), matmul(gradient, w)),
              blockGradient: matmul(gradient, x, { transposeA: true })
            },
            given,
            { hiddenNext: "hiddenGradient" }
          )
        }
      })
    // The last block is shorter; it has programs of its own.
    const sizes = new Set([Math.min(blockRows, vocabSize), vocabSize % blockRows].filter(size => size > 0))
    const blocks = new Map(
      yield* Effect.forEach(sizes, size => Effect.map(blockOf(size), block => [size, block] as const))
    )
    /** Runs over the blocks, each with its rows in place. */
    const overBlocks = (
      use: (
        block: Effect.Success<ReturnType<typeof blockOf>>,
        start: number,
        size: number
      ) => Effect.Effect<void, StreamError>
    ) =>
      Effect.gen(function* () {
        for (let start = 0; start < vocabSize; start += blockRows) {
          const size = Math.min(blockRows, vocabSize - start)
          const block = blocks.get(size)!
          yield* loadTensor(engine, block.block, head, start * d, (start + size) * d)
          yield* use(block, start, size)
        }
      })

    return {
      statesGradient: below.memory["gradient/states"]!,
      logits: at =>
        Effect.gen(function* () {
          yield* read(at)
          const all = new Float32Array(n * vocabSize)
          yield* overBlocks(({ logits: { run } }, start, size) =>
            Effect.map(run({}), ({ logits }) => {
              for (let row = 0; row < n; row++)
                all.set(logits.subarray(row * size, (row + 1) * size), row * vocabSize + start)
            })
          )
          return all
        }),
      loss: ({ positions: at, targets, weights }, onGradient) =>
        Effect.gen(function* () {
          yield* read(at)
          /** Targets, counted from a block's first row. */
          const within = (start: number, size: number) =>
            targets.map(id => (id >= start && id < start + size ? id - start : -1))
          const peaks = new Float64Array(n).fill(-Infinity)
          const sums = new Float64Array(n)
          const logits = new Float64Array(n)
          yield* overBlocks(({ summary: { run } }, start, size) =>
            Effect.map(run({ targets: within(start, size) }), block => {
              for (let row = 0; row < n; row++) {
                const peak = Math.max(peaks[row]!, block.peaks[row]!)
                sums[row] =
                  sums[row]! * Math.exp(peaks[row]! - peak) + block.sums[row]! * Math.exp(block.peaks[row]! - peak)
                peaks[row] = peak
                logits[row]! += block.ofTargets[row]!
              }
            })
          )
          const logSums = sums.map((total, row) => peaks[row]! + Math.log(total))
          yield* engine.upload(hiddenGradient, new Float32Array(n * d))
          yield* overBlocks(({ backward: { run } }, start, size) =>
            Effect.flatMap(
              run({ targets: within(start, size), weights, logSums: Float32Array.from(logSums) }),
              ({ blockGradient }) => onGradient(headName, blockGradient, start)
            )
          )
          yield* below.compute()
          for (const name of names) yield* onGradient(name, yield* floats(below.memory[`gradient/${name}`]!), 0)
          return logSums.reduce((total, value, row) => total + weights[row]! * (value - logits[row]!), 0)
        })
    }
  })
