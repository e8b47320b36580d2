/** Qwen3.5 and Qwen3.6 with experts, as Qwen3.5-35B-A3B. Checkpoints have the weights of all experts in one tensor, or those of each by themselves. */
import { Effect, Schema } from "effect"
import { refuse } from "../config.ts"
import { feedForwardOf } from "../layers/layer.ts"
import { stackedExperts } from "./experts.ts"
import { positiveUpTo, Size, withDefault } from "./family.ts"
import { hybridFamilies } from "./hybrid.ts"

/** Defaults are those of the published class. */
const fields = {
  moe_intermediate_size: withDefault(Size, 512),
  shared_expert_intermediate_size: withDefault(Size, 512),
  num_experts: withDefault(Size, 256),
  num_experts_per_tok: withDefault(Size, 8),
  router_aux_loss_coef: withDefault(Schema.Union([Schema.Literal(0), positiveUpTo(1e6)]), 0.001),
  /** Whether a training adds the load-balancing loss: so the published class takes it. */
  output_router_logits: withDefault(Schema.Boolean, false)
} as const

export const { text: qwen35MoeText, whole: qwen35Moe } = hybridFamilies({
  text: { name: "qwen3_5_moe_text", architecture: "Qwen3_5MoeForCausalLM" },
  whole: { name: "qwen3_5_moe", architecture: "Qwen3_5MoeForConditionalGeneration" },
  fields,
  stacked: stackedExperts,
  read: given => {
    const { num_experts: experts, num_experts_per_tok: expertsPerToken } = given
    if (expertsPerToken > experts)
      return Effect.fail(refuse("num_experts_per_tok", expertsPerToken, `at most num_experts, ${experts}`))
    return Effect.succeed({
      feedForward: {
        kind: "moe",
        experts,
        expertsPerToken,
        intermediateSize: given.moe_intermediate_size,
        sharedIntermediateSize: given.shared_expert_intermediate_size
      },
      routerLoss: { coefficient: given.router_aux_loss_coef, added: given.output_router_logits }
    })
  },
  write: ({ layers, routerLoss }) => {
    const { experts, expertsPerToken, intermediateSize, sharedIntermediateSize } = feedForwardOf(layers, "moe")
    return {
      moe_intermediate_size: intermediateSize,
      shared_expert_intermediate_size: sharedIntermediateSize,
      num_experts: experts,
      num_experts_per_tok: expertsPerToken,
      router_aux_loss_coef: routerLoss?.coefficient,
      output_router_logits: routerLoss?.added
    }
  }
})
