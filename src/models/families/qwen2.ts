/** Qwen2 and Qwen2.5: queries, keys and values have biases, heads share the hidden size. */
import { Effect } from "effect"
import { refuse } from "../config.ts"
import { denseFamily } from "./dense.ts"

export const qwen2 = denseFamily({
  name: "qwen2",
  architecture: "Qwen2ForCausalLM",
  headDim: ({ hidden_size, num_attention_heads }) => hidden_size / num_attention_heads,
  attention: ({ attention_bias }) =>
    // The family's published code has these biases whatever the file says.
    attention_bias === false
      ? Effect.fail(refuse("attention_bias", false, "true in Qwen2"))
      : Effect.succeed({ bias: true, outputBias: false })
})
