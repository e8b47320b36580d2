/** A forward pass of a decoder with attention in all layers for one document, in plain float64 loops written from the equations: nothing is shared with src/. */
import type { ModelConfig } from "../../src/models/config.ts"

type Vector = ReadonlyArray<number>
type Matrix = ReadonlyArray<Vector>
export type Weight = (name: string) => ArrayLike<number>

const rows = (flat: ArrayLike<number>, width: number): Matrix =>
  Array.from({ length: flat.length / width }, (_, r) =>
    Array.from({ length: width }, (_element, c) => flat[r * width + c]!)
  )
const dot = (a: Vector, b: Vector): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
const apply = (matrix: Matrix, x: Vector, bias?: ArrayLike<number>): Vector =>
  matrix.map((row, i) => dot(row, x) + (bias?.[i] ?? 0))
const norm = (x: Vector, weight: ArrayLike<number>, epsilon: number): Vector => {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + epsilon)
  return x.map((value, i) => value * scale * weight[i]!)
}

const rope = (x: Vector, position: number, theta: number): Vector => {
  const half = x.length / 2
  return x.map((value, i) => {
    const pair = i % half
    const angle = position * theta ** (-pair / half)
    const other = i < half ? -x[i + half]! : x[i - half]!
    return value * Math.cos(angle) + other * Math.sin(angle)
  })
}

/** Hidden states (embeddings, then each layer's output) and logits of every position. */
export const bruteForward = (
  config: ModelConfig,
  weight: Weight,
  tokens: ReadonlyArray<number>,
  causal: boolean
): { readonly states: ReadonlyArray<Matrix>; readonly logits: Matrix } => {
  const { hiddenSize: d } = config
  const embedding = rows(weight("model.embed_tokens.weight"), d)
  let x: Matrix = tokens.map(token => embedding[token]!)
  const states = [x]
  for (const [l, { feedForward, mixer, norm: kind }] of config.layers.entries()) {
    const { headDim, heads, keyValueHeads } = mixer
    const w = (name: string): ArrayLike<number> => weight(`model.layers.${l}.${name}`)
    const headsOf = (name: "q" | "k" | "v", input: Vector, position: number): Matrix => {
      const bias = mixer.bias ? w(`self_attn.${name}_proj.bias`) : undefined
      const split = rows(apply(rows(w(`self_attn.${name}_proj.weight`), d), input, bias), headDim)
      if (name === "v") return split
      return split.map(head =>
        rope(
          mixer.headNorm === undefined ? head : norm(head, w(`self_attn.${name}_norm.weight`), mixer.headNorm.epsilon),
          position,
          mixer.ropeTheta
        )
      )
    }
    const normed = x.map(row => norm(row, w("input_layernorm.weight"), kind.epsilon))
    const q = normed.map((row, i) => headsOf("q", row, i))
    const k = normed.map((row, i) => headsOf("k", row, i))
    const v = normed.map((row, i) => headsOf("v", row, i))
    const out = rows(w("self_attn.o_proj.weight"), heads * headDim)
    const attended = x.map((row, i) => {
      const mixed = Array.from({ length: heads }, (_, h) => {
        const kv = Math.floor(h / (heads / keyValueHeads))
        const block = (place: number): number => Math.floor(place / (config.attentionBlockSize ?? Infinity))
        const seen = tokens.map((_token, j) => j).filter(j => (causal ? j <= i : block(j) <= block(i)))
        const scores = seen.map(j => dot(q[i]![h]!, k[j]![kv]!) / Math.sqrt(headDim))
        const peak = Math.max(...scores)
        const e = scores.map(score => Math.exp(score - peak))
        const total = e.reduce((sum, value) => sum + value, 0)
        return Array.from({ length: headDim }, (_element, c) =>
          seen.reduce((sum, j, n) => sum + (e[n]! / total) * v[j]![kv]![c]!, 0)
        )
      }).flat()
      const backBias = mixer.outputBias ? w("self_attn.o_proj.bias") : undefined
      const projected = apply(out, mixed, backBias)
      return row.map((value, c) => value + projected[c]!)
    })
    const [gate, up] = ["gate", "up"].map(name => rows(w(`mlp.${name}_proj.weight`), d))
    const down = rows(w("mlp.down_proj.weight"), feedForward.intermediateSize)
    x = attended.map(row => {
      const input = norm(row, w("post_attention_layernorm.weight"), kind.epsilon)
      const u = apply(up!, input)
      const inner = apply(gate!, input).map((g, i) => (g / (1 + Math.exp(-g))) * u[i]!)
      const projected = apply(down, inner)
      return row.map((value, c) => value + projected[c]!)
    })
    states.push(x)
  }
  const head = config.tiedHead ? embedding : rows(weight("lm_head.weight"), d)
  return { states, logits: x.map(row => apply(head, norm(row, weight("model.norm.weight"), config.norm.epsilon))) }
}
