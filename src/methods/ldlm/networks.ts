/**
 * The networks of LDLM (arXiv:2605.07933) beside a frozen language model: states of the model become latents, a diffusion model learns the
 * latents, and latents become states and tokens again.
 *
 *     states [L, d] --encoder--> z0 [n, w] --decoder--> states' [L, d] --token decoder--> logits [L, V]
 *                                  ^ denoiser: noise -> z0, given a prompt
 */
import { Schema } from "effect"
import { Count, Positive, PositiveInt, setting, Share } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { noiseSchedules } from "./noiseSchedule.ts"
import { reshape, stopGradient } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { attentionMask } from "../../models/layers/attention.ts"
import { embeddingKey, finalNorm, headKey, type ModelConfig } from "../../models/config.ts"
import type { ParameterSpec } from "../../models/parameters.ts"
import { denoise, type DiffusionHeadShape, diffusionHeadSpecs, type Prompt } from "../shared/latents/diffusionHead.ts"
import type { LatentStart } from "../shared/latents/alignedStart.ts"
import { latentFormat } from "../shared/latents/latentFormat.ts"
import {
  layer,
  layerSpecs,
  linear,
  linearSpecs,
  stateIndex,
  under,
  type Weights,
  within
} from "../shared/latents/layers.ts"
import { perceiver, type PerceiverShape, perceiverSpecs } from "../shared/latents/perceiver.ts"

/** What the networks are and how noise is added to latents; a part of the model's `config.json`. */
export const LdlmArchitecture = Schema.Struct({
  /** Tokens that one set of latents stands for; longer texts are made in pieces */
  seqLen: setting(PositiveInt, 128),
  /** How many latents there are; by default one a token */
  numLatents: Schema.optionalKey(PositiveInt),
  /** Layers of the latent encoder, and of the latent decoder */
  depth: setting(PositiveInt, 6),
  /** Attention heads of the latent encoder, the latent decoder and the denoiser */
  heads: setting(PositiveInt, 8),
  /** Layers of the token decoder */
  decoderNumLayers: setting(PositiveInt, 3),
  /** Layers of the denoiser */
  diffusionHeadDepth: setting(PositiveInt, 12),
  /** States of the language model that are encoded: 0 is the embedding, 1 leaves the first layer; negative counts from the end */
  encoderHiddenLayer: setting(Schema.Int, -3),
  /** Width of latents and networks; by default that of the language model */
  latentDim: Schema.optionalKey(PositiveInt),
  /** Tokens are predicted by the language model's own final norm and head, which are not trained, instead of by a new head with a bias */
  tieLmHead: setting(Schema.Boolean, false),
  /** Learned positions of states and latents; false as in the seed, whose denoiser cannot tell noised latents apart */
  latentPositions: setting(Schema.Boolean, true),
  /** Tokens of a prompt that the denoiser attends to; 0 as in the seed, which knows no prompts */
  promptLength: setting(Count, 64),
  /** The diffusion sees latents with mean 0 and deviation 1, by the statistics of the last steps; or, as in the seed, as large as the noise on decoded latents makes them, which is more than the denoiser's last norm can produce */
  scaledLatents: setting(Schema.Boolean, true),
  /** The denoiser reads its own earlier prediction */
  selfConditioning: setting(Schema.Boolean, true),
  /** Share of the signal at time t: power, 1 - t^d, as in the seed; tangent, 1 / (1 + d^2 tan^2(pi t / 2)) */
  noiseSchedule: setting(Schema.Literals(noiseSchedules), "power"),
  /** d of the noise schedule */
  tangentD: setting(Positive, 3),
  /** Latents are drawn from noise to data; or, as in the seed's benchmark, the other way, which costs the same and draws nothing */
  samplerDirection: setting(Schema.Literals(["descending", "ascending"]), "descending"),
  /** Share of fresh noise in each step of drawing: 0 is DDIM */
  samplerEta: setting(Share, 0)
})
export type LdlmArchitecture = typeof LdlmArchitecture.Type

/** Where the parameters lie in a checkpoint, beside those of the language model. */
export const ldlmPrefix = "ldlm"

/** Heads of the token decoder: the first that divides its width. */
const decoderHeads = [16, 12, 8, 4, 2] as const
const headsFor = (width: number): number => decoderHeads.find(heads => width % heads === 0) ?? 1

/** All sizes of the networks. */
export interface LdlmShape {
  readonly d: number
  readonly width: number
  readonly latents: number
  readonly encoder: PerceiverShape
  readonly decoder: PerceiverShape
  readonly denoiser: DiffusionHeadShape
  /** Index among the states of the language model. */
  readonly stateLayer: number
}

/** Throws RangeError for sizes that do not fit the language model or each other. */
export const ldlmShape = (architecture: LdlmArchitecture, { hiddenSize: d, layers }: ModelConfig): LdlmShape => {
  const { depth, diffusionHeadDepth, heads, latentPositions, promptLength, selfConditioning, seqLen } = architecture
  const width = architecture.latentDim ?? d
  const latents = architecture.numLatents ?? seqLen
  if (width % heads !== 0) throw new RangeError(`a width of ${width} cannot be divided among ${heads} heads`)
  const perceiver = { width, depth, heads }
  return {
    d,
    width,
    latents,
    encoder: { ...perceiver, contextWidth: d, latents, positions: latentPositions ? seqLen : undefined },
    decoder: { ...perceiver, contextWidth: width, latents: seqLen, positions: latentPositions ? latents : undefined },
    denoiser: {
      width,
      latents,
      depth: diffusionHeadDepth,
      heads,
      selfCondition: selfConditioning,
      positions: latentPositions,
      promptWidth: promptLength > 0 ? d : undefined
    },
    stateLayer: stateIndex(architecture.encoderHiddenLayer, layers.length)
  }
}

const tokenLayer = (width: number) =>
  ({ width, selfAttention: true, crossAttention: true, projectionBias: true }) as const

/** The parameters of the networks. */
export const ldlmSpecs = (
  architecture: LdlmArchitecture,
  config: ModelConfig,
  latentStart: LatentStart = "random"
): ReadonlyArray<ParameterSpec> => {
  const { d, decoder, denoiser, encoder, width } = ldlmShape(architecture, config)
  const resized = d !== width
  const { decoderNumLayers, tieLmHead } = architecture
  const aligned = (vectorsAre: "latents" | "positions") => (latentStart === "random" ? "random" : { vectorsAre })
  return under(ldlmPrefix, [
    ...under("latent_encoder", perceiverSpecs(encoder, aligned("latents"))),
    ...under("latent_decoder", perceiverSpecs(decoder, aligned("positions"))),
    ...(resized ? linearSpecs("latent_decoder.output", { from: width, to: d }) : []),
    ...(resized ? linearSpecs("token_decoder.input", { from: d, to: width }) : []),
    ...Array.from({ length: decoderNumLayers }, (_, i) =>
      under(`token_decoder.layers.${i}`, layerSpecs(tokenLayer(width)))
    ).flat(),
    ...(tieLmHead
      ? resized
        ? linearSpecs("token_decoder.output", { from: width, to: d })
        : []
      : linearSpecs("lm_head", { from: width, to: config.vocabSize })),
    ...under("diffusion_head", diffusionHeadSpecs(denoiser))
  ])
}

/** The networks as functions; `weights` knows the language model's parameters, too. */
export const ldlm = (architecture: LdlmArchitecture, config: ModelConfig, weights: Weights) => {
  const shape = ldlmShape(architecture, config)
  const { d, width } = shape
  const own = within(weights, ldlmPrefix)
  const resized = d !== width
  return {
    shape,
    /** States [B, L, d], bool [B, L] which of them there are -> latents [B, n, w]. */
    encode: (states: Tensor, seen: Tensor): Tensor =>
      perceiver(within(own, "latent_encoder"), shape.encoder, states, { seen }),
    /** Latents [B, n, w] -> states [B, L, d]. */
    decode: (latents: Tensor): Tensor => {
      const x = perceiver(within(own, "latent_decoder"), shape.decoder, latents)
      return resized ? linear(own, "latent_decoder.output", x) : x
    },
    denoise: (noised: Tensor, time: Tensor, earlier: Tensor, prompt: Prompt | undefined): Tensor =>
      denoise(within(own, "diffusion_head"), shape.denoiser, noised, time, earlier, prompt),
    /** States [B, L, d] -> what the head reads, [B L, its width]. Nothing flows back into the states. */
    tokens: (decoded: Tensor): Tensor => {
      const states = stopGradient(decoded)
      const [batch, length] = states.shape as [number, number, number]
      const memory = resized ? linear(own, "token_decoder.input", states) : states
      const mask = attentionMask({ causal: true }, length, "f32")
      let x = memory
      for (let i = 0; i < architecture.decoderNumLayers; i++)
        x = layer(within(own, `token_decoder.layers.${i}`), x, {
          heads: headsFor(width),
          shape: tokenLayer(width),
          mask,
          context: memory
        })
      if (!architecture.tieLmHead) return reshape(x, [batch * length, width])
      const output = resized ? linear(own, "token_decoder.output", x) : x
      return reshape(finalNorm(config).make(weights)(output), [batch * length, d])
    },
    /** [V, width of what it reads], and a bias [V] where the head is new. */
    head: (): { readonly weight: Tensor; readonly bias?: Tensor } =>
      architecture.tieLmHead
        ? { weight: weights(config.tiedHead ? embeddingKey : headKey) }
        : { weight: own("lm_head.weight"), bias: own("lm_head.bias") }
  }
}

const Statistics = Schema.Tuple([Schema.Finite, Schema.Finite, Schema.Finite])

/** In `config.json`. The networks read states, and the denoiser latents, on the scale that they had in training. */
const Field = Schema.Struct({
  networks: snakeKeys(LdlmArchitecture),
  state_statistics: Statistics,
  latent_statistics: Statistics
})

export const ldlmFormat = latentFormat(ldlmPrefix, Field, {
  read: ({ networks, state_statistics, latent_statistics }) => ({
    architecture: networks,
    statistics: { states: state_statistics, latents: latent_statistics }
  }),
  write: ({ architecture, statistics: { latents, states } }) => ({
    networks: architecture,
    state_statistics: states,
    latent_statistics: latents
  }),
  check: ({ architecture }, config) => void ldlmShape(architecture, config),
  specs: ({ architecture }, config) => ldlmSpecs(architecture, config)
})
