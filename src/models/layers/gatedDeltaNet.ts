/** Gated DeltaNet (Yang et al. 2024), as a layer's mixer: linear attention, which keeps a state of one size however many tokens it has read. */
import { gatherInRows, silu, slices, softplus } from "../../tensor/composites.ts"
import {
  add,
  cast,
  concat,
  constant,
  exp,
  gather,
  iota,
  less,
  maximum,
  mul,
  neg,
  reshape,
  rmsNorm,
  select,
  sigmoid
} from "../../tensor/ops.ts"
import type { Shape, Tensor } from "../../tensor/Tensor.ts"
import type { LinearKind } from "../linear/linear.ts"
import { type Initial, type Part, together } from "../parameters.ts"
import { causalConvolution } from "./causalConvolution.ts"
import { chunkedDeltaRule } from "./chunkedDeltaRule.ts"
import { type DeltaOutputs, recurrentDeltaRule } from "./deltaRule.ts"
import type { LayerCache, Mixer } from "./mixer.ts"
import { type Norm, norm } from "./norm.ts"

export interface GatedDeltaNet {
  readonly kind: "gated_delta_net"
  /** Of queries and keys. */
  readonly keyHeads: number
  /** A multiple of `keyHeads`: so many value heads share queries and keys. */
  readonly valueHeads: number
  readonly keyDim: number
  readonly valueDim: number
  /** Tokens that a convolution sees, its own among them; at least 2. */
  readonly kernelSize: number
  /** Of each value head's output, before it is gated. */
  readonly outputNorm: Norm
}

/** Below it, queries and keys are next to nothing. */
const lengthEpsilon = 1e-6

/** x / sqrt(sum(x²) + epsilon) times a factor, over the last axis: the norm of the root mean square, with other constants. */
const ofLength = (x: Tensor, factor: number): Tensor => {
  const size = x.shape.at(-1)!
  const weight = constant(new Float32Array(size).fill(factor / Math.sqrt(size)), "f32", [size])
  return rmsNorm(x, weight, lengthEpsilon / size)
}

/** What tokens bring to a scan, before it: queries, keys and values one after the other, [B, L, C]; g and β, f32 [B, L, value heads]. */
interface Projected {
  readonly qkv: Tensor
  readonly logDecay: Tensor
  readonly beta: Tensor
}

/** Consecutive parts of the last axis, [B, L, C] -> [B, L, heads, size] each. */
const split = (x: Tensor, parts: ReadonlyArray<readonly [heads: number, size: number]>): ReadonlyArray<Tensor> => {
  let to = 0
  const ranges = parts.map(([heads, size]) => ({ from: to, to: (to += heads * size) }))
  return slices(x, ranges, 2).map((part, i) => reshape(part, [...x.shape.slice(0, 2), ...parts[i]!]))
}

/** From left to right over rows of documents: [B, L, value heads, value dim]. */
const scan = (
  { keyDim, keyHeads, kernelSize, valueDim, valueHeads }: GatedDeltaNet,
  segmentIds: Tensor | undefined
) => {
  const convolve = causalConvolution(segmentIds, kernelSize)
  const rules = { one: recurrentDeltaRule(segmentIds), many: chunkedDeltaRule(segmentIds) }
  return ({ beta, logDecay, qkv }: Projected, kernel: Tensor, cache?: LayerCache): Tensor => {
    const length = qkv.shape[1]!
    const before = cache?.read("convolution")
    const mixed = cast(silu(convolve({ x: qkv, weight: kernel, before })), "f32")
    const [ofQueries, ofKeys, values] = split(mixed, [
      [keyHeads, keyDim],
      [keyHeads, keyDim],
      [valueHeads, valueDim]
    ]) as [Tensor, Tensor, Tensor]
    const brought = { queries: ofLength(ofQueries, keyDim ** -0.5), keys: ofLength(ofKeys, 1), values }
    if (cache === undefined || before === undefined) return rules.many({ ...brought, logDecay, beta }).outputs

    const state = cache.read("state")
    const rule = length === 1 ? rules.one : rules.many
    const all = (): DeltaOutputs => rule({ ...brought, logDecay, beta, state })
    if (cache.keeps === undefined) return all().outputs
    const { count, last, write } = cache.keeps
    const rows = count.shape[0]!
    // A token that does not count neither fades the state nor writes to it.
    const counted = reshape(less(iota("i32", [1, length], 1), reshape(count, [rows, 1])), [rows, length, 1])
    const kept = rule({ ...brought, logDecay: select(counted, logDecay, 0), beta: select(counted, beta, 0), state })
    const tail = add(iota("i32", [1, kernelSize - 1], 1), reshape(maximum(count, 0), [rows, 1]))
    write("convolution", gatherInRows(concat([before, qkv], 1), tail))
    write("state", kept.state)
    const { outputs } = last ? kept : all()
    return outputs
  }
}

/** Rows from right to left: [B, L, …]. */
const reversed = (x: Tensor): Tensor => {
  const length = x.shape[1]!
  const places = Int32Array.from({ length }, (_, i) => length - 1 - i)
  return gather(x, constant(places, "i32", [length]), 1)
}

const turned = ({ beta, logDecay, qkv }: Projected): Projected => ({
  qkv: reversed(qkv),
  logDecay: reversed(logDecay),
  beta: reversed(beta)
})

/** A parameter that is no linear map's. */
const lone = (name: string, shape: Shape, initial: Initial): Part<Tensor> => ({
  specs: [{ name: `linear_attn.${name}`, shape, initial }],
  make: parameter => parameter(`linear_attn.${name}`)
})

/** What exp(A_log) is drawn from for fresh weights, as in the family's published code. */
const freshDecay = { low: 0.01, high: 16 } as const

/**
 * y = out(norm(o) ∘ silu(z x)), where o is what the gated delta rule makes of queries, keys and values, silu(convolution(qkv x)); g = -exp(A_log) softplus(a x + dt_bias),
 * β = sigmoid(b x). Decay, state and norm are f32.
 */
export const gatedDeltaNet = (kind: GatedDeltaNet, hiddenSize: number, linear: LinearKind): Mixer => {
  const { keyDim, keyHeads, kernelSize, outputNorm, valueDim, valueHeads } = kind
  const channels = 2 * keyHeads * keyDim + valueHeads * valueDim
  const inwards = (name: string, outputs: number) =>
    linear({ name: `linear_attn.${name}`, inputs: hiddenSize, outputs, bias: false })
  const { make, specs } = together({
    dtBias: lone("dt_bias", [valueHeads], "ones"),
    logA: lone("A_log", [valueHeads], { logUniform: freshDecay }),
    // With the deviation of PyTorch's fresh convolutions.
    kernel: lone("conv1d.weight", [channels, 1, kernelSize], { normal: (3 * kernelSize) ** -0.5 }),
    normed: norm(outputNorm, "linear_attn.norm.weight", valueDim),
    out: linear({ name: "linear_attn.out_proj", inputs: valueHeads * valueDim, outputs: hiddenSize, bias: false }),
    qkv: inwards("in_proj_qkv", channels),
    z: inwards("in_proj_z", valueHeads * valueDim),
    b: inwards("in_proj_b", valueHeads),
    a: inwards("in_proj_a", valueHeads)
  })
  return {
    specs,
    cache: ({ rows }) => [
      { name: "convolution", dtype: "f32", shape: [rows, kernelSize - 1, channels] },
      { name: "state", dtype: "f32", shape: [rows, valueHeads, keyDim, valueDim] }
    ],
    // A token fades the state, reads it twice and writes to it, a product and a sum for each of its numbers; backward twice that. The second way has products with weights of
    // its own: those of the convolution, and of the norm.
    flops: (length, bothWays) => {
      const scan = 24 * length * valueHeads * keyDim * valueDim
      return bothWays ? 2 * scan + 6 * length * (channels * kernelSize + valueDim) : scan
    },
    make: parameter => {
      const { a, b, dtBias, kernel, logA, normed, out, qkv, z } = make(parameter)
      return ({ bothWays, cache, segmentIds }) => {
        const ahead = scan(kind, segmentIds)
        const back =
          bothWays === undefined ? undefined : scan(kind, bothWays.segmentIds && reversed(bothWays.segmentIds))
        return x => {
          const [batch, length] = x.shape as [number, number, number]
          const projected: Projected = {
            qkv: qkv(x),
            logDecay: neg(mul(exp(cast(logA, "f32")), softplus(add(cast(a(x), "f32"), cast(dtBias, "f32"))))),
            beta: cast(sigmoid(b(x)), "f32")
          }
          const gate = silu(cast(reshape(z(x), [batch, length, valueHeads, valueDim]), "f32"))
          const gated = (outputs: Tensor): Tensor => mul(normed(outputs), gate)
          let mixed = gated(ahead(projected, kernel, cache)) // [B, L, value heads, value dim]
          if (back !== undefined) mixed = mul(add(mixed, gated(reversed(back(turned(projected), kernel)))), 0.5)
          return out(cast(reshape(mixed, [batch, length, valueHeads * valueDim]), x.dtype)) // [B, L, d]
        }
      }
    }
  }
}
