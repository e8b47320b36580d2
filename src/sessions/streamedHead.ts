/**
 * The head of a model, [V, d], streamed in blocks of its rows: logits, cross-entropy and its gradients in memory that does not grow with the
 * vocabulary. The loss needs two passes: the logarithm of the sum of exponentials over all blocks first, then the gradients.
 */
import { Effect, type Scope } from "effect"
import type { FileError } from "../formats/fileError.ts"
import type { StoredTensor, TensorFilesError } from "../formats/tensorFiles.ts"
import type { Buffer, Engine, EngineError } from "../engines/Engine.ts"
import { oneHot } from "../tensor/composites.ts"
import { add, exp, input, matmul, max, mul, reshape, sub, sum } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"

export type StreamError = EngineError | FileError | TensorFilesError

export interface StreamedHead {
  /** [N, V] of what the buffer `hidden` holds. */
  readonly logits: Effect.Effect<Float32Array, StreamError>
  /** Sum of weighted cross-entropies, nats. Leaves its gradient with respect to `hidden` in `hiddenGradient`. */
  readonly loss: (
    targets: Int32Array,
    weights: Float32Array,
    onGradient: (firstRow: number, gradient: Float32Array) => Effect.Effect<void, StreamError>
  ) => Effect.Effect<number, StreamError>
}

export interface StreamedHeadOptions {
  /** f32 [N, d]. */
  readonly hidden: Buffer
  readonly hiddenGradient: Buffer
  /** Rows of the head that are held at once. */
  readonly blockRows: number
}

export const makeStreamedHead = (
  engine: Engine,
  head: StoredTensor,
  { blockRows, hidden, hiddenGradient }: StreamedHeadOptions
): Effect.Effect<StreamedHead, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const [vocabSize, d] = head.shape as [number, number]
    const n = hidden.shape[0]!
    // The last block is shorter; it has programs of its own.
    const sizes = [...new Set([Math.min(blockRows, vocabSize), vocabSize % blockRows].filter(size => size > 0))]
    const targets = yield* engine.allocate("i32", [n])
    const weights = yield* engine.allocate("f32", [n])
    const logSums = yield* engine.allocate("f32", [n])

    const blockOf = (size: number) =>
      Effect.gen(function* () {
        const x = input("hidden", "f32", [n, d])
        const w = input("block", "f32", [size, d])
        const local = input("targets", "i32", [n])
        const weight = input("weights", "f32", [n])
        const logSum = input("logSums", "f32", [n])
        const rows: Tensor = matmul(x, w, { transposeB: true }) // [N, size]
        const peaks = max(rows, [1])
        const shifted = exp(sub(rows, reshape(peaks, [n, 1])))
        // Targets of other blocks lie outside and match no column.
        const hits = oneHot(local, size, "f32")
        const summary = makeProgram({
          logits: rows,
          peaks,
          sums: sum(shifted, [1]),
          targetLogits: sum(mul(rows, hits), [1])
        })
        const difference = sub(exp(sub(rows, reshape(logSum, [n, 1]))), hits)
        const gradient = mul(difference, reshape(weight, [n, 1])) // [N, size]
        const backward = makeProgram({
          hiddenNext: add(input("hiddenGradient", "f32", [n, d]), matmul(gradient, w)),
          blockGradient: matmul(gradient, x, { transposeA: true })
        })
        const block = yield* engine.allocate("f32", [size, d])
        const outputs = {
          logits: yield* engine.allocate("f32", [n, size]),
          peaks: yield* engine.allocate("f32", [n]),
          sums: yield* engine.allocate("f32", [n]),
          targetLogits: yield* engine.allocate("f32", [n])
        }
        const blockGradient = yield* engine.allocate("f32", [size, d])
        const summarise = yield* engine.bind(yield* engine.compile(summary), { hidden, block, targets }, outputs)
        const differentiate = yield* engine.bind(
          yield* engine.compile(backward, { inPlace: { hiddenNext: "hiddenGradient" } }),
          { hidden, block, targets, weights, logSums, hiddenGradient },
          { hiddenNext: hiddenGradient, blockGradient }
        )
        return { block, blockGradient, differentiate, outputs, summarise }
      })
    const blocks = new Map(
      yield* Effect.forEach(sizes, size => Effect.map(blockOf(size), block => [size, block] as const))
    )

    /** Runs over the blocks, each with its rows in place and the targets counted from its first row. */
    const overBlocks = (
      ids: Int32Array,
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
          yield* engine.upload(block.block, yield* head.floats(start * d, (start + size) * d))
          yield* engine.upload(
            targets,
            ids.map(id => (id >= start && id < start + size ? id - start : -1))
          )
          yield* use(block, start, size)
        }
      })
    const floats = (buffer: Buffer) => Effect.map(engine.download(buffer), data => data as Float32Array)

    return {
      logits: Effect.gen(function* () {
        const all = new Float32Array(n * vocabSize)
        yield* overBlocks(new Int32Array(n), ({ outputs, summarise }, start, size) =>
          Effect.gen(function* () {
            yield* engine.run([summarise])
            const part = yield* floats(outputs.logits)
            for (let row = 0; row < n; row++)
              all.set(part.subarray(row * size, (row + 1) * size), row * vocabSize + start)
          })
        )
        return all
      }),
      loss: (ids, weightOf, onGradient) =>
        Effect.gen(function* () {
          const peaks = new Float64Array(n).fill(-Infinity)
          const sums = new Float64Array(n)
          const ofTarget = new Float64Array(n)
          yield* overBlocks(ids, ({ outputs, summarise }) =>
            Effect.gen(function* () {
              yield* engine.run([summarise])
              const [blockPeaks, blockSums, blockTargets] = [
                yield* floats(outputs.peaks),
                yield* floats(outputs.sums),
                yield* floats(outputs.targetLogits)
              ]
              for (let row = 0; row < n; row++) {
                const peak = Math.max(peaks[row]!, blockPeaks[row]!)
                sums[row] =
                  sums[row]! * Math.exp(peaks[row]! - peak) + blockSums[row]! * Math.exp(blockPeaks[row]! - peak)
                peaks[row] = peak
                ofTarget[row]! += blockTargets[row]!
              }
            })
          )
          const logSum = sums.map((total, row) => peaks[row]! + Math.log(total))
          yield* engine.upload(logSums, Float32Array.from(logSum))
          yield* engine.upload(weights, weightOf)
          yield* engine.upload(hiddenGradient, new Float32Array(n * d))
          yield* overBlocks(ids, ({ blockGradient, differentiate }, start) =>
            Effect.gen(function* () {
              yield* engine.run([differentiate])
              yield* onGradient(start, yield* floats(blockGradient))
            })
          )
          return logSum.reduce((total, value, row) => total + weightOf[row]! * (value - ofTarget[row]!), 0)
        })
    }
  })
