/** The auxiliary loss that keeps experts equally busy (Fedus et al. 2021, Switch Transformer, equations 4 to 6). */
import { add, broadcastTo, constant, div, mul, reshape, scatterAdd, sum } from "../tensor/ops.ts"
import { zeros } from "../tensor/composites.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { mostLikely } from "./layers/moe.ts"

/**
 * E sum over experts of f_e P_e, a scalar: f_e is how many of its k experts a token sends to e in the mean, P_e the mean of the router's probability of e, both over the tokens of all layers
 * together. At least k, where experts are equally likely. routerLogits [n, E] each; counted f32 [n]: 1 for tokens, 0 for padding; left out, all are tokens. Gradients flow through P_e alone.
 */
export const loadBalancingLoss = (
  routerLogits: readonly [Tensor, ...ReadonlyArray<Tensor>],
  k: number,
  counted: Tensor = constant(1, "f32")
): Tensor => {
  const [n, experts] = routerLogits[0].shape as [number, number]
  const ofTokens = broadcastTo(counted, [n])
  const ofUses = reshape(broadcastTo(reshape(ofTokens, [n, 1]), [n, k]), [n * k])
  let uses = zeros("f32", [experts])
  let probability = zeros("f32", [experts])
  for (const logits of routerLogits) {
    const { indices, probabilities } = mostLikely(logits, k)
    uses = scatterAdd(uses, reshape(indices, [n * k]), ofUses)
    probability = add(probability, sum(mul(probabilities, reshape(ofTokens, [n, 1])), 0))
  }
  const total = mul(sum(ofTokens), routerLogits.length)
  return mul(sum(mul(div(uses, total), div(probability, total))), experts)
}
