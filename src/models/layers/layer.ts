/**
 * Decoder layers, put together from parts: a mixer, through which tokens see each other, and a feed-forward network, which works on each token
 * alone. A stack may mix layers of different parts: `partsOf` says which layer has which.
 */
import { silu } from "../../tensor/composites.ts"
import { add, cast, mul, reshape, rmsNorm, rotate } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { attend, type AttentionMask, type Rotation } from "./attention.ts"
import type { ModelConfig } from "../config.ts"
import { dense, type Linear, type LinearKind, type LinearShape } from "../linear/linear.ts"
import type { Parameter, ParameterSpec } from "../parameters.ts"

/** Something with parameters, and what they make of it. Names count from where it stands. */
export interface Part<F> {
  readonly specs: ReadonlyArray<ParameterSpec>
  readonly make: (parameter: Parameter) => F
}

/** Keys (rotated) and values of a layer, each [B, L, KV, headDim]. */
export interface KeyValues {
  readonly keys: Tensor
  readonly values: Tensor
}

/** What all layers of one forward pass share. */
export interface LayerContext {
  readonly mask: AttentionMask | undefined
  readonly angles: Rotation
  /** What a layer's queries attend to, given its own keys and values. */
  readonly attended: (layer: number, fresh: KeyValues) => KeyValues
}

/** x [B, L, d] -> [B, L, d], of the layer with that number. */
export type Layer = (x: Tensor, layer: number, context: LayerContext) => Tensor
export type Mixer = Layer
/** x [..., d] -> [..., d]. */
export type FeedForward = (x: Tensor) => Tensor

export interface LayerParts {
  readonly mixer: Part<Mixer>
  readonly feedForward: Part<FeedForward>
}

const scale = (name: string, size: number): ParameterSpec => ({ name, shape: [size], initial: "ones" })

/** Grouped-query attention with rotary positions; in Qwen3, queries and keys are normalised before they are rotated. */
export const selfAttention = (config: ModelConfig, linear: LinearKind): Part<Mixer> => {
  const { attentionBias, family, headDim, heads, hiddenSize, keyValueHeads, normEpsilon } = config
  const projection = (name: string, count: number): LinearShape => ({
    name: `self_attn.${name}`,
    inputs: hiddenSize,
    outputs: count * headDim,
    bias: attentionBias
  })
  const q = projection("q_proj", heads)
  const k = projection("k_proj", keyValueHeads)
  const v = projection("v_proj", keyValueHeads)
  const back: LinearShape = {
    name: "self_attn.o_proj",
    inputs: heads * headDim,
    outputs: hiddenSize,
    bias: attentionBias && family === "qwen3"
  }
  const norms =
    family === "qwen3" ? [scale("self_attn.q_norm.weight", headDim), scale("self_attn.k_norm.weight", headDim)] : []
  return {
    specs: [...[q, k, v, back].flatMap(linear.specs), ...norms],
    make: parameter => {
      const [ofQ, ofK, ofV, ofBack] = [q, k, v, back].map(shape => linear.make(shape, parameter)) as [
        Linear,
        Linear,
        Linear,
        Linear
      ]
      const [qNorm, kNorm] = norms.map(({ name }) => parameter(name))
      return (x, layer, { angles, attended, mask }) => {
        const [batch, length] = x.shape as [number, number, number]
        const split = (y: Tensor, count: number): Tensor => reshape(y, [batch, length, count, headDim])
        const [cosines, sines] = [cast(angles.cos, x.dtype), cast(angles.sin, x.dtype)]
        const placed = (y: Tensor, weight: Tensor | undefined): Tensor =>
          rotate(weight === undefined ? y : rmsNorm(y, weight, normEpsilon), cosines, sines)
        const queries = placed(split(ofQ(x), heads), qNorm) // [B, L, H, headDim]
        const { keys, values } = attended(layer, {
          keys: placed(split(ofK(x), keyValueHeads), kNorm), // [B, L, KV, headDim]
          values: split(ofV(x), keyValueHeads)
        })
        return ofBack(attend(queries, keys, values, mask)) // [B, L, d]
      }
    }
  }
}

/** down(silu(gate x) * up x). */
export const swiglu = ({ hiddenSize, intermediateSize }: ModelConfig, linear: LinearKind): Part<FeedForward> => {
  const inwards = { inputs: hiddenSize, outputs: intermediateSize, bias: false }
  const gate: LinearShape = { name: "mlp.gate_proj", ...inwards }
  const up: LinearShape = { name: "mlp.up_proj", ...inwards }
  const down: LinearShape = { name: "mlp.down_proj", inputs: intermediateSize, outputs: hiddenSize, bias: false }
  return {
    specs: [gate, up, down].flatMap(linear.specs),
    make: parameter => {
      const [ofGate, ofUp, ofDown] = [gate, up, down].map(shape => linear.make(shape, parameter)) as [
        Linear,
        Linear,
        Linear
      ]
      return x => ofDown(mul(silu(ofGate(x)), ofUp(x)))
    }
  }
}

/** Pre-norm: x + mixer(norm x), and the same with the feed-forward network. */
export const decoderLayer = (
  { hiddenSize, normEpsilon }: ModelConfig,
  { feedForward, mixer }: LayerParts
): Part<Layer> => {
  const before = scale("input_layernorm.weight", hiddenSize)
  const between = scale("post_attention_layernorm.weight", hiddenSize)
  return {
    specs: [...mixer.specs, ...feedForward.specs, before, between],
    make: parameter => {
      const mix = mixer.make(parameter)
      const feed = feedForward.make(parameter)
      return (x, layer, context) => {
        const h = add(x, mix(rmsNorm(x, parameter(before.name), normEpsilon), layer, context)) // [B, L, d]
        return add(h, feed(rmsNorm(h, parameter(between.name), normEpsilon))) // [B, L, d]
      }
    }
  }
}

/** The parts of a layer. In the dense families all layers are alike. */
const partsOf = (config: ModelConfig, _layer: number): LayerParts => {
  const linear = dense(config.initializerRange)
  return { mixer: selfAttention(config, linear), feedForward: swiglu(config, linear) }
}

/** Layer number `layer` of a model, with the names of its parameters in the checkpoint. */
export const layerOf = (config: ModelConfig, layer: number): Part<Layer> => {
  const { make, specs } = decoderLayer(config, partsOf(config, layer))
  const full = (name: string): string => `${layerPrefix(layer)}${name}`
  return {
    specs: specs.map(spec => ({ ...spec, name: full(spec.name) })),
    make: parameter => make(name => parameter(full(name)))
  }
}

/** What the names of a layer's parameters begin with. */
export const layerPrefix = (layer: number): string => `model.layers.${layer}.`
