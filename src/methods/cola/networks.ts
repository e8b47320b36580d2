/**
 * An auxiliary latent model beside masked diffusion (the fork's head after Cola DLM, arXiv:2605.06548), made complete: a variational encoder of a text into global
 * and local latents, a diffusion model of them given what is visible, and a decoder through which they tell masked tokens.
 *
 *     clean text --encoder--> N(mu, sigma^2) --draw--> z --decoder--> added to the last state of the masked text --head--> tokens
 *                                                      ^ diffusion: noise -> z, given the states of the masked text
 */
import { Schema } from "effect"
import { Count, PositiveInt, setting } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { bounded, type Gaussian } from "../shared/latents/gaussian.ts"
import { layerNorm, mean, square } from "../../tensor/composites.ts"
import { add, broadcastTo, concat, gather, mul, reshape, sqrt } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { ModelConfig } from "../../models/config.ts"
import type { ParameterSpec } from "../../models/parameters.ts"
import {
  blockCausal,
  type BlockCausalOptions,
  type BlockCausalShape,
  blockCausalSpecs,
  type Condition,
  conditionOn
} from "./blockCausal.ts"
import type { Prompt } from "../shared/latents/diffusionHead.ts"
import { alignedPlaces, firstOf, identity, partsOfLatents, type LatentStart } from "../shared/latents/alignedStart.ts"
import { latentFormat } from "../shared/latents/latentFormat.ts"
import {
  layer,
  layerSpecs,
  linear,
  linearSpecs,
  placeTable,
  stateIndex,
  under,
  type Weights,
  within
} from "../shared/latents/layers.ts"
import { type ContextOptions, perceiver, type PerceiverShape, perceiverSpecs } from "../shared/latents/perceiver.ts"

/** What the networks are; a part of the model's `config.json`. */
export const ColaArchitecture = Schema.Struct({
  /** Latents of the whole text */
  colaNumGlobal: setting(PositiveInt, 16),
  /** Latents of its parts */
  colaNumLocal: setting(PositiveInt, 64),
  /** Local latents of a block */
  colaBlockSize: setting(PositiveInt, 16),
  /** Layers of each of the two encoders */
  colaEncoderDepth: setting(PositiveInt, 2),
  /** Layers of the diffusion model */
  colaDiffusionDepth: setting(PositiveInt, 4),
  /** Attention heads */
  colaHeads: setting(PositiveInt, 8),
  /** States of the student that are encoded: 0 is the embedding, 1 leaves the first layer; negative counts from the end */
  colaSourceLayer: setting(Schema.Int, -3),
  /** Width of latents and networks; by default that of the student */
  colaWidth: Schema.optionalKey(PositiveInt),
  /** What the diffusion model predicts: the velocity of a straight path, or the clean latents of one with signal share 1 - t^2 */
  colaPrediction: setting(Schema.Literals(["v", "x0"]), "v"),
  /** How latents are noised and see each other: blocks, all noised; strictly causal, a tail noised; blocks, a part noised and then its complement */
  colaVariant: setting(Schema.Literals(["block_causal", "card", "fast_block"]), "block_causal"),
  /** The encoder is variational and there is a decoder; false as in the seed, where latents are neither bounded nor used */
  colaVae: setting(Schema.Boolean, true),
  /** Layers through which the last states of the student attend to the latents */
  colaDecoderLayers: setting(PositiveInt, 2),
  /** The diffusion model attends to the student's states of the masked text; false as in the seed */
  colaCondition: setting(Schema.Boolean, true),
  /** Learned positions of text and latents; false as in the seed, whose diffusion model cannot tell the latents of a block apart */
  colaPositions: setting(Schema.Boolean, true),
  /** Positions that the encoder knows; longer rows are refused */
  colaMaxLength: setting(Count, 2048)
})
export type ColaArchitecture = typeof ColaArchitecture.Type

export const colaPrefix = "cola"

export interface ColaShape {
  readonly d: number
  readonly width: number
  readonly latents: number
  readonly global: PerceiverShape
  readonly local: PerceiverShape
  readonly diffusion: BlockCausalShape
  readonly stateLayer: number
}

export const colaShape = (
  architecture: ColaArchitecture,
  { hiddenSize: d, layers }: ModelConfig,
  /** Tokens of a row. */
  length: number
): ColaShape => {
  const width = architecture.colaWidth ?? d
  const { colaHeads: heads, colaNumGlobal: globals, colaNumLocal: locals } = architecture
  if (width % heads !== 0) throw new RangeError(`a width of ${width} cannot be divided among ${heads} heads`)
  if (length > architecture.colaMaxLength)
    throw new RangeError(`rows have ${length} tokens, the encoder knows ${architecture.colaMaxLength} positions`)
  const encoder = {
    width,
    contextWidth: d,
    depth: architecture.colaEncoderDepth,
    heads,
    positions: architecture.colaPositions ? architecture.colaMaxLength : undefined
  }
  return {
    d,
    width,
    latents: globals + locals,
    global: { ...encoder, latents: globals },
    local: { ...encoder, latents: locals },
    diffusion: {
      width,
      globals,
      locals,
      block: architecture.colaBlockSize,
      depth: architecture.colaDiffusionDepth,
      heads,
      causal: architecture.colaVariant === "card",
      positions: architecture.colaPositions,
      shifted: architecture.colaVariant === "fast_block",
      promptWidth: architecture.colaCondition ? d : undefined
    },
    stateLayer: stateIndex(architecture.colaSourceLayer, layers.length)
  }
}

const decoderLayer = (width: number) =>
  ({ width, selfAttention: false, crossAttention: true, projectionBias: false }) as const

/** How the networks begin, of which a trained model knows nothing. */
export interface ColaStart {
  readonly colaLatentStart: LatentStart
  readonly colaStartSigma: number
}
const anyStart: ColaStart = { colaLatentStart: "random", colaStartSigma: 1 }

/** The decoder's positions, which find the locals that stand for the token behind each: tokens are predicted from the state before them. */
const decoderPlaces = (
  { colaHeads: heads, colaMaxLength }: ColaArchitecture,
  { diffusion: { globals, locals }, width }: ColaShape
) => ({ queries: "positions", latents: locals, positions: colaMaxLength, unplaced: globals, heads, width }) as const

/** Throws RangeError for an aligned start without positions. */
export const colaSpecs = (
  architecture: ColaArchitecture,
  config: ModelConfig,
  { colaLatentStart: start, colaStartSigma }: ColaStart = anyStart
): ReadonlyArray<ParameterSpec> => {
  const shape = colaShape(architecture, config, 0)
  const { d, diffusion, global, latents, local, width } = shape
  const places = decoderPlaces(architecture, shape)
  const crossStart = partsOfLatents(places)
  const { colaDecoderLayers, colaMaxLength, colaPositions, colaVae } = architecture
  const logSigma = Math.log(colaStartSigma)
  return under(colaPrefix, [
    ...under("encoder.global", perceiverSpecs(global)),
    ...under("encoder.local", perceiverSpecs(local, start === "random" ? start : { vectorsAre: "latents" })),
    ...linearSpecs("encoder.fusion", {
      from: 2 * width,
      to: width,
      ...(start === "random" ? {} : { initial: firstOf(width, 2 * width) })
    }),
    ...(colaVae
      ? [
          ...linearSpecs("encoder.mu_head", {
            from: width,
            to: width,
            ...(start === "random" ? {} : { initial: identity(width) })
          }),
          { name: "encoder.log_sigma_head.weight", shape: [width, width], initial: "zeros" } as const,
          {
            name: "encoder.log_sigma_head.bias",
            shape: [width],
            initial: { made: () => new Float32Array(width).fill(logSigma) }
          },
          ...(colaPositions
            ? under("decoder", [
                start === "random"
                  ? placeTable("positions", colaMaxLength, width)
                  : alignedPlaces("positions", { ...places, of: "latent_positions", ahead: 1 }),
                placeTable("latent_positions", latents, width)
              ])
            : []),
          ...linearSpecs("decoder.input", { from: d, to: width }),
          ...Array.from({ length: colaDecoderLayers }, (_, i) =>
            under(
              `decoder.layers.${i}`,
              layerSpecs({
                ...decoderLayer(width),
                ...(start === "random" || crossStart === undefined ? {} : { crossStart })
              })
            )
          ).flat(),
          ...linearSpecs("decoder.output", { from: width, to: d, initial: "zeros" })
        ]
      : []),
    ...under("diffusion", blockCausalSpecs(diffusion))
  ])
}

/** The networks as functions, for rows of so many tokens. States are read with mean 0 and deviation 1: a language model's own differ by orders of magnitude. */
export const cola = (architecture: ColaArchitecture, config: ModelConfig, weights: Weights, length: number) => {
  const shape = colaShape(architecture, config, length)
  const { width } = shape
  const own = within(weights, colaPrefix)
  return {
    shape,
    /** States [B, L, d], which of them count and where they are -> latents [B, n, width]: globals, then locals that know the globals' mean. */
    encode: (states: Tensor, options: Required<ContextOptions>): Tensor => {
      const encoder = within(own, "encoder")
      const read = layerNorm(states)
      const g = perceiver(within(encoder, "global"), shape.global, read, options)
      const l = perceiver(within(encoder, "local"), shape.local, read, options)
      const summary = broadcastTo(mean(g, 1, { keepDims: true }), l.shape)
      return concat([g, linear(encoder, "fusion", concat([l, summary], 2))], 1)
    },
    /** The distribution that encoded latents stand for. */
    distribution: (encoded: Tensor): Gaussian => ({
      mean: linear(own, "encoder.mu_head", encoded),
      logSigma: bounded(linear(own, "encoder.log_sigma_head", encoded))
    }),
    /** The student's last states [B, L, d], before its norm, at positions i32 [B, L], with what latents [B, n, width] tell them. Begins as the identity. */
    decode: (states: Tensor, latents: Tensor, at: Tensor): Tensor => {
      const decoder = within(own, "decoder")
      const places = architecture.colaPositions
        ? {
            queries: gather(decoder("positions"), at),
            keys: reshape(decoder("latent_positions"), [1, shape.latents, width])
          }
        : undefined
      let x = linear(decoder, "input", layerNorm(states))
      for (let i = 0; i < architecture.colaDecoderLayers; i++)
        x = layer(within(decoder, `layers.${i}`), x, {
          heads: architecture.colaHeads,
          shape: decoderLayer(width),
          context: latents,
          places
        })
      // In units of their own size: of a language model's last states it may be anything, and what is added would otherwise have to grow to it first.
      const size = sqrt(mean(square(states), -1, { keepDims: true }))
      return add(states, mul(linear(decoder, "output", x), size))
    },
    /** What the diffusion model reads of a prompt's states [B, P, d]. */
    condition: ({ seen, states }: Prompt): Condition =>
      conditionOn(within(own, "diffusion"), shape.diffusion, { seen, states: layerNorm(states) }),
    diffuse: (noised: Tensor, time: Tensor, options: BlockCausalOptions): Tensor =>
      blockCausal(within(own, "diffusion"), shape.diffusion, noised, time, options)
  }
}

export const colaFormat = latentFormat(colaPrefix, snakeKeys(ColaArchitecture), {
  read: architecture => ({ architecture }),
  write: ({ architecture }) => architecture,
  check: ({ architecture }, config) => void colaShape(architecture, config, 0),
  specs: ({ architecture }, config) => colaSpecs(architecture, config)
})
