/** A forward pass of a decoder for one document, in plain float64 loops written from the equations: nothing is shared with src/. */
import type { ModelConfig } from "../../src/models/config.ts"
import type { GatedDeltaNet } from "../../src/models/layers/gatedDeltaNet.ts"
import type { MixtureOfExperts } from "../../src/models/layers/moe.ts"
import type { Norm } from "../../src/models/layers/norm.ts"
import type { SelfAttention } from "../../src/models/layers/selfAttention.ts"
import { asHeads, recurrence, type Vector } from "./layers/gatedDelta.ts"

type Matrix = ReadonlyArray<Vector>
export type Weight = (name: string) => ArrayLike<number>

/** Rows of weights: the equations take them once a token, and nobody writes to them. */
const known = new WeakMap<ArrayLike<number>, Map<number, Matrix>>()
const rows = (flat: ArrayLike<number>, width: number): Matrix => {
  const ofWidth = known.get(flat) ?? new Map<number, Matrix>()
  known.set(flat, ofWidth)
  let matrix = ofWidth.get(width)
  if (matrix === undefined) {
    matrix = Array.from({ length: flat.length / width }, (_, r) =>
      Array.from({ length: width }, (_element, c) => flat[r * width + c]!)
    )
    ofWidth.set(width, matrix)
  }
  return matrix
}
const dot = (a: Vector, b: Vector): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}
const apply = (matrix: Matrix, x: Vector, bias?: ArrayLike<number>): Vector =>
  matrix.map((row, i) => dot(row, x) + (bias?.[i] ?? 0))
const norm = (x: Vector, weight: ArrayLike<number>, { epsilon, kind }: Norm): Vector => {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + epsilon)
  return x.map((value, i) => value * scale * (kind === "zero_centred_rms" ? 1 + weight[i]! : weight[i]!))
}
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
const silu = (x: number): number => x * sigmoid(x)

const rope = (x: Vector, position: number, theta: number, turned: number): Vector => {
  const half = turned / 2
  return x.map((value, i) => {
    if (i >= turned) return value
    const pair = i % half
    const angle = position * theta ** (-pair / half)
    const other = i < half ? -x[i + half]! : x[i - half]!
    return value * Math.cos(angle) + other * Math.sin(angle)
  })
}

/** What a Gated DeltaNet makes of the tokens of a document, given its weights: [token] -> d. */
const deltaNet = (mixer: GatedDeltaNet, x: Matrix, weight: Weight): Matrix => {
  const { keyDim, keyHeads, kernelSize, outputNorm, valueDim, valueHeads } = mixer
  const d = x[0]!.length
  const project = (name: string): Matrix => x.map(row => apply(rows(weight(`linear_attn.${name}.weight`), d), row))
  const taps = rows(weight("linear_attn.conv1d.weight"), kernelSize)
  const qkv = project("in_proj_qkv")
  const mixed = qkv.map((row, t) =>
    row.map((_, c) => silu(taps[c]!.reduce((sum, tap, i) => sum + tap * (qkv[t - (kernelSize - 1 - i)]?.[c] ?? 0), 0)))
  )
  const width = keyHeads * keyDim
  const part = (from: number, to: number, heads: number, size: number) =>
    asHeads(
      mixed.flatMap(row => row.slice(from, to)),
      heads,
      size
    )
  const ofLength = (all: ReadonlyArray<Matrix>, factor: number) =>
    all.map(heads => heads.map(head => head.map(value => (factor * value) / Math.sqrt(dot(head, head) + 1e-6))))
  const [rate, bias] = [weight("linear_attn.A_log"), weight("linear_attn.dt_bias")]
  const { outputs } = recurrence(mixer, {
    queries: ofLength(part(0, width, keyHeads, keyDim), keyDim ** -0.5),
    keys: ofLength(part(width, 2 * width, keyHeads, keyDim), 1),
    values: part(2 * width, Infinity, valueHeads, valueDim),
    logDecay: project("in_proj_a").map(row =>
      row.map((a, h) => -Math.exp(rate[h]!) * Math.log1p(Math.exp(a + bias[h]!)))
    ),
    beta: project("in_proj_b").map(row => row.map(sigmoid))
  })
  const gates = asHeads(project("in_proj_z").flat(), valueHeads, valueDim)
  const out = rows(weight("linear_attn.out_proj.weight"), valueHeads * valueDim)
  return outputs.map((heads, t) =>
    apply(
      out,
      heads.flatMap((head, h) =>
        norm(head, weight("linear_attn.norm.weight"), outputNorm).map((value, i) => value * silu(gates[t]![h]![i]!))
      )
    )
  )
}

/** What attention makes of the tokens of a document, of which i sees j where `sees` says so. */
const attention = (
  { bias, headDim, headNorm, heads, keyValueHeads, outputBias, outputGate, ropeTheta, rotaryDim }: SelfAttention,
  x: Matrix,
  weight: Weight,
  sees: (i: number, j: number) => boolean
): Matrix => {
  const d = x[0]!.length
  const project = (name: string): Matrix =>
    x.map(row =>
      apply(
        rows(weight(`self_attn.${name}_proj.weight`), d),
        row,
        bias ? weight(`self_attn.${name}_proj.bias`) : undefined
      )
    )
  /** [head][token]. */
  const split = (all: Matrix, count: number, size: number): ReadonlyArray<Matrix> =>
    Array.from({ length: count }, (_, h) => all.map(row => row.slice(h * size, (h + 1) * size)))
  const placed = (name: "q" | "k", all: ReadonlyArray<Matrix>): ReadonlyArray<Matrix> =>
    all.map(head =>
      head.map((row, position) =>
        rope(
          headNorm === undefined ? row : norm(row, weight(`self_attn.${name}_norm.weight`), headNorm),
          position,
          ropeTheta,
          rotaryDim ?? headDim
        )
      )
    )
  const width = outputGate === true ? 2 * headDim : headDim
  const ofQueries = split(project("q"), heads, width)
  const q = placed(
    "q",
    ofQueries.map(head => head.map(row => row.slice(0, headDim)))
  )
  const k = placed("k", split(project("k"), keyValueHeads, headDim))
  const v = split(project("v"), keyValueHeads, headDim)
  const out = rows(weight("self_attn.o_proj.weight"), heads * headDim)
  return x.map((_row, i) => {
    const mixed = q.flatMap((queries, h) => {
      const kv = Math.floor(h / (heads / keyValueHeads))
      const seen = [...x.keys()].filter(j => sees(i, j))
      const scores = seen.map(j => dot(queries[i]!, k[kv]![j]!) / Math.sqrt(headDim))
      const peak = Math.max(...scores)
      const e = scores.map(score => Math.exp(score - peak))
      const total = e.reduce((sum, value) => sum + value, 0)
      const gate = outputGate === true ? ofQueries[h]![i]!.slice(headDim) : undefined
      return Array.from(
        { length: headDim },
        (_element, c) =>
          (gate === undefined ? 1 : sigmoid(gate[c]!)) *
          seen.reduce((sum, j, n) => sum + (e[n]! / total) * v[kv]![j]![c]!, 0)
      )
    })
    return apply(out, mixed, outputBias ? weight("self_attn.o_proj.bias") : undefined)
  })
}

const swiglu = (x: Vector, gate: Matrix, up: Matrix, down: Matrix): Vector => {
  const u = apply(up, x)
  return apply(
    down,
    apply(gate, x).map((g, i) => silu(g) * u[i]!)
  )
}

/** down(silu(gate x) up x), of the module of this name. */
const ofModule = (x: Vector, weight: Weight, module: string): Vector => {
  const [gate, up] = ["gate", "up"].map(name => rows(weight(`${module}.${name}_proj.weight`), x.length))
  return swiglu(x, gate!, up!, rows(weight(`${module}.down_proj.weight`), gate!.length))
}

/** All experts computed, and those that a token is not sent to weighted with 0. */
const experts = (
  { experts: count, expertsPerToken: k, intermediateSize: size }: MixtureOfExperts,
  x: Vector,
  w: Weight
) => {
  const d = x.length
  const scores = apply(rows(w("mlp.gate.weight"), d), x)
  const e = scores.map(score => Math.exp(score - Math.max(...scores)))
  const least = e.toSorted((a, b) => b - a)[k - 1]!
  const chosen = e.map(value => (value >= least ? value : 0))
  const total = chosen.reduce((sum, value) => sum + value, 0)
  const [inwards, back] = [rows(w("mlp.experts.gate_up_proj"), d), rows(w("mlp.experts.down_proj"), size)]
  const [gate] = apply(rows(w("mlp.shared_expert_gate.weight"), d), x)
  const shared = ofModule(x, w, "mlp.shared_expert").map(value => value * sigmoid(gate!))
  return Array.from({ length: count }, (_, n) => {
    const own = inwards.slice(2 * size * n, 2 * size * (n + 1))
    return swiglu(x, own.slice(0, size), own.slice(size), back.slice(d * n, d * (n + 1)))
  }).reduce((sum, y, n) => sum.map((value, c) => value + (chosen[n]! / total) * y[c]!), shared)
}

/** A pass that computes some places: the others have what entered each layer at them in an earlier pass. */
export interface Partly {
  readonly states: ReadonlyArray<Matrix>
  readonly from: number
  readonly to: number
}

/** Hidden states (embeddings, then each layer's output) and logits of every position. */
export const bruteForward = (
  config: ModelConfig,
  weight: Weight,
  tokens: ReadonlyArray<number>,
  causal: boolean,
  partly?: Partly
): { readonly states: ReadonlyArray<Matrix>; readonly logits: Matrix } => {
  const { hiddenSize: d } = config
  const embedding = rows(weight("model.embed_tokens.weight"), d)
  const block = (place: number): number => Math.floor(place / (config.attentionBlockSize ?? Infinity))
  const goesRight = causal || config.hybridBidirectional === "none"
  const sees = (i: number, j: number): boolean => (goesRight ? j <= i : block(j) <= block(i))
  /** From left to right, or the mean of both ways; from right to left no further than a block. */
  const scanned = (mixer: GatedDeltaNet, all: Matrix, w: Weight): Matrix => {
    const ahead = deltaNet(mixer, all, w)
    if (goesRight || config.hybridBidirectional !== "two_scan") return ahead
    const blocks = Map.groupBy(all.keys(), block)
    const back = [...blocks.values()].flatMap(places =>
      deltaNet(
        mixer,
        places.toReversed().map(i => all[i]!),
        w
      ).toReversed()
    )
    return ahead.map((row, i) => row.map((value, c) => (value + back[i]![c]!) / 2))
  }
  /** What enters layer l, given what was computed of it. */
  const entering = (l: number, computed: Matrix): Matrix =>
    partly === undefined
      ? computed
      : computed.map((row, i) => (partly.from <= i && i < partly.to ? row : partly.states[l]![i]!))
  let x: Matrix = entering(
    0,
    tokens.map(token => embedding[token]!)
  )
  const states = [x]
  for (const [l, { feedForward, mixer, norm: kind }] of config.layers.entries()) {
    const w = (name: string): ArrayLike<number> => weight(`model.layers.${l}.${name}`)
    const normed = x.map(row => norm(row, w("input_layernorm.weight"), kind))
    const mixed = mixer.kind === "attention" ? attention(mixer, normed, w, sees) : scanned(mixer, normed, w)
    const attended = x.map((row, i) => row.map((value, c) => value + mixed[i]![c]!))
    const fed = attended.map(row => {
      const inside = norm(row, w("post_attention_layernorm.weight"), kind)
      const fed = feedForward.kind === "moe" ? experts(feedForward, inside, w) : ofModule(inside, w, "mlp")
      return row.map((value, c) => value + fed[c]!)
    })
    x = entering(l + 1, fed)
    states.push(x)
  }
  const head = config.tiedHead ? embedding : rows(weight("lm_head.weight"), d)
  return { states, logits: x.map(row => apply(head, norm(row, weight("model.norm.weight"), config.norm))) }
}
