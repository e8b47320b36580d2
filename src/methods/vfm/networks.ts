/**
 * The noise adapter of variational flow maps (arXiv:2603.07276) for text: from the tokens that are visible it predicts where in noise space a language model should
 * start from, so that one pass gives the rest.
 *
 *     visible tokens --adapter--> N(mu, sigma^2) --draw--> z --W--> added to the embeddings of masks --language model--> tokens
 */
import { Schema } from "effect"
import { PositiveInt, setting } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { bounded, type Gaussian, reparameterised } from "../shared/latents/gaussian.ts"
import { mean } from "../../tensor/composites.ts"
import { add, equal, gather, mul, reshape, select, stopGradient, sub } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { attentionMask } from "../../models/layers/attention.ts"
import { embeddingKey, type ModelConfig } from "../../models/config.ts"
import type { ParameterSpec } from "../../models/parameters.ts"
import { latentFormat } from "../shared/latents/latentFormat.ts"
import {
  layer,
  layerSpecs,
  linear,
  linearSpecs,
  norm,
  normSpecs,
  table,
  under,
  type Weights,
  within
} from "../shared/latents/layers.ts"

/** What the adapter is and what is done with its noise; a part of the model's `config.json`. */
export const VfmArchitecture = Schema.Struct({
  /** Layers of the noise adapter */
  adapterLayers: setting(PositiveInt, 4),
  /** Attention heads of the noise adapter */
  adapterHeads: setting(PositiveInt, 8),
  /** Positions that the adapter knows; longer sequences are refused */
  maxSeqLen: setting(PositiveInt, 512),
  /**
   * What the language model reads: at masks the mask's embedding plus a small map of the noise, elsewhere the tokens; or, as in the seed, a map of
   * the noise everywhere, which begins as the mean embedding
   */
  noiseInput: setting(Schema.Literals(["added", "replacing"]), "added"),
  /** Tokens are predicted from the state before them, as the language model does; false as in the seed's losses */
  tokenShift: setting(Schema.Boolean, true)
})
export type VfmArchitecture = typeof VfmArchitecture.Type

/** Where the parameters lie in a checkpoint, beside those of the language model. */
export const vfmPrefix = "vfm"

const adapterLayer = (width: number) =>
  ({ width, selfAttention: true, crossAttention: false, projectionBias: true }) as const

/** Parameters: 12 d^2 a layer, d^2 for each of mean, deviation and input map, and d a position. */
export const vfmSpecs = (
  { adapterLayers, maxSeqLen, noiseInput }: VfmArchitecture,
  { hiddenSize: d }: ModelConfig
): ReadonlyArray<ParameterSpec> =>
  under(vfmPrefix, [
    table("positions", maxSeqLen, d),
    ...Array.from({ length: adapterLayers }, (_, i) => under(`layers.${i}`, layerSpecs(adapterLayer(d)))).flat(),
    ...normSpecs("norm", d),
    ...linearSpecs("mu_head", { from: d, to: d }),
    ...linearSpecs("log_sigma_head", { from: d, to: d }),
    ...(noiseInput === "added"
      ? linearSpecs("input_proj", { from: d, to: d, initial: { normal: 0.02 } })
      : [...normSpecs("input_norm", d), ...linearSpecs("input_proj", { from: d, to: d, initial: "zeros" })])
  ])

/** Logarithm of the deviation where tokens are visible: nothing is to be guessed there. */
const visibleLogSigma = -10

export interface VfmRows {
  /** f32 [B, L]: 1 where a token is visible. */
  readonly observed: Tensor
  /** i32 [B, L], as language models read them. */
  readonly segmentIds: Tensor
  readonly positions: Tensor
}

export interface Draw {
  /** Standard normal, f32 [B, L, d]. */
  readonly noise: Tensor
  /** f32 [B, L]: deviation of the noise that is taken as it is, and 0 where the adapter decides. */
  readonly pure: Tensor
}

/** Throws RangeError where the adapter's heads do not fit the language model. */
export const vfm = (architecture: VfmArchitecture, config: ModelConfig, weights: Weights) => {
  const { adapterHeads, adapterLayers, noiseInput } = architecture
  const d = config.hiddenSize
  if (d % adapterHeads !== 0) throw new RangeError(`a width of ${d} cannot be divided among ${adapterHeads} heads`)
  const own = within(weights, vfmPrefix)
  const perToken = (x: Tensor): Tensor => reshape(x, [...x.shape, 1])
  return {
    /** Embeddings [B, L, d] of rows -> the distribution of their noise, [B, L, d] each. */
    adapter: (
      embeddings: Tensor,
      { segmentIds, observed, positions }: VfmRows,
      dropout?: (use: number) => (x: Tensor) => Tensor
    ): Gaussian => {
      const length = embeddings.shape[1]!
      const visible = perToken(observed)
      const blockSize = config.attentionBlockSize
      const mask = attentionMask({ causal: false, blockSize, segmentIds, positions }, length, "f32")
      let x = add(mul(embeddings, visible), gather(own("positions"), positions))
      for (let i = 0; i < adapterLayers; i++)
        x = layer(within(own, `layers.${i}`), x, {
          heads: adapterHeads,
          shape: adapterLayer(d),
          mask,
          ...(dropout === undefined ? {} : { dropout: dropout(i) })
        })
      const h = norm(own, "norm", x)
      const guessed = bounded(linear(own, "log_sigma_head", h))
      return {
        mean: linear(own, "mu_head", h),
        logSigma: select(equal(visible, 1), visibleLogSigma, guessed)
      }
    },
    /** A draw from the distribution, or pure noise. */
    draw: (gaussian: Gaussian, { noise, pure }: Draw): Tensor => {
      const deviation = perToken(pure)
      return select(equal(deviation, 0), reparameterised(gaussian, noise), mul(noise, deviation))
    },
    /** What enters the language model: embeddings [B, L, d] with masks' own at masks, observed [B, L], noise z [B, L, d]. */
    inputs: (embeddings: Tensor, observed: Tensor, z: Tensor): Tensor =>
      noiseInput === "added"
        ? add(embeddings, mul(linear(own, "input_proj", z), perToken(sub(1, observed))))
        : add(linear(own, "input_proj", norm(own, "input_norm", z)), stopGradient(mean(weights(embeddingKey), 0)))
  }
}

export const vfmFormat = latentFormat(vfmPrefix, snakeKeys(VfmArchitecture), {
  read: architecture => ({ architecture }),
  write: ({ architecture }) => architecture,
  specs: ({ architecture }, config) => vfmSpecs(architecture, config)
})
