/** Decoders as functions over weights; causal by the call, or else as the configuration says: bidirectional, or by blocks. */
import { slices, softmaxCrossEntropy } from "../tensor/composites.ts"
import { add, checkpoint, concat, equal, gather, matmul, reshape, select, sliceAxis } from "../tensor/ops.ts"
import type { DType } from "../tensor/dtype.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { append } from "../pipeline/lists.ts"
import { embeddingKey, finalNorm, goesBothWays, headKey, layerOf, type ModelConfig, tokenRowsKey } from "./config.ts"
import {
  type AttentionContext,
  type AttentionMask,
  attentionMask,
  type Rotation,
  rotation
} from "./layers/attention.ts"
import { blocksOfDocuments } from "./layers/documents.ts"
import type { Layer, LayerCache, LayerContext } from "./layers/mixer.ts"
import type { Parameter } from "./parameters.ts"

export interface ModelWeights {
  /** Tokens [B, L] -> their embeddings [B, L, d]. */
  readonly embed: (tokens: Tensor) => Tensor
  readonly layers: ReadonlyArray<Layer>
  /** From what leaves the last layer to what the head reads. */
  readonly finalNorm: (x: Tensor) => Tensor
  /** [V, d]; the matrix of the embedding where the head is tied. */
  readonly head: Tensor
}

/** Weights by their keys in the checkpoint, in the shape that the model's functions take. `dropoutKey`: of a training's pass, i64 [2], where adapters drop anything. */
export const weightsOf = (config: ModelConfig, parameter: Parameter, dropoutKey?: Tensor): ModelWeights => {
  return {
    embed: embedder(config, parameter),
    layers: config.layers.map((_, i) => layerOf(config, i, dropoutKey).make(parameter)),
    finalNorm: finalNorm(config).make(parameter),
    head: parameter(config.tiedHead ? embeddingKey : headKey)
  }
}

/** Embeddings by the matrix, and those of an adapter's own tokens by its rows. */
const embedder = (config: ModelConfig, parameter: Parameter): ModelWeights["embed"] => {
  const matrix = parameter(embeddingKey)
  const { trainableTokens = [] } = config.linear?.adapter ?? {}
  return tokens =>
    trainableTokens.reduce(
      (embedded, id, i) => {
        const isToken = reshape(equal(tokens, id), [...tokens.shape, 1])
        return select(isToken, sliceAxis(parameter(tokenRowsKey), 0, i, i + 1), embedded)
      },
      gather(matrix, tokens)
    )
}

export interface ForwardOptions extends AttentionContext {
  /** What enters the first layer, given the tokens' embeddings [B, L, d]; by default just those. */
  readonly embedded?: (embeddings: Tensor) => Tensor
  /** Computes each layer again in the backward pass instead of keeping what is inside of it. */
  readonly checkpointLayers?: boolean
  /** Instead of the one that `causal` and `segmentIds` lead to. */
  readonly mask?: AttentionMask
  /** The cache of each layer, where the pass goes on from earlier ones (cache.ts). */
  readonly cache?: (layer: number) => LayerCache
  /** Instead of `segmentIds`, for layers that go from right to left. */
  readonly documentsBackwards?: Tensor
}

export interface Forward {
  /** What enters each layer and leaves the last, before the final norm: [0] the embeddings, [i] the output of layer i. Each [B, L, d]. */
  readonly hiddenStates: ReadonlyArray<Tensor>
  /** After the final norm, [B, L, d]: what the head reads. */
  readonly final: Tensor
  /** Of each layer that has experts, [B * L, experts]. */
  readonly routerLogits: ReadonlyArray<Tensor>
}

/** What the layers of a pass over rows of `length` tokens share. */
export const layerContext = (
  config: ModelConfig,
  length: number,
  dtype: DType,
  { documentsBackwards, mask, ...given }: AttentionContext & Pick<ForwardOptions, "mask" | "documentsBackwards">
): LayerContext => {
  const { attentionBlockSize: blockSize, hybridBidirectional } = config
  const attention = { ...given, causal: given.causal || hybridBidirectional === "none" }
  const backwards = documentsBackwards === undefined ? {} : { segmentIds: documentsBackwards }
  const rotations = new Map<string, Rotation>()
  return {
    ...attention,
    ...(goesBothWays(config, attention.causal)
      ? { bothWays: { segmentIds: blocksOfDocuments({ ...attention, ...backwards, blockSize }, length) } }
      : {}),
    mask: mask ?? attentionMask({ ...attention, blockSize }, length, dtype),
    rotation: (headDim, theta) => {
      const key = `${headDim} ${theta}`
      const made = rotations.get(key) ?? rotation(attention.positions, { headDim, length, theta })
      rotations.set(key, made)
      return made
    }
  }
}

/** tokens: i32 or i64 [B, L]. */
export const forward = (
  config: ModelConfig,
  weights: ModelWeights,
  tokens: Tensor,
  { cache, checkpointLayers = false, embedded = embeddings => embeddings, ...attention }: ForwardOptions
): Forward => {
  const context = layerContext(config, tokens.shape[1]!, weights.head.dtype, attention)
  const layers = weights.layers.map((layer, i) => {
    const told: Array<Tensor> = []
    const onRouterLogits = (logits: Tensor): void => void told.push(logits)
    const compute = layer({ ...context, onRouterLogits, ...(cache === undefined ? {} : { cache: cache(i) }) })
    return (x: Tensor): readonly [Tensor, ...ReadonlyArray<Tensor>] => [compute(x), ...told.splice(0)]
  })
  const hiddenStates = [embedded(weights.embed(tokens))] // [B, L, d]
  const routerLogits: Array<Tensor> = []
  for (const layer of layers) {
    const x = hiddenStates.at(-1)!
    const [y, ...told] = checkpointLayers ? checkpoint(() => layer(x)) : layer(x)
    hiddenStates.push(y)
    append(routerLogits, told)
  }
  return { hiddenStates, final: weights.finalNorm(hiddenStates.at(-1)!), routerLogits }
}

/** hidden [N, d] -> logits [N, V]. */
export const logits = (hidden: Tensor, { head }: Pick<ModelWeights, "head">, bias?: Tensor): Tensor => {
  const products = matmul(hidden, head, { transposeB: true })
  return bias === undefined ? products : add(products, bias)
}

/** Logits of so many bytes are held at once, unless one row alone has more. */
export const logitBytes = 64 * 2 ** 20

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
