/** Who attends to whom, rotary positions, and grouped-query attention. */
import {
  add,
  and,
  cast,
  concat,
  constant,
  cos,
  div,
  equal,
  iota,
  lessEqual,
  matmul,
  mul,
  reshape,
  select,
  sin,
  sliceAxis,
  softmax,
  transpose
} from "../../tensor/ops.ts"
import { slices } from "../../tensor/composites.ts"
import type { DType } from "../../tensor/dtype.ts"
import { type Tensor, TensorError } from "../../tensor/Tensor.ts"

export interface AttentionContext {
  /** Whether a token sees only those before it (a teacher, autoregression), or all of its document, or of its blocks (diffusion). */
  readonly causal: boolean
  /** i32 [B, L]: the document of each token, -1 for padding. Left out: every row is one document without padding. */
  readonly segmentIds?: Tensor
  /** i32 [B, L]: position within the document. Left out: 0, 1, 2, … */
  readonly positions?: Tensor
}

export interface MaskContext extends AttentionContext {
  /** Tokens of a block, where not causal: a token sees those of its own block and of earlier ones. Left out: it sees all. */
  readonly blockSize?: number | undefined
}

/** Low enough to vanish beside any score, and finite, so that a row that may see nothing (padding) gives no NaN. */
const forbidden = (dtype: DType): number => (dtype === "f16" ? -6e4 : -1e30)

export interface AttentionMask {
  /** What is added to scores, [B or 1, 1, 1, Q or 1, K]: 0 where a query may see a key, else a large negative number. */
  readonly added: Tensor
  /** Whether queries and keys are the same places, and no query sees a later key. */
  readonly causal: boolean
}

/** The mask of what may be seen, bool [B or 1, Q or 1, K]. */
export const scoreMask = (
  seen: Tensor,
  { causal = false, dtype = "f32" }: { readonly causal?: boolean; readonly dtype?: DType } = {}
): AttentionMask => {
  const [rows, queries, keys] = seen.shape as [number, number, number]
  return { added: reshape(select(seen, constant(0, dtype), forbidden(dtype)), [rows, 1, 1, queries, keys]), causal }
}

/** Whether query q may see key k, bool [B or 1, L, L], where each sees those of its own rank and of lower ones: ranks i32 [B or 1, L]. */
export const seenByRank = (ranks: Tensor): Tensor => {
  const [rows, length] = ranks.shape as [number, number]
  return lessEqual(reshape(ranks, [rows, 1, length]), reshape(ranks, [rows, length, 1]))
}

/** A token's rank: its place if causal, else the block in which its position is. Undefined: all are alike. */
const ranksOf = ({ blockSize, causal, positions }: MaskContext, length: number): Tensor | undefined => {
  const places = iota("i32", [1, length], 1)
  if (causal) return places
  return blockSize === undefined ? undefined : div(positions ?? places, constant(blockSize, "i32"))
}

/**
 * The mask of a pass over rows of L tokens, or undefined where every token sees all. allowed(q, k) = same document, k no padding, and
 * rank k <= rank q.
 */
export const attentionMask = (context: MaskContext, length: number, dtype: DType): AttentionMask | undefined => {
  const { causal, segmentIds } = context
  const ranks = ranksOf(context, length)
  let allowed = ranks === undefined ? undefined : seenByRank(ranks)
  if (segmentIds !== undefined) {
    const rows = segmentIds.shape[0]!
    const ofKey = reshape(segmentIds, [rows, 1, length])
    const same = and(equal(reshape(segmentIds, [rows, length, 1]), ofKey), lessEqual(constant(0, "i32"), ofKey))
    allowed = allowed === undefined ? same : and(allowed, same)
  }
  return allowed === undefined ? undefined : scoreMask(allowed, { causal, dtype })
}

/** Cosines and sines of a head's angles, each [B or 1, L, headDim / 2]. */
export interface Rotation {
  readonly cos: Tensor
  readonly sin: Tensor
}

/** Angles of rotary position embeddings (Su et al. 2021): position times theta^(-2i / headDim). */
export const rotation = (
  positions: Tensor | undefined,
  { headDim, length, theta }: { readonly headDim: number; readonly length: number; readonly theta: number }
): Rotation => {
  const half = headDim / 2
  const frequencies = constant(
    Float32Array.from({ length: half }, (_, i) => theta ** (-i / half)),
    "f32",
    [half]
  )
  const at = positions === undefined ? iota("f32", [1, length], 1) : cast(positions, "f32")
  const angles = mul(reshape(at, [at.shape[0]!, length, 1]), frequencies)
  return { cos: cos(angles), sin: sin(angles) }
}

/** softmax(q kT / sqrt(headDim) + added) v. q [B, H, queries, headDim], k and v [B, KV, keys, headDim] -> as q. */
const mix = (q: Tensor, k: Tensor, v: Tensor, added: Tensor | undefined): Tensor => {
  const [batch, heads, length, headDim] = q.shape as [number, number, number, number]
  const [groups, keys] = k.shape.slice(1) as [number, number]
  const perGroup = heads / groups
  // The queries of a group are stacked as rows, so that keys and values are never repeated.
  const queries = reshape(q, [batch, groups, perGroup * length, headDim])
  // Beside the product, where an engine can make one of both.
  let scores = matmul(mul(queries, headDim ** -0.5), k, { transposeB: true }) // [B, KV, G * queries, keys]
  if (added !== undefined) {
    const byHead = reshape(scores, [batch, groups, perGroup, length, keys])
    scores = reshape(add(byHead, added), scores.shape)
  }
  return reshape(matmul(softmax(scores), v), q.shape)
}

/** With fewer queries, products are too small to be fast; more blocks make programs longer, and leave little more out. */
const leastBlock = 128
const mostBlocks = 4

/** The queries of a causal pass in blocks of one size, but for the last. */
const causalBlocks = (length: number): ReadonlyArray<{ readonly from: number; readonly to: number }> => {
  const count = Math.max(1, Math.min(mostBlocks, Math.floor(length / leastBlock)))
  const size = Math.ceil(length / count)
  return Array.from({ length: count }, (_, i) => ({ from: i * size, to: Math.min(length, (i + 1) * size) }))
}

/**
 * softmax(q kT / sqrt(headDim) + mask) v with grouped queries. q [B, L, H, headDim], k and v [B, keys, KV, headDim] -> [B, L, H * headDim]. In a causal
 * pass, blocks of queries leave out the keys after their last.
 */
export const attend = (q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask | undefined): Tensor => {
  const [batch, length, heads, headDim] = q.shape as [number, number, number, number]
  const [queries, keys, values] = [q, k, v].map(x => transpose(x, [0, 2, 1, 3])) as [Tensor, Tensor, Tensor]
  if (mask?.causal === true && k.shape[1] !== length)
    throw new TensorError(
      "attend",
      `a causal mask needs as many keys as queries, got ${k.shape[1]} and ${length}`,
      attend
    )
  const blocks = mask?.causal === true ? causalBlocks(length) : []
  const mixed =
    mask === undefined || blocks.length < 2
      ? mix(queries, keys, values, mask?.added)
      : concat(
          slices(queries, blocks, 2).map((own, i) => {
            const { from, to } = blocks[i]!
            const until = (x: Tensor): Tensor => sliceAxis(x, 2, 0, to)
            return mix(own, until(keys), until(values), sliceAxis(sliceAxis(mask.added, 3, from, to), 4, 0, to))
          }),
          2
        )
  return reshape(transpose(mixed, [0, 2, 1, 3]), [batch, length, heads * headDim])
}
