/** States of a language model that reads clean text: what latents are made from. */
import { stopGradient } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"
import type { ModelConfig } from "../../../models/config.ts"
import { forward, weightsOf } from "../../../models/decoder.ts"
import type { Weights } from "./layers.ts"

/** Inputs of rows of tokens, i32 [rows, length]. */
export const rowInputs = (shape: readonly [rows: number, length: number]) =>
  ({
    ids: { dtype: "i32", shape },
    segmentIds: { dtype: "i32", shape },
    positions: { dtype: "i32", shape }
  }) as const

/** The states at a layer (0: the embedding), [rows, length, d]. Nothing flows back into the model. */
export const cleanStates = (
  config: ModelConfig,
  weights: Weights,
  data: (name: keyof ReturnType<typeof rowInputs>) => Tensor,
  { causal, layer }: { readonly causal: boolean; readonly layer: number }
): Tensor => {
  const { hiddenStates } = forward(config, weightsOf(config, weights), data("ids"), {
    causal,
    segmentIds: data("segmentIds"),
    positions: data("positions")
  })
  return stopGradient(hiddenStates[layer]!)
}
