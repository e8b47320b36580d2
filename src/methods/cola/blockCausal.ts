/**
 * A diffusion transformer over global and local latents (Cola DLM, arXiv:2605.06548, and its fork's auxiliary head): who sees whom is decided by blocks, and time scales,
 * shifts and gates every part of a layer (adaLN-Zero: Peebles & Xie 2023).
 */
import { geluTanh, layerNorm, silu } from "../../tensor/composites.ts"
import { add, concat, constant, cos, mul, reshape, sin, sliceAxis } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { type AttentionMask, scoreMask, seenByRank } from "../../models/layers/attention.ts"
import type { ParameterSpec } from "../../models/parameters.ts"
import {
  attention,
  attentionSpecs,
  attentionTo,
  keysAndValues,
  linear,
  linearSpecs,
  norm,
  normSpecs,
  placeTable,
  table,
  under,
  type Weights,
  within,
  withNull
} from "../shared/latents/layers.ts"
import type { Prompt } from "../shared/latents/diffusionHead.ts"

export interface BlockShape {
  readonly globals: number
  readonly locals: number
  /** Locals of a block. */
  readonly block: number
}

/** Latents in order: globals, then locals. */
export const latentsOf = ({ globals, locals }: Pick<BlockShape, "globals" | "locals">): number => globals + locals

/**
 * Ranks of the latents, each of which sees those of its own and of lower ones. All see the globals, globals see nothing else; a local sees the locals of its own block and of
 * those before it, or with `causal` just itself and the locals before it.
 */
export const ranks = ({ block, globals, locals }: BlockShape, causal: boolean): Int32Array<ArrayBuffer> =>
  Int32Array.from({ length: globals + locals }, (_, latent) =>
    latent < globals ? -1 : Math.floor((latent - globals) / (causal ? 1 : block))
  )

export interface BlockCausalShape extends BlockShape {
  readonly width: number
  readonly depth: number
  readonly heads: number
  /** Strictly causal locals instead of blocks. */
  readonly causal: boolean
  readonly positions: boolean
  /** Whether the velocity of a local is also read from the state of the one before it (the fork's fast_block). */
  readonly shifted: boolean
  /** Width of the states that condition it; undefined: there is no condition. */
  readonly promptWidth?: number | undefined
}

/** Sinusoids of the time, half sines and half cosines. */
const timeFeatures = 256
const slowest = 1e4
const expansion = 4

export const blockCausalSpecs = (shape: BlockCausalShape): ReadonlyArray<ParameterSpec> => {
  const { depth, positions, promptWidth, shifted, width } = shape
  const modulation = (name: string, parts: number) =>
    linearSpecs(name, { from: width, to: parts * width, initial: "zeros" })
  return [
    ...linearSpecs("time.0", { from: timeFeatures, to: width }),
    ...linearSpecs("time.2", { from: width, to: width }),
    ...linearSpecs("time.4", { from: width, to: width }),
    ...(positions ? [placeTable("positions", latentsOf(shape), width)] : []),
    ...(promptWidth === undefined
      ? []
      : [table("no_prompt", width), ...linearSpecs("prompt", { from: promptWidth, to: width })]),
    ...Array.from({ length: depth }, (_, i) =>
      under(`layers.${i}`, [
        ...modulation("self_attention.modulation", 3),
        ...under("self_attention", attentionSpecs({ width, projectionBias: false })),
        ...(promptWidth === undefined
          ? []
          : [
              ...normSpecs("cross_attention.norm", width),
              ...under("cross_attention", attentionSpecs({ width, projectionBias: false, start: { back: "zeros" } }))
            ]),
        ...modulation("mlp.modulation", 3),
        ...linearSpecs("mlp.up", { from: width, to: expansion * width }),
        ...linearSpecs("mlp.down", { from: expansion * width, to: width })
      ])
    ).flat(),
    ...modulation("final.modulation", 2),
    ...linearSpecs("proj_out", { from: width, to: width, initial: "zeros" }),
    ...(shifted ? linearSpecs("shift_proj", { from: width, to: width, bias: false, initial: "zeros" }) : [])
  ]
}

/** sin(t f_i), then cos(t f_i), f_i = 10^4 ^ (-i / half); times [B] -> [B, 256]. */
const sinusoids = (time: Tensor): Tensor => {
  const half = timeFeatures / 2
  const frequencies = constant(
    Float32Array.from({ length: half }, (_, i) => slowest ** (-i / half)),
    "f32",
    [half]
  )
  const angles = mul(reshape(time, [time.shape[0]!, 1]), frequencies)
  return concat([sin(angles), cos(angles)], 1)
}

/** What the layers read of a prompt: of each the keys and values of a vector that is always there, and of the prompt's states. */
export interface Condition {
  readonly pairs: ReadonlyArray<Tensor>
  readonly mask: AttentionMask
}

const crossAttention = (w: Weights, i: number): Weights => within(w, `layers.${i}.cross_attention`)

/** The same for all latents and times. */
export const conditionOn = (w: Weights, { depth }: BlockCausalShape, { seen, states }: Prompt): Condition => {
  const { context, contextMask } = withNull(w("no_prompt"), linear(w, "prompt", states), seen)
  const pair = (i: number): Tensor => keysAndValues(crossAttention(w, i), context, { projectionBias: false })
  return { pairs: Array.from({ length: depth }, (_, i) => pair(i)), mask: contextMask }
}

export interface BlockCausalOptions {
  readonly condition?: Condition | undefined
  /** The first latent that is asked for. */
  readonly from?: number
}

/**
 * Noised latents [B, n, width] at times [B] -> velocity or clean latents [B, n - from, width]. Of all latents these are the first n: none sees one behind it
 * that is not of its block, and so blocks that are not asked for need not be there.
 */
export const blockCausal = (
  w: Weights,
  shape: BlockCausalShape,
  noised: Tensor,
  time: Tensor,
  { condition, from = 0 }: BlockCausalOptions = {}
): Tensor => {
  const { causal, depth, globals, heads, positions, shifted, width } = shape
  const [batch, n] = noised.shape as [number, number, number]
  const embedded = linear(w, "time.4", silu(linear(w, "time.2", silu(linear(w, "time.0", sinusoids(time))))))
  const signal = silu(embedded) // [B, width]
  const modulation = (own: Weights, name: string, parts: number): ReadonlyArray<Tensor> => {
    const all = linear(own, name, signal)
    return Array.from({ length: parts }, (_, i) =>
      reshape(sliceAxis(all, 1, i * width, (i + 1) * width), [batch, 1, width])
    )
  }
  const modulated = (x: Tensor, shift: Tensor, scale: Tensor): Tensor => add(mul(layerNorm(x), add(scale, 1)), shift)
  const seen = seenByRank(constant(ranks(shape, causal).slice(0, n), "i32", [1, n]))
  // The shifted map reads one latent more.
  const needed = shifted ? Math.max(0, from - 1) : from
  const wanted = (x: Tensor): Tensor => (needed === 0 ? x : sliceAxis(x, 1, needed, n))

  let x = positions ? add(noised, sliceAxis(w("positions"), 0, 0, n)) : noised
  for (let i = 0; i < depth; i++) {
    const own = within(w, `layers.${i}`)
    const attending = { heads, projectionBias: false }
    const [shift, scale, gate] = modulation(own, "self_attention.modulation", 3)
    const all = modulated(x, shift!, scale!)
    const last = i === depth - 1
    const attended =
      last && needed > 0
        ? attention(within(own, "self_attention"), wanted(all), all, { ...attending, mask: scoreMask(wanted(seen)) })
        : attention(within(own, "self_attention"), all, undefined, { ...attending, mask: scoreMask(seen) })
    x = add(last ? wanted(x) : x, mul(attended, gate!))
    if (condition !== undefined) {
      const cross = crossAttention(w, i)
      const { mask, pairs } = condition
      x = add(x, attentionTo(cross, norm(cross, "norm", x), pairs[i]!, { ...attending, mask }))
    }
    const [shift2, scale2, gate2] = modulation(own, "mlp.modulation", 3)
    const inner = geluTanh(linear(own, "mlp.up", modulated(x, shift2!, scale2!)))
    x = add(x, mul(linear(own, "mlp.down", inner), gate2!))
  }
  const [shift, scale] = modulation(w, "final.modulation", 2)
  const last = modulated(x, shift!, scale!)
  const asked = from === needed ? last : sliceAxis(last, 1, from - needed, n - needed)
  const out = linear(w, "proj_out", asked)
  if (!shifted) return out
  // Each local's share from the one before it; the first local and the globals get none.
  const none = Math.min(n, Math.max(0, globals + 1 - from))
  const parts = [
    ...(none > 0 ? [constant(0, "f32", [batch, none, width])] : []),
    ...(from + none < n ? [sliceAxis(last, 1, from + none - 1 - needed, n - 1 - needed)] : [])
  ]
  return add(out, linear(w, "shift_proj", concat(parts, 1), { bias: false }))
}
