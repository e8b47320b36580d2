/**
 * A mixture of experts as a feed-forward network (Shazeer et al. 2017; as in Qwen2-MoE and its successors): each token goes through the few networks that a router chooses for it, and through
 * one that all tokens share.
 */
import { silu, slices, zeros } from "../../tensor/composites.ts"
import {
  add,
  broadcastTo,
  cast,
  constant,
  customGradient,
  div,
  gather,
  groupedMatmul,
  iota,
  matmul,
  mul,
  neg,
  reshape,
  scatterAdd,
  sigmoid,
  softmax,
  sum,
  topK
} from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { LinearKind } from "../linear/linear.ts"
import { type Initial, type Part, together } from "../parameters.ts"
import type { FeedForwardPart } from "./mixer.ts"
import { swiglu } from "./swiglu.ts"

export interface MixtureOfExperts {
  readonly kind: "moe"
  readonly experts: number
  /** k, at most `experts`. */
  readonly expertsPerToken: number
  /** Of each expert. */
  readonly intermediateSize: number
  /** Of the network that all tokens share. */
  readonly sharedIntermediateSize: number
}

/** From router logits [n, E] to the probabilities of all experts, f32 [n, E], and the k most likely, [n, k]. */
export const mostLikely = (routerLogits: Tensor, k: number) => {
  const probabilities = softmax(cast(routerLogits, "f32"))
  return { probabilities, ...topK(probabilities, k) }
}

/** Where the n k uses of experts stand once they are sorted by expert. */
interface Order {
  /** i64 [n k]: the use at each place. A token's uses are k numbers, one behind the other. */
  readonly uses: Tensor
  /** i64 [n k]: the place of each use. */
  readonly places: Tensor
  /** i64 [E]: uses of each expert. */
  readonly sizes: Tensor
}

/** chosen: i64 [n, k], of so many experts. */
const orderOf = (chosen: Tensor, experts: number): Order => {
  const count = chosen.size
  const expert = reshape(chosen, [count])
  // Of equals the first comes first.
  const { indices: uses } = topK(neg(expert), count)
  const ones = broadcastTo(constant(1, "i64"), [count])
  return {
    uses,
    places: scatterAdd(zeros("i64", [count]), uses, iota("i64", [count])),
    sizes: scatterAdd(zeros("i64", [experts]), expert, ones)
  }
}

/** Tokens x [n, d] for each of their uses, in order: [n k, d]. Its gradient is read at the places of a token's uses, which is faster than adding it up where they lead. */
const dispatched = (x: Tensor, { places, uses }: Order): Tensor => {
  const [n, d] = x.shape as [number, number]
  const k = uses.size / n
  return customGradient(gather(x, div(uses, constant(k, "i64"))), [x, places], (gradient, [, at]) => [
    sum(reshape(gather(gradient, at!), [n, k, d]), 1)
  ])
}

/** What came of uses in order, [n k, d], by token: [n, k, d]. */
const collected = (y: Tensor, { places, uses }: Order, n: number): Tensor => {
  const byUse = customGradient(gather(y, places), [y, uses], (gradient, [, at]) => [gather(gradient, at!)])
  return reshape(byUse, [n, y.shape[0]! / n, y.shape[1]!])
}

/** The matrices of all experts, one behind the other. */
const stacked = (name: string, shape: readonly [number, number, number], initial: Initial): Part<Tensor> => ({
  specs: [{ name: `mlp.experts.${name}`, shape, initial }],
  make: parameter => parameter(`mlp.experts.${name}`)
})

/**
 * p = softmax(router x), f32; of the k largest, divided by their sum, w: y = sum over them of w_e down_e(silu(gate_e x) ∘ up_e x), and sigmoid(g x) shared(x) beside. The work is that of k experts
 * a token. `deviation`: of fresh weights that are no linear maps.
 */
export const moe = (
  { experts, expertsPerToken: k, intermediateSize, sharedIntermediateSize }: MixtureOfExperts,
  hiddenSize: number,
  linear: LinearKind,
  deviation: number
): FeedForwardPart => {
  const initial = { normal: deviation }
  const router: Part<Tensor> = {
    specs: [{ name: "mlp.gate.weight", shape: [experts, hiddenSize], initial }],
    make: parameter => parameter("mlp.gate.weight")
  }
  const { make, specs } = together({
    router,
    // First the rows of the gate, then those of what it multiplies.
    inwards: stacked("gate_up_proj", [experts, 2 * intermediateSize, hiddenSize], initial),
    down: stacked("down_proj", [experts, hiddenSize, intermediateSize], initial),
    shared: swiglu(
      { kind: "swiglu", intermediateSize: sharedIntermediateSize },
      hiddenSize,
      linear,
      "mlp.shared_expert"
    ),
    sharedGate: linear({ name: "mlp.shared_expert_gate", inputs: hiddenSize, outputs: 1, bias: false })
  })
  return {
    specs,
    idle: 3 * (experts - k) * intermediateSize * hiddenSize,
    make: parameter => {
      const { down, inwards, router: matrix, shared, sharedGate } = make(parameter)
      return (x, onRouterLogits) => {
        const rows = reshape(x, [-1, hiddenSize]) // [n, d]
        const n = rows.shape[0]!
        const routerLogits = matmul(rows, matrix, { transposeB: true }) // [n, E]
        onRouterLogits?.(routerLogits)
        const { indices, values } = mostLikely(routerLogits, k)
        const weights = cast(div(values, sum(values, -1, { keepDims: true })), x.dtype) // [n, k]
        const order = orderOf(indices, experts)
        const [gate, up] = slices(
          groupedMatmul(dispatched(rows, order), inwards, order.sizes, { transposeB: true }),
          [
            { from: 0, to: intermediateSize },
            { from: intermediateSize, to: 2 * intermediateSize }
          ],
          1
        ) as [Tensor, Tensor] // [n k, I] each
        const made = groupedMatmul(mul(silu(gate), up), down, order.sizes, { transposeB: true }) // [n k, d]
        const routed = sum(mul(collected(made, order, n), reshape(weights, [n, k, 1])), 1) // [n, d]
        return add(reshape(routed, x.shape), mul(shared(x), sigmoid(sharedGate(x))))
      }
    }
  }
}
