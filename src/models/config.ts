/** What a decoder is: its sizes, the kind of each of its layers, and the parameters that follow. */
import { Schema } from "effect"
import { describe } from "../pipeline/Problem.ts"
import { makeLayer, type LayerKind } from "./layers/layer.ts"
import type { Mixer } from "./layers/mixer.ts"
import { type Norm, norm } from "./layers/norm.ts"
import { dense } from "./linear/linear.ts"
import { countElements, type ParameterSpec, within } from "./parameters.ts"

/** What a model is, with every default filled in; plain data. */
export interface ModelConfig {
  /** Name of the family (families.ts): how the model is read and written. What it computes stands here, whatever the family. */
  readonly family: string
  /** d. */
  readonly hiddenSize: number
  /** From the first to the last. */
  readonly layers: ReadonlyArray<LayerKind>
  /** Of what leaves the last layer. */
  readonly norm: Norm
  readonly vocabSize: number
  readonly tiedHead: boolean
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number
  /**
   * Tokens of a block, where a pass is not causal: a token sees those of its own block and of earlier ones, blocks counted from the beginning of its document. Left out: it
   * sees its whole document.
   */
  readonly attentionBlockSize?: number
  /** What is not causal in passes that are not, where some layers go from left to right; left out, `attn_only`. */
  readonly hybridBidirectional?: HybridBidirectional
}

/**
 * In passes that are not causal, of models where some layers attend and others go from left to right: `attn_only`: those that attend see all, the others what is left of a
 * token; `two_scan`: the others also go from right to left, with the same weights, and take the mean of both; `none`: every layer sees what is left of a token.
 */
export const hybridBidirectionals = ["attn_only", "two_scan", "none"] as const
export type HybridBidirectional = (typeof hybridBidirectionals)[number]

/** Ten times the largest models that are published. */
export const mostParameters = 2e13

/** A configuration that this program cannot run as written. */
export class ModelConfigError extends Schema.TaggedError<ModelConfigError>()("ModelConfigError", {
  message: Schema.String
}) {}

/** A field of `config.json` with a value that cannot be run. */
export const refuse = (field: string, value: unknown, supported: string): ModelConfigError =>
  new ModelConfigError({ message: `config.json: ${field} is ${describe(value)}; supported is ${supported}` })

export const embeddingKey = "model.embed_tokens.weight"
export const headKey = "lm_head.weight"
const finalNormKey = "model.norm.weight"

/** Layer number `layer` of a model, under the names of its parameters. */
export const layerOf = (config: ModelConfig, layer: number): Mixer => {
  const { hiddenSize, initializerRange, layers } = config
  const made = makeLayer(layers[layer]!, hiddenSize, dense(initializerRange))
  return { ...made, ...within(layerPrefix(layer), made) }
}

/** What the names of a layer's parameters begin with. */
export const layerPrefix = (layer: number): string => `model.layers.${layer}.`

/** From what leaves the last layer, [..., d], to what the head reads. */
export const finalNorm = (config: ModelConfig) => norm(config.norm, finalNormKey, config.hiddenSize)

/** The parameters of a model, in the order of Hugging Face checkpoints. */
export const parameterSpecs = (config: ModelConfig): ReadonlyArray<ParameterSpec> => {
  const { hiddenSize, initializerRange, tiedHead, vocabSize } = config
  const byToken = (name: string): ParameterSpec => ({
    name,
    shape: [vocabSize, hiddenSize],
    initial: { normal: initializerRange }
  })
  return [
    byToken(embeddingKey),
    ...config.layers.flatMap((_, layer) => layerOf(config, layer).specs),
    ...finalNorm(config).specs,
    ...(tiedHead ? [] : [byToken(headKey)])
  ]
}

export const countParameters = (config: ModelConfig): number => countElements(parameterSpecs(config))

/** Names under which checkpoints hold what the model has under another: a tied head is the embedding. */
export const parameterAliases = ({ tiedHead }: ModelConfig): { readonly [alias: string]: string } =>
  tiedHead ? { [headKey]: embeddingKey } : {}

/** The fields of `config.json` that Hugging Face's classes do not know. */
export const ownFields = ({
  attentionBlockSize,
  hybridBidirectional
}: ModelConfig): { readonly [field: string]: unknown } => ({
  ...(attentionBlockSize === undefined ? {} : { attention_block_size: attentionBlockSize }),
  ...(hybridBidirectional === undefined ? {} : { hybrid_bidirectional: hybridBidirectional })
})
