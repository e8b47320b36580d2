/** Qwen3, dense: queries and keys are normalised head by head; biases, where there are any, are everywhere. */
import { Effect } from "effect"
import { denseFamily } from "./dense.ts"

export const qwen3 = denseFamily({
  name: "qwen3",
  architecture: "Qwen3ForCausalLM",
  headDim: () => 128,
  attention: ({ attention_bias: bias = false }, headNorm) => Effect.succeed({ bias, outputBias: bias, headNorm })
})
