/** Qwen3.5 and Qwen3.6, dense. */
import { Effect } from "effect"
import { feedForwardOf } from "../layers/layer.ts"
import { Size } from "./family.ts"
import { hybridFamilies } from "./hybrid.ts"

export const { text: qwen35Text, whole: qwen35 } = hybridFamilies({
  text: { name: "qwen3_5_text", architecture: "Qwen3_5ForCausalLM" },
  whole: { name: "qwen3_5", architecture: "Qwen3_5ForConditionalGeneration" },
  fields: { intermediate_size: Size },
  read: ({ intermediate_size: intermediateSize }) =>
    Effect.succeed({ feedForward: { kind: "swiglu", intermediateSize } }),
  write: ({ layers }) => ({ intermediate_size: feedForwardOf(layers, "swiglu").intermediateSize })
})
