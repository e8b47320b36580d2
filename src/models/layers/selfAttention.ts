/** Grouped-query attention with rotary positions, as a layer's mixer. */
import { cast, reshape, rotate } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { LinearKind } from "../linear/linear.ts"
import { together } from "../parameters.ts"
import { attend } from "./attention.ts"
import type { Mixer } from "./mixer.ts"
import { type Norm, norm } from "./norm.ts"

export interface SelfAttention {
  readonly kind: "attention"
  readonly heads: number
  /** A divisor of `heads`: so many heads of queries share keys and values. */
  readonly keyValueHeads: number
  /** Even. */
  readonly headDim: number
  readonly ropeTheta: number
  /** Of the projections to queries, keys and values, and of the one back. */
  readonly bias: boolean
  readonly outputBias: boolean
  /** Of each head's queries and keys, before they are rotated. */
  readonly headNorm?: Norm
}

export const selfAttention = (
  { bias, headDim, headNorm, heads, keyValueHeads, outputBias, ropeTheta }: SelfAttention,
  hiddenSize: number,
  linear: LinearKind
): Mixer => {
  const projection = (name: string, count: number) =>
    linear({ name: `self_attn.${name}`, inputs: hiddenSize, outputs: count * headDim, bias })
  const { make, specs } = together({
    q: projection("q_proj", heads),
    k: projection("k_proj", keyValueHeads),
    v: projection("v_proj", keyValueHeads),
    back: linear({ name: "self_attn.o_proj", inputs: heads * headDim, outputs: hiddenSize, bias: outputBias }),
    ...(headNorm === undefined
      ? {}
      : {
          qNorm: norm(headNorm, "self_attn.q_norm.weight", headDim),
          kNorm: norm(headNorm, "self_attn.k_norm.weight", headDim)
        })
  })
  return {
    specs,
    cache: ({ capacity, rows }) =>
      ["keys", "values"].map(name => ({ name, dtype: "f32", shape: [rows, capacity, keyValueHeads, headDim] })),
    // Scores and their products with values, of 2 s² headDim a head each; backward twice that.
    flops: length => 12 * length ** 2 * headDim * heads,
    make: parameter => {
      const { back, k, kNorm, q, qNorm, v } = make(parameter)
      return ({ cache, mask, rotation }) => {
        const angles = rotation(headDim, ropeTheta)
        const kept = (name: string, fresh: Tensor): Tensor => cache?.append(name, fresh) ?? fresh
        return x => {
          const [batch, length] = x.shape as [number, number, number]
          const split = (y: Tensor, count: number): Tensor => reshape(y, [batch, length, count, headDim])
          const [cosines, sines] = [cast(angles.cos, x.dtype), cast(angles.sin, x.dtype)]
          const placed = (y: Tensor, normed = (each: Tensor): Tensor => each): Tensor =>
            rotate(normed(y), cosines, sines)
          const queries = placed(split(q(x), heads), qNorm) // [B, L, H, headDim]
          const keys = kept("keys", placed(split(k(x), keyValueHeads), kNorm)) // [B, L or capacity, KV, headDim]
          const values = kept("values", split(v(x), keyValueHeads))
          return back(attend(queries, keys, values, mask)) // [B, L, d]
        }
      }
    }
  }
}
