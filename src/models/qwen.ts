/** Qwen2, Qwen2.5 and Qwen3 dense decoders as functions over weights; causal or bidirectional by the call. */
import { silu, softmaxCrossEntropy } from "../tensor/composites.ts"
import { add, checkpoint, concat, gather, matmul, mul, reshape, rmsNorm, sliceAxis } from "../tensor/ops.ts"
import type { DType } from "../tensor/dtype.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { attend, type AttentionContext, attentionMask, rotate, rotation, type Rotation } from "./attention.ts"
import { embeddingKey, headKey, type ModelConfig, outputBias } from "./config.ts"

/** x [..., in] -> [..., out], however the weight is stored. */
export type Linear = (x: Tensor) => Tensor

/** A dense weight [out, in], and a bias [out] where the family has one. */
export const dense =
  (weight: Tensor, bias?: Tensor): Linear =>
  x => {
    const y = matmul(x, weight, { transposeB: true })
    return bias === undefined ? y : add(y, bias)
  }

export interface LayerWeights {
  readonly inputNorm: Tensor
  readonly attention: {
    readonly q: Linear
    readonly k: Linear
    readonly v: Linear
    readonly o: Linear
    /** [headDim], Qwen3 only. */
    readonly qNorm?: Tensor
    readonly kNorm?: Tensor
  }
  readonly postAttentionNorm: Tensor
  readonly mlp: { readonly gate: Linear; readonly up: Linear; readonly down: Linear }
}

export interface ModelWeights {
  /** [V, d]. */
  readonly embedding: Tensor
  readonly layers: ReadonlyArray<LayerWeights>
  readonly finalNorm: Tensor
  /** [V, d]; the embedding itself where the head is tied. */
  readonly head: Tensor
}

const denseOf =
  (tensor: (name: string) => Tensor) =>
  (name: string, bias: boolean): Linear =>
    dense(tensor(`${name}.weight`), bias ? tensor(`${name}.bias`) : undefined)

/** Weights by their keys in the checkpoint, in the shape that the model's functions take. `linear` decides how projections are computed. */
export const weightsOf = (
  config: ModelConfig,
  tensor: (name: string) => Tensor,
  linear: (name: string, bias: boolean) => Linear = denseOf(tensor)
): ModelWeights => {
  const embedding = tensor(embeddingKey)
  return {
    embedding,
    layers: Array.from({ length: config.layers }, (_, i) => layerWeightsOf(config, i, tensor, linear)),
    finalNorm: tensor("model.norm.weight"),
    head: config.tiedHead ? embedding : tensor(headKey)
  }
}

/** The weights of one layer. */
export const layerWeightsOf = (
  config: ModelConfig,
  layer: number,
  tensor: (name: string) => Tensor,
  linear: (name: string, bias: boolean) => Linear = denseOf(tensor)
): LayerWeights => {
  const prefix = `model.layers.${layer}.`
  const attention = `${prefix}self_attn.`
  return {
    inputNorm: tensor(`${prefix}input_layernorm.weight`),
    attention: {
      q: linear(`${attention}q_proj`, config.attentionBias),
      k: linear(`${attention}k_proj`, config.attentionBias),
      v: linear(`${attention}v_proj`, config.attentionBias),
      o: linear(`${attention}o_proj`, outputBias(config)),
      ...(config.family === "qwen3"
        ? { qNorm: tensor(`${attention}q_norm.weight`), kNorm: tensor(`${attention}k_norm.weight`) }
        : {})
    },
    postAttentionNorm: tensor(`${prefix}post_attention_layernorm.weight`),
    mlp: {
      gate: linear(`${prefix}mlp.gate_proj`, false),
      up: linear(`${prefix}mlp.up_proj`, false),
      down: linear(`${prefix}mlp.down_proj`, false)
    }
  }
}

/** What all layers of one forward pass share. */
interface LayerContext {
  readonly config: ModelConfig
  readonly mask: Tensor | undefined
  readonly angles: Rotation
  readonly attended: (layer: number, fresh: KeyValues) => KeyValues
}

/** Keys (rotated) and values of a layer, each [B, L, KV, headDim]. */
export interface KeyValues {
  readonly keys: Tensor
  readonly values: Tensor
}

/** One decoder layer. x: [B, L, d] -> [B, L, d]. */
const decoderLayer = (x: Tensor, layer: number, w: LayerWeights, context: LayerContext): Tensor => {
  const { normEpsilon } = context.config
  const h = add(x, selfAttention(rmsNorm(x, w.inputNorm, normEpsilon), layer, w.attention, context)) // [B, L, d]
  return add(h, swiglu(rmsNorm(h, w.postAttentionNorm, normEpsilon), w.mlp)) // [B, L, d]
}

const selfAttention = (
  x: Tensor,
  layer: number,
  w: LayerWeights["attention"],
  { angles, attended, config, mask }: LayerContext
): Tensor => {
  const [batch, length] = x.shape as [number, number, number]
  const split = (y: Tensor, heads: number): Tensor => reshape(y, [batch, length, heads, config.headDim])
  const normed = (y: Tensor, weight: Tensor | undefined): Tensor =>
    weight === undefined ? y : rmsNorm(y, weight, config.normEpsilon)
  const q = rotate(normed(split(w.q(x), config.heads), w.qNorm), angles) // [B, L, H, headDim]
  const { keys, values } = attended(layer, {
    keys: rotate(normed(split(w.k(x), config.keyValueHeads), w.kNorm), angles), // [B, L, KV, headDim]
    values: split(w.v(x), config.keyValueHeads)
  })
  return w.o(attend(q, keys, values, mask)) // [B, L, d]
}

const swiglu = (x: Tensor, { down, gate, up }: LayerWeights["mlp"]): Tensor => down(mul(silu(gate(x)), up(x)))

export interface ForwardOptions extends AttentionContext {
  /** Computes each layer again in the backward pass instead of keeping what is inside of it. */
  readonly checkpointLayers?: boolean
  /** Instead of what `causal` and `documents` say: added to the scores, [B or 1, 1, 1, L, keys]. */
  readonly mask?: Tensor
  /** What a layer's queries attend to, given its own keys and values; by default just those. For caches. */
  readonly attended?: (layer: number, fresh: KeyValues) => KeyValues
}

export interface Forward {
  /** What enters each layer and leaves the last, before the final norm: [0] the embeddings, [i] the output of layer i. Each [B, L, d]. */
  readonly states: ReadonlyArray<Tensor>
  /** After the final norm, [B, L, d]: what the head reads. */
  readonly final: Tensor
}

/** The layers as functions of the states x [B, L, d] that enter them. */
export const decoderLayers = (
  config: ModelConfig,
  length: number,
  dtype: DType,
  { attended = (_layer, fresh) => fresh, mask, ...attention }: ForwardOptions
): ((x: Tensor, layer: number, weights: LayerWeights) => Tensor) => {
  const context: LayerContext = {
    config,
    mask: mask ?? attentionMask(attention, length, dtype),
    attended,
    angles: rotation(attention.positions, { headDim: config.headDim, length, theta: config.ropeTheta })
  }
  return (x, layer, weights) => decoderLayer(x, layer, weights, context)
}

/** tokens: i32 or i64 [B, L]. */
export const forward = (
  config: ModelConfig,
  weights: ModelWeights,
  tokens: Tensor,
  options: ForwardOptions
): Forward => {
  const layerOf = decoderLayers(config, tokens.shape[1]!, weights.embedding.dtype, options)
  const states = [gather(weights.embedding, tokens)] // [B, L, d]
  for (const [i, layer] of weights.layers.entries()) {
    const x = states.at(-1)!
    const run = (): Tensor => layerOf(x, i, layer)
    states.push(options.checkpointLayers === true ? checkpoint(run) : run())
  }
  return { states, final: rmsNorm(states.at(-1)!, weights.finalNorm, config.normEpsilon) }
}

/** hidden [N, d] -> logits [N, V]. */
export const logits = (hidden: Tensor, { head }: ModelWeights): Tensor => matmul(hidden, head, { transposeB: true })

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
  const chunk = (start: number, end: number): ReadonlyArray<Tensor> => {
    const seen = Math.min(n, end + ahead)
    return of(
      matmul(sliceAxis(hidden, 0, start, seen), head, { transposeB: true }),
      sliceAxis(targets, 0, start, seen),
      end - start
    )
  }
  if (rows >= n) return chunk(0, n)
  const chunks: Array<ReadonlyArray<Tensor>> = []
  for (let start = 0; start < n; start += rows) chunks.push(checkpoint(() => chunk(start, Math.min(n, start + rows))))
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
  options: { readonly maxBytes?: number } = {}
): Tensor => chunkedOfLogits(hidden, head, targets, (rows, own) => [softmaxCrossEntropy(rows, own)], options)[0]!
