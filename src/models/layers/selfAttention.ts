/** Grouped-query attention with rotary positions, as a layer's mixer. */
import { slices } from "../../tensor/composites.ts"
import { cast, concat, mul, reshape, rotate, sigmoid, sliceAxis } from "../../tensor/ops.ts"
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
  /** Of a head's elements so many, from the first on, are rotated, an even number; left out, all are. */
  readonly rotaryDim?: number
  /** Of the projections to queries, keys and values, and of the one back. */
  readonly bias: boolean
  readonly outputBias: boolean
  /** Of each head's queries and keys, before they are rotated. */
  readonly headNorm?: Norm
  /** Whether each head's output is multiplied by the sigmoid of a gate, of which the projection to queries has the weights behind those of the head's query. */
  readonly outputGate?: boolean
}

/** [B, L, 2 H, headDim] -> those in turns, [B, L, H, headDim] each. */
const halves = (x: Tensor): readonly [Tensor, Tensor] => {
  const [batch, length, count, size] = x.shape as [number, number, number, number]
  const paired = reshape(x, [batch, length, count / 2, 2 * size])
  const parts = [
    { from: 0, to: size },
    { from: size, to: 2 * size }
  ]
  return slices(paired, parts, 3) as readonly [Tensor, Tensor]
}

/** Rotates the first elements of each head, as many as there are angles for. x [B, L, H, headDim]. */
const rotateFirst = (x: Tensor, cosines: Tensor, sines: Tensor): Tensor => {
  const [size, turned] = [x.shape[3]!, 2 * cosines.shape[2]!]
  if (turned === size) return rotate(x, cosines, sines)
  return concat([rotate(sliceAxis(x, 3, 0, turned), cosines, sines), sliceAxis(x, 3, turned, size)], 3)
}

export const selfAttention = (
  {
    bias,
    headDim,
    headNorm,
    heads,
    keyValueHeads,
    outputBias,
    outputGate = false,
    ropeTheta,
    rotaryDim = headDim
  }: SelfAttention,
  hiddenSize: number,
  linear: LinearKind
): Mixer => {
  const projection = (name: string, count: number) =>
    linear({ name: `self_attn.${name}`, inputs: hiddenSize, outputs: count * headDim, bias })
  const { make, specs } = together({
    q: projection("q_proj", outputGate ? 2 * heads : heads),
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
        const angles = rotation(rotaryDim, ropeTheta)
        const kept = (name: string, fresh: Tensor): Tensor => cache?.append(name, fresh) ?? fresh
        return x => {
          const [batch, length] = x.shape as [number, number, number]
          const split = (y: Tensor, count: number): Tensor => reshape(y, [batch, length, count, headDim])
          const [cosines, sines] = [cast(angles.cos, x.dtype), cast(angles.sin, x.dtype)]
          const placed = (y: Tensor, normed = (each: Tensor): Tensor => each): Tensor =>
            rotateFirst(normed(y), cosines, sines)
          const projected = q(x)
          const [ofQueries, gate] = outputGate ? halves(split(projected, 2 * heads)) : [split(projected, heads)]
          const queries = placed(ofQueries, qNorm) // [B, L, H, headDim]
          const keys = kept("keys", placed(split(k(x), keyValueHeads), kNorm)) // [B, L or capacity, KV, headDim]
          const values = kept("values", split(v(x), keyValueHeads))
          const mixed = attend(queries, keys, values, mask) // [B, L, H * headDim]
          return back(gate === undefined ? mixed : mul(mixed, sigmoid(reshape(gate, mixed.shape)))) // [B, L, d]
        }
      }
    }
  }
}
