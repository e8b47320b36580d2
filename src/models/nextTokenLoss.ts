/**
 * Cross-entropies of tokens, each predicted from the state before it: what all training minimises and all evaluation measures. A causal model reads
 * clean rows, a bidirectional one rows with masks.
 */
import type { PackedArrays } from "../tokens/packing.ts"
import type { HostArray } from "../tensor/dtype.ts"
import { cast, constant, lessEqual, mul, reshape, sliceAxis } from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import type { ModelConfig } from "./config.ts"
import { softmaxCrossEntropy } from "../tensor/composites.ts"
import { halvesForward, twice } from "./blockDiffusion.ts"
import { chunkedOfLogits, forward, type Forward, type ForwardOptions, type OfLogits, weightsOf } from "./decoder.ts"
import { feedForwardOf } from "./layers/layer.ts"
import { loadBalancingLoss } from "./loadBalancing.ts"

/** Rows and tokens per row of a batch. */
export interface BatchShape {
  readonly rows: number
  readonly length: number
}

/** Predictions of a batch: every token of a row but its first. */
export const predictionCount = ({ length, rows }: BatchShape): number => rows * (length - 1)

/** What the losses read. */
export const nextTokenLossInputs = (shape: BatchShape) =>
  ({
    ids: { dtype: "i32", shape: [shape.rows, shape.length] },
    segmentIds: { dtype: "i32", shape: [shape.rows, shape.length] },
    positions: { dtype: "i32", shape: [shape.rows, shape.length] },
    /** The clean token that each prediction is to find. */
    targets: { dtype: "i32", shape: [predictionCount(shape)] }
  }) as const

export interface NextTokenLossOptions extends Pick<ForwardOptions, "embedded"> {
  readonly causal: boolean
  readonly checkpointLayers: boolean
  /** Of a training's pass, i64 [2], where adapters drop anything (linear/lora.ts). */
  readonly dropoutKey?: Tensor
  /** False where the state at a token itself predicts it, as in models that were diffusion models from the start. Default true. */
  readonly tokenShift?: boolean
  /** What else is computed of each prediction's logits, and how many predictions behind it that sees. */
  readonly further?: { readonly of: OfLogits; readonly ahead: number }
  /** i32 [B, L], the rows without masks: given where each block is read behind clean ones (blockDiffusion.ts). Goes without `causal` and `embedded`. */
  readonly clean?: Tensor | undefined
}

export interface NextTokenLosses extends Forward {
  /** f32 [predictions], nats. */
  readonly losses: Tensor
  /** f32 [predictions] each. */
  readonly further: ReadonlyArray<Tensor>
  /** The load-balancing loss over all tokens but padding, times its coefficient: a scalar, there where the configuration says that a training adds it. */
  readonly routerLoss?: Tensor
}

/** Of a pass over packed rows. */
const routerLossOf = ({ layers, routerLoss }: ModelConfig, { routerLogits }: Forward, segmentIds: Tensor) => {
  const [first, ...others] = routerLogits
  if (routerLoss?.added !== true || first === undefined) return {}
  const counted = cast(lessEqual(constant(0, "i32"), reshape(segmentIds, [segmentIds.size])), "f32")
  const { expertsPerToken } = feedForwardOf(layers, "moe")
  return {
    routerLoss: mul(loadBalancingLoss([first, ...others], expertsPerToken, counted), routerLoss.coefficient)
  }
}

export const nextTokenLosses = (
  config: ModelConfig,
  parameter: (name: string) => Tensor,
  data: (name: keyof ReturnType<typeof nextTokenLossInputs>) => Tensor,
  { clean, dropoutKey, further, tokenShift = true, ...options }: NextTokenLossOptions
): NextTokenLosses => {
  const ids = data("ids")
  const [rows, length] = ids.shape as [number, number]
  const weights = weightsOf(config, parameter, dropoutKey)
  const places = { segmentIds: data("segmentIds"), positions: data("positions") }
  const passed =
    clean === undefined
      ? forward(config, weights, ids, { ...places, ...options })
      : halvesForward(config, weights, { noisy: ids, clean }, { ...places, ...options, tokenShift })
  const first = tokenShift ? 0 : 1
  const columns = [predictionCount({ rows, length }), config.hiddenSize]
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
  const routed = clean === undefined ? places.segmentIds : twice(places.segmentIds)
  return { ...passed, losses: losses!, further: others, ...routerLossOf(config, passed, routed) }
}

/** The token of each prediction: all of a row but its first. */
export const nextTokens = (ids: Int32Array, { length, rows }: BatchShape): Int32Array<ArrayBuffer> => {
  const targets = new Int32Array(predictionCount({ rows, length }))
  for (let r = 0; r < rows; r++) targets.set(ids.subarray(r * length + 1, (r + 1) * length), r * (length - 1))
  return targets
}

/** The arrays of clean rows under the names of `nextTokenLossInputs`. */
export const nextTokenLossData = (
  { segmentIds, ids, positions }: PackedArrays,
  shape: BatchShape
): { readonly [name in keyof ReturnType<typeof nextTokenLossInputs>]: Int32Array<ArrayBuffer> } =>
  ({ ids, segmentIds, positions, targets: nextTokens(ids, shape) }) satisfies { readonly [name: string]: HostArray }

/** 1 for each prediction whose token and the one before it belong to the same document, else 0. */
export const predictionWeights = (
  { segmentIds }: PackedArrays,
  { length, rows }: BatchShape
): Float32Array<ArrayBuffer> => {
  const weights = new Float32Array(predictionCount({ rows, length }))
  for (let r = 0; r < rows; r++)
    for (let i = 1; i < length; i++) {
      const document = segmentIds[r * length + i]!
      if (document >= 0 && document === segmentIds[r * length + i - 1]) weights[r * (length - 1) + i - 1] = 1
    }
  return weights
}
