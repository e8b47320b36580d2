/**
 * The denoiser of latent diffusion: a transformer that predicts the clean latents from noised ones, the time, and its own earlier prediction
 * (self-conditioning: Chen, Zhang, Hinton 2023). Time is added once to the input.
 */
import { silu } from "../../../tensor/composites.ts"
import { add, concat, reshape } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"
import type { ParameterSpec } from "../../../models/parameters.ts"
import {
  layer,
  layerSpecs,
  linear,
  linearSpecs,
  norm,
  normSpecs,
  placeTable,
  table,
  under,
  type Weights,
  within,
  withNull
} from "./layers.ts"

export interface DiffusionHeadShape {
  readonly width: number
  readonly latents: number
  readonly depth: number
  readonly heads: number
  readonly selfCondition: boolean
  /** Whether each latent has a learned vector of its own added; without, the network cannot tell noised latents apart by place. */
  readonly positions: boolean
  /** Width of the states of a prompt that it attends to; undefined: there is no prompt. */
  readonly promptWidth?: number | undefined
}

const layerShape = ({ promptWidth, width }: DiffusionHeadShape) => ({
  width,
  selfAttention: true,
  crossAttention: promptWidth !== undefined,
  projectionBias: false
})

export const diffusionHeadSpecs = (shape: DiffusionHeadShape): ReadonlyArray<ParameterSpec> => {
  const { depth, latents, positions, promptWidth, selfCondition, width } = shape
  return [
    ...linearSpecs("time.0", { from: 1, to: width }),
    ...linearSpecs("time.2", { from: width, to: width }),
    ...(selfCondition ? linearSpecs("proj_in", { from: 2 * width, to: width }) : []),
    ...(positions ? [placeTable("positions", latents, width)] : []),
    ...(promptWidth === undefined
      ? []
      : [table("no_prompt", width), ...linearSpecs("prompt", { from: promptWidth, to: width })]),
    ...Array.from({ length: depth }, (_, i) => under(`layers.${i}`, layerSpecs(layerShape(shape)))).flat(),
    ...normSpecs("norm", width)
  ]
}

export interface Prompt {
  /** [B, P, promptWidth]. */
  readonly states: Tensor
  /** bool [B, P]: what is there and may be seen. */
  readonly seen: Tensor
}

/** noised [B, n, width], time [B], the earlier prediction [B, n, width] (0 where there is none) -> predicted clean latents. */
export const denoise = (
  w: Weights,
  shape: DiffusionHeadShape,
  noised: Tensor,
  time: Tensor,
  earlier: Tensor,
  prompt: Prompt | undefined
): Tensor => {
  const { depth, heads, positions, promptWidth, selfCondition, width } = shape
  const batch = noised.shape[0]!
  const embedded = linear(w, "time.2", silu(linear(w, "time.0", reshape(time, [batch, 1]))))
  let x = selfCondition ? linear(w, "proj_in", concat([noised, earlier], 2)) : noised
  x = add(x, reshape(embedded, [batch, 1, width]))
  if (positions) x = add(x, w("positions"))
  const attended =
    promptWidth === undefined || prompt === undefined
      ? {}
      : withNull(w("no_prompt"), linear(w, "prompt", prompt.states), prompt.seen)
  for (let i = 0; i < depth; i++)
    x = layer(within(w, `layers.${i}`), x, { heads, shape: layerShape(shape), ...attended })
  return norm(w, "norm", x)
}
