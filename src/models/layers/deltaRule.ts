/** The gated delta rule (Yang et al. 2024, "Gated Delta Networks"), token by token: a matrix from keys to values that fades, and that each token corrects. */
import { slices } from "../../tensor/composites.ts"
import {
  add,
  broadcastTo,
  concat,
  constant,
  exp,
  matmul,
  mul,
  reshape,
  select,
  sub,
  transpose
} from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { sameDocument } from "./documents.ts"

/** What a row's tokens bring; all f32. Value heads that follow each other share the query and the key of one key head. */
export interface DeltaInputs {
  /** [B, L, key heads, key dim], of length 1 / sqrt(key dim). */
  readonly queries: Tensor
  /** [B, L, key heads, key dim], of length 1. */
  readonly keys: Tensor
  /** [B, L, value heads, value dim]. */
  readonly values: Tensor
  /** g [B, L, value heads]: the logarithm of what is left of the state, at most 0. */
  readonly logDecay: Tensor
  /** β [B, L, value heads], between 0 and 1: how far a token's value replaces what the state has for its key. */
  readonly beta: Tensor
  /** [B, value heads, key dim, value dim]: what tokens before the row left; none where there are documents, or else zeros. */
  readonly state?: Tensor | undefined
}

export interface DeltaOutputs {
  /** [B, L, value heads, value dim]. */
  readonly outputs: Tensor
  /** As in the inputs, behind the last token. */
  readonly state: Tensor
}

/** A way to compute it for rows of documents, segmentIds i32 [B, L] (left out: a row is one document). Each document begins with a state of zeros. */
export type DeltaRule = (segmentIds: Tensor | undefined) => (inputs: DeltaInputs) => DeltaOutputs

/** [B, key heads, …] -> [B, value heads, …]: each as often as value heads share it. */
export const perValueHead = (x: Tensor, valueHeads: number): Tensor => {
  const [batch, heads, ...rest] = x.shape as [number, number, ...ReadonlyArray<number>]
  const shared = broadcastTo(reshape(x, [batch, heads, 1, ...rest]), [batch, heads, valueHeads / heads, ...rest])
  return reshape(shared, [batch, valueHeads, ...rest])
}

/** [B, L, H, …] and back: heads before places. */
export const headsFirst = (x: Tensor): Tensor => transpose(x, [0, 2, 1, ...x.shape.slice(3).map((_, i) => i + 3)])

/** S_0, f32 [B, value heads, key dim, value dim]. */
export const noState = ({ keys, values }: Pick<DeltaInputs, "keys" | "values">): Tensor =>
  broadcastTo(constant(0, "f32"), [values.shape[0]!, values.shape[2]!, keys.shape[3]!, values.shape[3]!])

/**
 * The recurrence: S <- exp(g_t) S; δ = β_t (v_t - Sᵀ k_t); S <- S + k_t δᵀ; o_t = Sᵀ q_t. For one token, or to compare with: its program grows with L.
 */
export const recurrentDeltaRule: DeltaRule = segmentIds => {
  const continued =
    segmentIds === undefined ? undefined : reshape(sameDocument(segmentIds, 1), [...segmentIds.shape, 1])
  return inputs => {
    const { beta, keys, logDecay, queries, values } = inputs
    const length = values.shape[1]!
    const valueHeads = values.shape[2]!
    const kept = continued === undefined ? exp(logDecay) : select(continued, exp(logDecay), 0)
    const places = Array.from({ length }, (_, t) => ({ from: t, to: t + 1 }))
    /** [B, L, H, d] -> for each t, [B, value heads, 1, d]. */
    const each = (x: Tensor): ReadonlyArray<Tensor> => slices(perValueHead(headsFirst(x), valueHeads), places, 2)
    const scalars = (x: Tensor): ReadonlyArray<Tensor> => each(reshape(x, [...x.shape, 1]))
    const [q, k, v] = [each(queries), each(keys), each(values)] as const
    const [decay, rate] = [scalars(kept), scalars(beta)] as const
    let state = inputs.state ?? noState(inputs)
    const outputs = places.map((_, t) => {
      const faded = mul(state, decay[t]!)
      const correction = mul(sub(v[t]!, matmul(k[t]!, faded)), rate[t]!)
      state = add(faded, matmul(k[t]!, correction, { transposeA: true }))
      return matmul(q[t]!, state)
    })
    return { outputs: headsFirst(concat(outputs, 2)), state }
  }
}
