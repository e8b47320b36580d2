/**
 * Cross-entropies of tokens, each predicted from the state before it: what all training minimises and all evaluation measures. A causal model reads
 * clean rows, a bidirectional one rows with masks.
 */
import type { PackedArrays } from "../tokens/packing.ts"
import type { HostArray } from "../tensor/dtype.ts"
import { reshape, sliceAxis } from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import type { ModelConfig } from "./config.ts"
import { softmaxCrossEntropy } from "../tensor/composites.ts"
import { chunkedOfLogits, forward, type Forward, type ForwardOptions, type OfLogits, weightsOf } from "./decoder.ts"

/** Rows and tokens per row of a batch. */
export interface BatchShape {
  readonly rows: number
  readonly length: number
}

/** Predictions of a batch: every token of a row but its first. */
export const columnsOf = ({ length, rows }: BatchShape): number => rows * (length - 1)

/** What the losses read. */
export const shiftedInputs = (shape: BatchShape) =>
  ({
    ids: { dtype: "i32", shape: [shape.rows, shape.length] },
    documents: { dtype: "i32", shape: [shape.rows, shape.length] },
    positions: { dtype: "i32", shape: [shape.rows, shape.length] },
    /** The clean token that each column predicts. */
    targets: { dtype: "i32", shape: [columnsOf(shape)] }
  }) as const

export interface ShiftedOptions extends Pick<ForwardOptions, "embedded"> {
  readonly causal: boolean
  readonly checkpointLayers: boolean
  /** False where the state at a token itself predicts it, as in models that were diffusion models from the start. Default true. */
  readonly tokenShift?: boolean
  /** What else is computed of each column's logits, and how many columns behind it that sees. */
  readonly further?: { readonly of: OfLogits; readonly ahead: number }
}

export interface Shifted extends Forward {
  /** f32 [columns], nats. */
  readonly losses: Tensor
  /** f32 [columns] each. */
  readonly further: ReadonlyArray<Tensor>
}

export const shiftedLosses = (
  config: ModelConfig,
  parameter: (name: string) => Tensor,
  data: (name: keyof ReturnType<typeof shiftedInputs>) => Tensor,
  { further, tokenShift = true, ...options }: ShiftedOptions
): Shifted => {
  const ids = data("ids")
  const [rows, length] = ids.shape as [number, number]
  const weights = weightsOf(config, parameter)
  const passed = forward(config, weights, ids, {
    documents: data("documents"),
    positions: data("positions"),
    ...options
  })
  const first = tokenShift ? 0 : 1
  const columns = [columnsOf({ rows, length }), config.hiddenSize]
  const predicting = reshape(sliceAxis(passed.final, 1, first, first + length - 1), columns)
  const [losses, ...others] = chunkedOfLogits(
    predicting,
    weights.head,
    data("targets"),
    (logits, targets, n) => [
      softmaxCrossEntropy(sliceAxis(logits, 0, 0, n), sliceAxis(targets, 0, 0, n)),
      ...(further?.of(logits, targets, n) ?? [])
    ],
    { ahead: further?.ahead ?? 0 }
  )
  return { ...passed, losses: losses!, further: others }
}

/** The token of each column: all of a row but its first. */
export const shiftedIds = (ids: Int32Array, { length, rows }: BatchShape): Int32Array<ArrayBuffer> => {
  const targets = new Int32Array(columnsOf({ rows, length }))
  for (let r = 0; r < rows; r++) targets.set(ids.subarray(r * length + 1, (r + 1) * length), r * (length - 1))
  return targets
}

/** The arrays of clean rows under the names of `shiftedInputs`. */
export const shiftedData = (
  { documents, ids, positions }: PackedArrays,
  shape: BatchShape
): { readonly [name in keyof ReturnType<typeof shiftedInputs>]: Int32Array<ArrayBuffer> } =>
  ({ ids, documents, positions, targets: shiftedIds(ids, shape) }) satisfies { readonly [name: string]: HostArray }

/** 1 for each column whose token and the one before it belong to the same document, else 0. */
export const predicted = ({ documents }: PackedArrays, { length, rows }: BatchShape): Float32Array<ArrayBuffer> => {
  const weights = new Float32Array(columnsOf({ rows, length }))
  for (let r = 0; r < rows; r++)
    for (let i = 1; i < length; i++) {
      const document = documents[r * length + i]!
      if (document >= 0 && document === documents[r * length + i - 1]) weights[r * (length - 1) + i - 1] = 1
    }
  return weights
}
