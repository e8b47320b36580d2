/** Parts of the networks beside a language model: linear maps with biases, attention, pre-norm layers. Weights are looked up by name. */
import { gelu, layerNorm } from "../../../tensor/composites.ts"
import { add, broadcastTo, concat, constant, matmul, reshape, sliceAxis } from "../../../tensor/ops.ts"
import type { Shape, Tensor } from "../../../tensor/Tensor.ts"
import { attend, type AttentionMask, scoreMask } from "../../../models/layers/attention.ts"
import type { AttentionStart } from "./alignedStart.ts"
import type { Initial, ParameterSpec } from "../../../models/parameters.ts"

/** The tensor of a parameter, by its name. */
export type Weights = (name: string) => Tensor

/** The weights below a prefix. */
export const within =
  (weights: Weights, prefix: string): Weights =>
  name =>
    weights(`${prefix}.${name}`)

/** The same specs under a prefix. */
export const under = (prefix: string, specs: ReadonlyArray<ParameterSpec>): ReadonlyArray<ParameterSpec> =>
  specs.map(spec => ({ ...spec, name: `${prefix}.${spec.name}` }))

/** Learned vectors: small normal numbers. */
export const table = (name: string, ...shape: Shape): ParameterSpec => ({ name, shape, initial: { normal: 0.02 } })

/** Learned positions that are added to states or latents on the scale of 1: as large as those, so that attention can go by place from the start. */
export const placeTable = (name: string, ...shape: Shape): ParameterSpec => ({ name, shape, initial: { normal: 1 } })

export interface LinearShape {
  readonly from: number
  readonly to: number
  /** By default there is one. */
  readonly bias?: boolean
  /** By default normal with the variance of PyTorch's own, 1 / (3 from). */
  readonly initial?: Initial
}

export const linearSpecs = (
  name: string,
  { bias = true, from, initial = { normal: (3 * from) ** -0.5 }, to }: LinearShape
): ReadonlyArray<ParameterSpec> => [
  { name: `${name}.weight`, shape: [to, from], initial },
  ...(bias ? [{ name: `${name}.bias`, shape: [to], initial: "zeros" } as const] : [])
]

/** x [..., from] -> [..., to]. */
export const linear = (
  w: Weights,
  name: string,
  x: Tensor,
  { bias = true }: { readonly bias?: boolean } = {}
): Tensor => {
  const y = matmul(x, w(`${name}.weight`), { transposeB: true })
  return bias ? add(y, w(`${name}.bias`)) : y
}

export const normSpecs = (name: string, width: number): ReadonlyArray<ParameterSpec> => [
  { name: `${name}.weight`, shape: [width], initial: "ones" },
  { name: `${name}.bias`, shape: [width], initial: "zeros" }
]

export const norm = (w: Weights, name: string, x: Tensor): Tensor =>
  layerNorm(x, { weight: w(`${name}.weight`), bias: w(`${name}.bias`) })

export interface AttentionShape {
  readonly width: number
  /** Whether the projections to queries, keys and values have biases; the one back always does. */
  readonly projectionBias: boolean
  /** By default all is drawn. */
  readonly start?: Partial<AttentionStart>
}

/** `qkv` holds the projections to queries, keys and values one below the other. */
export const attentionSpecs = ({
  projectionBias,
  start: { back, read } = {},
  width
}: AttentionShape): ReadonlyArray<ParameterSpec> => [
  ...linearSpecs("qkv", {
    from: width,
    to: 3 * width,
    bias: projectionBias,
    ...(read === undefined ? {} : { initial: read })
  }),
  ...linearSpecs("out", { from: width, to: width, ...(back === undefined ? {} : { initial: back }) })
]

export interface AttentionOptions {
  readonly heads: number
  readonly projectionBias: boolean
  readonly mask?: AttentionMask | undefined
  readonly places?: Places | undefined
}

/** Learned vectors of the places of queries [B or 1, Q, width] and of keys [B or 1, K, width]: attention goes by them, and what it finds does not hold them. */
export interface Places {
  readonly queries: Tensor
  readonly keys: Tensor
}

const projection = (w: Weights, from: Tensor, parts: readonly [number, number], projectionBias: boolean): Tensor => {
  const width = from.shape[2]!
  const [start, end] = [parts[0] * width, parts[1] * width]
  const y = matmul(from, sliceAxis(w("qkv.weight"), 0, start, end), { transposeB: true })
  return projectionBias ? add(y, sliceAxis(w("qkv.bias"), 0, start, end)) : y
}

/** Keys and values [B, K, 2 width] of a context [B, K, width]: all that attention to it needs of it, whoever asks. */
export const keysAndValues = (
  w: Weights,
  context: Tensor,
  { projectionBias }: Pick<AttentionOptions, "projectionBias">
): Tensor => projection(w, context, [1, 3], projectionBias)

/** Multi-head attention of x [B, Q, width] to what has these keys and values [B, K, 2 width] -> [B, Q, width]. */
export const attentionTo = (w: Weights, x: Tensor, pair: Tensor, options: AttentionOptions): Tensor => {
  const width = x.shape[2]!
  const part = (i: number): Tensor => sliceAxis(pair, 2, i * width, (i + 1) * width)
  return attended(w, projection(w, x, [0, 1], options.projectionBias), part(0), part(1), options)
}

/** Multi-head attention of x [B, Q, width] to context [B, K, width], by default itself -> [B, Q, width]. */
export const attention = (w: Weights, x: Tensor, context: Tensor | undefined, options: AttentionOptions): Tensor => {
  if (context !== undefined) return attentionTo(w, x, keysAndValues(w, context, options), options)
  const width = x.shape[2]!
  const all = projection(w, x, [0, 3], options.projectionBias) // [B, Q, 3 width]
  const part = (i: number): Tensor => sliceAxis(all, 2, i * width, (i + 1) * width)
  return attended(w, part(0), part(1), part(2), options)
}

/** Queries, keys and values [B, Q or K, width], not yet divided among heads -> [B, Q, width]. */
const attended = (w: Weights, q: Tensor, k: Tensor, v: Tensor, { heads, mask, places }: AttentionOptions): Tensor => {
  const split = (y: Tensor): Tensor => reshape(y, [y.shape[0]!, y.shape[1]!, heads, y.shape[2]! / heads])
  const placed = (y: Tensor, at: Tensor | undefined): Tensor => (at === undefined ? split(y) : add(split(y), split(at)))
  return linear(w, "out", attend(placed(q, places?.queries), placed(k, places?.keys), split(v), mask))
}

export interface LayerShape {
  readonly width: number
  readonly selfAttention: boolean
  readonly crossAttention: boolean
  readonly projectionBias: boolean
  /** What cross-attention begins as. By default all is drawn. */
  readonly crossStart?: AttentionStart
}

/** The inner width of a layer's perceptron, in widths. */
const expansion = 4

/** Parameters of a pre-norm layer: 4 d^2 for each attention, 8 d^2 for the perceptron, and vectors. */
export const layerSpecs = (shape: LayerShape): ReadonlyArray<ParameterSpec> => {
  const { crossAttention, crossStart, projectionBias, selfAttention, width } = shape
  const attending = { width, projectionBias }
  const part = (name: string, specs: ReadonlyArray<ParameterSpec>) => [
    ...normSpecs(`${name}.norm`, width),
    ...under(name, specs)
  ]
  return [
    ...(selfAttention ? part("self_attention", attentionSpecs(attending)) : []),
    ...(crossAttention
      ? part(
          "cross_attention",
          attentionSpecs({ ...attending, ...(crossStart === undefined ? {} : { start: crossStart }) })
        )
      : []),
    ...part("mlp", [
      ...linearSpecs("up", { from: width, to: expansion * width }),
      ...linearSpecs("down", { from: expansion * width, to: width })
    ])
  ]
}

export interface LayerOptions {
  readonly heads: number
  readonly shape: LayerShape
  /** Of self-attention. */
  readonly mask?: AttentionMask | undefined
  /** What cross-attention reads, [B, K, width], not normalised. */
  readonly context?: Tensor | undefined
  readonly contextMask?: AttentionMask | undefined
  /** Of cross-attention. */
  readonly places?: Places | undefined
  /** Applied to what each part adds. */
  readonly dropout?: (x: Tensor) => Tensor
}

/** x += SA(LN x); x += CA(LN x, context); x += FF(LN x) with GELU. x [B, Q, width] -> the same. */
export const layer = (
  w: Weights,
  x: Tensor,
  { context, contextMask, dropout = y => y, heads, mask, places, shape }: LayerOptions
): Tensor => {
  const { crossAttention, projectionBias, selfAttention } = shape
  let h = x
  if (selfAttention) {
    const own = within(w, "self_attention")
    h = add(h, dropout(attention(own, norm(own, "norm", h), undefined, { heads, mask, projectionBias })))
  }
  if (crossAttention) {
    const own = within(w, "cross_attention")
    const seen = { heads, mask: contextMask, places, projectionBias }
    h = add(h, dropout(attention(own, norm(own, "norm", h), context, seen)))
  }
  const own = within(w, "mlp")
  return add(h, dropout(linear(own, "down", gelu(linear(own, "up", norm(own, "norm", h))))))
}

/** Rows [B, K, width] behind a learned vector that is always seen, so that there is something to attend to where nothing else is: [B, 1 + K, width]. */
export const withNull = (
  vector: Tensor,
  rows: Tensor,
  seen: Tensor
): { readonly context: Tensor; readonly contextMask: AttentionMask } => {
  const [batch, , width] = rows.shape as [number, number, number]
  const first = broadcastTo(reshape(vector, [1, 1, width]), [batch, 1, width])
  const always = constant(new Uint8Array(batch).fill(1), "bool", [batch, 1])
  const visible = reshape(concat([always, seen], 1), [batch, 1, 1 + seen.shape[1]!])
  return { context: concat([first, rows], 1), contextMask: scoreMask(visible) }
}

/** Counts a negative layer from the end of the list that begins with the embedding. */
export const stateIndex = (layer: number, layers: number): number => {
  const index = layer < 0 ? layers + 1 + layer : layer
  if (index < 0 || index > layers) throw new RangeError(`there is no layer ${layer} of ${layers}`)
  return index
}
