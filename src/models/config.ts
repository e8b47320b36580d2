/** What a decoder is: its sizes, the kind of each of its layers, and the parameters that follow. */
import { Schema } from "effect"
import { describe } from "../pipeline/Problem.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { isRecurrent, makeLayer, type LayerKind } from "./layers/layer.ts"
import type { Mixer } from "./layers/mixer.ts"
import { type Norm, norm } from "./layers/norm.ts"
import type { LinearKind } from "./linear/linear.ts"
import { type LinearMap, linearKind, linearMap, type LinearMaps } from "./linear/linearMaps.ts"
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
  /** Of models with experts: the coefficient of the load-balancing loss (loadBalancing.ts), and whether a training adds it. */
  readonly routerLoss?: { readonly coefficient: number; readonly added: boolean }
  /** How the linear maps of the layers are stored and adapted. Left out: dense. With adapters nothing else is ever trained. */
  readonly linear?: LinearMaps
}

/**
 * In passes that are not causal, of models where some layers attend and others go from left to right: `attn_only`: those that attend see all, the others what is left of a
 * token; `two_scan`: the others also go from right to left, with the same weights, and take the mean of both; `none`: every layer sees what is left of a token.
 */
export const hybridBidirectionals = ["attn_only", "two_scan", "none"] as const
export type HybridBidirectional = (typeof hybridBidirectionals)[number]

/** Whether a model has layers that go from left to right, so that `hybridBidirectional` says something. */
export const isHybrid = ({ layers }: ModelConfig): boolean => layers.some(({ mixer }) => isRecurrent(mixer))

/** Whether these layers also go from right to left in a pass. */
export const goesBothWays = ({ hybridBidirectional }: ModelConfig, causal: boolean): boolean =>
  hybridBidirectional === "two_scan" && !causal

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
/** Of an adapter, [tokens, d]: rows in place of those of the embedding, by PEFT's name. */
export const tokenRowsKey = "model.embed_tokens.token_adapter.trainable_tokens_delta"

/** Layer number `layer` of a model; names of its parameters count from it. `dropoutKey`: of a training's pass, i64 [2] (linear/lora.ts). */
export const unplacedLayer = (config: ModelConfig, layer: number, dropoutKey?: Tensor): Mixer => {
  const { hiddenSize, initializerRange, layers, linear = {} } = config
  const linearOf: LinearKind = shape => {
    const module = `${layerPrefix(layer)}${shape.name}`
    const random = dropoutKey === undefined ? undefined : { key: dropoutKey, module }
    return linearKind(linearMap(linear, module), { deviation: initializerRange, random })(shape)
  }
  const made = makeLayer(layers[layer]!, { hiddenSize, linear: linearOf, deviation: initializerRange })
  return { ...made, specs: trainedAlone(config, made.specs) }
}

/** Under the names of its parameters. */
export const layerOf = (config: ModelConfig, layer: number, dropoutKey?: Tensor): Mixer => {
  const made = unplacedLayer(config, layer, dropoutKey)
  return { ...made, ...within(layerPrefix(layer), made) }
}

/** With adapters nothing is trained but what says that it is. */
const trainedAlone = ({ linear }: ModelConfig, specs: ReadonlyArray<ParameterSpec>): ReadonlyArray<ParameterSpec> =>
  linear?.adapter === undefined ? specs : specs.map(spec => ({ ...spec, trained: spec.trained ?? false }))

/** A linear map of the layers. */
export interface LinearModule extends LinearMap {
  /** Name of its module in the model. */
  readonly module: string
  readonly inputs: number
  readonly outputs: number
}

/** The linear maps of a layer, in the order of their parameters. */
export const linearModules = (config: ModelConfig, layer: number): ReadonlyArray<LinearModule> => {
  const { hiddenSize, initializerRange, layers, linear = {} } = config
  const found: Array<LinearModule> = []
  const noting: LinearKind = ({ inputs, name, outputs }) => {
    const module = `${layerPrefix(layer)}${name}`
    found.push({ module, inputs, outputs, ...linearMap(linear, module) })
    return { specs: [], make: () => x => x }
  }
  makeLayer(layers[layer]!, { hiddenSize, linear: noting, deviation: initializerRange })
  return found
}

/** The linear maps of all layers. */
export const allLinearModules = (config: ModelConfig): ReadonlyArray<LinearModule> =>
  config.layers.flatMap((_, layer) => linearModules(config, layer))

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
  const { trainableTokens = [] } = config.linear?.adapter ?? {}
  const ownRows: ReadonlyArray<ParameterSpec> =
    trainableTokens.length === 0
      ? []
      : [{ name: tokenRowsKey, shape: [trainableTokens.length, hiddenSize], initial: "zeros", trained: true }]
  return trainedAlone(config, [
    byToken(embeddingKey),
    ...ownRows,
    ...config.layers.flatMap((_, layer) => layerOf(config, layer).specs),
    ...finalNorm(config).specs,
    ...(tiedHead ? [] : [byToken(headKey)])
  ])
}

/** The parameters of a model's adapter. */
export const adapterSpecs = (config: ModelConfig): ReadonlyArray<ParameterSpec> =>
  config.linear?.adapter === undefined ? [] : parameterSpecs(config).filter(({ trained }) => trained === true)

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
