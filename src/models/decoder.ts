/** Qwen2, Qwen2.5 and Qwen3 dense decoders as functions over weights; causal by the call, or else as the configuration says: bidirectional, or by blocks. */
import { slices, softmaxCrossEntropy } from "../tensor/composites.ts"
import { add, checkpoint, concat, gather, matmul, rmsNorm } from "../tensor/ops.ts"
import type { DType } from "../tensor/dtype.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type AttentionContext, type AttentionMask, attentionMask, rotation } from "./layers/attention.ts"
import { embeddingKey, finalNormKey, headKey, type ModelConfig } from "./config.ts"
import { type KeyValues, type Layer, type LayerContext, layerOf } from "./layers/layer.ts"
import type { Parameter } from "./parameters.ts"

export interface ModelWeights {
  /** [V, d]. */
  readonly embedding: Tensor
  readonly layers: ReadonlyArray<Layer>
  readonly finalNorm: Tensor
  /** [V, d]; the embedding itself where the head is tied. */
  readonly head: Tensor
}

/** Weights by their keys in the checkpoint, in the shape that the model's functions take. */
export const weightsOf = (config: ModelConfig, parameter: Parameter): ModelWeights => {
  const embedding = parameter(embeddingKey)
  return {
    embedding,
    layers: Array.from({ length: config.layers }, (_, i) => layerOf(config, i).make(parameter)),
    finalNorm: parameter(finalNormKey),
    head: config.tiedHead ? embedding : parameter(headKey)
  }
}

export interface ForwardOptions extends AttentionContext {
  /** What enters the first layer, given the tokens' embeddings [B, L, d]; by default just those. */
  readonly embedded?: (embeddings: Tensor) => Tensor
  /** Computes each layer again in the backward pass instead of keeping what is inside of it. */
  readonly checkpointLayers?: boolean
  /** Instead of the one that `causal` and `segmentIds` lead to. */
  readonly mask?: AttentionMask
  /** What a layer's queries attend to, given its own keys and values; by default just those. For caches. */
  readonly attended?: (layer: number, fresh: KeyValues) => KeyValues
}

export interface Forward {
  /** What enters each layer and leaves the last, before the final norm: [0] the embeddings, [i] the output of layer i. Each [B, L, d]. */
  readonly hiddenStates: ReadonlyArray<Tensor>
  /** After the final norm, [B, L, d]: what the head reads. */
  readonly final: Tensor
}

/** What the layers of a pass over rows of `length` tokens share. */
export const layerContext = (
  config: ModelConfig,
  length: number,
  dtype: DType,
  { attended = (_layer, fresh) => fresh, mask, ...attention }: ForwardOptions
): LayerContext => ({
  mask: mask ?? attentionMask({ ...attention, blockSize: config.attentionBlockSize }, length, dtype),
  attended,
  angles: rotation(attention.positions, { headDim: config.headDim, length, theta: config.ropeTheta })
})

/** tokens: i32 or i64 [B, L]. */
export const forward = (
  config: ModelConfig,
  weights: ModelWeights,
  tokens: Tensor,
  options: ForwardOptions
): Forward => {
  const context = layerContext(config, tokens.shape[1]!, weights.embedding.dtype, options)
  const { embedded = embeddings => embeddings } = options
  const hiddenStates = [embedded(gather(weights.embedding, tokens))] // [B, L, d]
  for (const [i, layer] of weights.layers.entries()) {
    const x = hiddenStates.at(-1)!
    const run = (): Tensor => layer(x, i, context)
    hiddenStates.push(options.checkpointLayers === true ? checkpoint(run) : run())
  }
  return { hiddenStates, final: rmsNorm(hiddenStates.at(-1)!, weights.finalNorm, config.normEpsilon) }
}

/** hidden [N, d] -> logits [N, V]. */
export const logits = (hidden: Tensor, { head }: Pick<ModelWeights, "head">, bias?: Tensor): Tensor => {
  const products = matmul(hidden, head, { transposeB: true })
  return bias === undefined ? products : add(products, bias)
}

/** Logits of so many bytes are held at once, unless one row alone has more. */
const logitBytes = 64 * 2 ** 20

/** What is computed of some rows' logits [m, V] and targets [m]: f32 [n] each, for the first n of the rows. */
export type OfLogits = (logits: Tensor, targets: Tensor, n: number) => ReadonlyArray<Tensor>

/**
 * Computes something of each row's logits: hidden [N, d], head [V, d], targets i32 or i64 [N] -> f32 [N] each. Logits are made for a chunk of rows at a
 * time and made again in the backward pass, so that memory does not grow with N x V. `ahead`: rows behind its own that a chunk sees as well, where
 * there are any.
 */
export const chunkedOfLogits = (
  hidden: Tensor,
  head: Tensor,
  targets: Tensor,
  of: OfLogits,
  { ahead = 0, maxBytes = logitBytes }: { readonly ahead?: number; readonly maxBytes?: number } = {}
): ReadonlyArray<Tensor> => {
  const [n, vocabSize] = [hidden.shape[0]!, head.shape[0]!]
  const rows = Math.max(1, Math.floor(maxBytes / (4 * vocabSize)))
  const chunk = (own: Tensor, ids: Tensor, size: number): ReadonlyArray<Tensor> =>
    of(matmul(own, head, { transposeB: true }), ids, size)
  if (rows >= n) return chunk(hidden, targets, n)
  const sizes = Array.from({ length: Math.ceil(n / rows) }, (_, c) => Math.min(rows, n - c * rows))
  const parts = sizes.map((size, c) => ({ from: c * rows, to: Math.min(n, c * rows + size + ahead) }))
  // Cut before the chunks begin, so that all chunks are the same program, which an engine compiles once.
  const own = slices(hidden, parts)
  const ids = slices(targets, parts)
  const chunks = sizes.map((size, c) => checkpoint(() => chunk(own[c]!, ids[c]!, size)))
  return chunks[0]!.map((_, i) =>
    concat(
      chunks.map(parts => parts[i]!),
      0
    )
  )
}

/** Cross-entropy of rows, f32 [N], nats; see `chunkedOfLogits`. */
export const chunkedCrossEntropy = (
  hidden: Tensor,
  head: Tensor,
  targets: Tensor,
  { bias, ...options }: { readonly bias?: Tensor | undefined; readonly maxBytes?: number } = {}
): Tensor =>
  chunkedOfLogits(
    hidden,
    head,
    targets,
    (rows, own) => [softmaxCrossEntropy(bias === undefined ? rows : add(rows, bias), own)],
    options
  )[0]!
