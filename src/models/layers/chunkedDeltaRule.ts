/** The gated delta rule a chunk of tokens at a time: what happens within chunks is products of matrices for all of them at once, and a state goes from each to the next. */
import { slices } from "../../tensor/composites.ts"
import {
  add,
  and,
  concat,
  constant,
  cumulativeSum,
  equal,
  exp,
  matmul,
  mul,
  pad,
  reshape,
  select,
  sliceAxis,
  sub,
  sum
} from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { unitLowerInverse } from "../../tensor/triangular.ts"
import { type DeltaRule, headsFirst, noState, perValueHead } from "./deltaRule.ts"
import { noDocument } from "./documents.ts"

/** Tokens of a chunk: with more, what each does to the others of its chunk costs more than going from chunk to chunk. As in the family's published code. */
const mostPerChunk = 64

/** The chunks of rows of `length` tokens; a power of two, for short rows too, fills the last one. */
const chunksOf = (length: number): { readonly size: number; readonly count: number } => {
  const size = Math.min(mostPerChunk, 2 ** Math.ceil(Math.log2(length)))
  return { size, count: Math.ceil(length / size) }
}

/** Its exponential is 0. */
const never = -1e30

/** Where one token's decay reaches another: tokens of other documents are out of reach. */
interface Reach {
  /** bool [size, size], or with documents [B, 1, chunks, size, size]: whether token j of a chunk is seen by token i. */
  readonly within: Tensor
  /** bool [B, 1, chunks, size]: whether a token sees the state that enters its chunk. Left out: all do. */
  readonly entering?: Tensor
}

const reach = (segmentIds: Tensor | undefined, length: number): Reach => {
  const { count, size } = chunksOf(length)
  const lower = constant(
    Uint8Array.from({ length: size * size }, (_, i) => Number(i % size <= Math.floor(i / size))),
    "bool",
    [size, size]
  )
  if (segmentIds === undefined) return { within: lower }
  const batch = segmentIds.shape[0]!
  const padded = pad(segmentIds, [0, 0], [0, count * size - length], noDocument)
  const ids = reshape(padded, [batch, 1, count, size])
  const same = equal(reshape(ids, [batch, 1, count, size, 1]), reshape(ids, [batch, 1, count, 1, size]))
  const lastBefore = pad(
    sliceAxis(sliceAxis(ids, 3, size - 1, size), 2, 0, count - 1),
    [0, 0, 1, 0],
    [0, 0, 0, 0],
    noDocument
  )
  return { within: and(lower, same), entering: equal(ids, lastBefore) }
}

/** Sums of g up to each token, within its document and chunk, [B, H, chunks, size]: other documents must not even change how it is rounded. */
const runningSum = (logDecay: Tensor, within: Tensor): Tensor => {
  if (within.rank === 2) return cumulativeSum(logDecay, 3)
  const [batch, heads, count, size] = logDecay.shape as [number, number, number, number]
  return sum(select(within, reshape(logDecay, [batch, heads, count, 1, size]), 0), 4)
}

/**
 * Per head, with G the running sum of g within a chunk, D_ij = exp(G_i - G_j) for j <= i, K_β = β K: T = (I + strictly lower part of K_β Kᵀ ∘ D)^-1, U = T (β V),
 * W = T (K_β ∘ exp G). A chunk that the state S enters: V' = U - W S; O = (Q ∘ exp G) S + (Q Kᵀ ∘ D) V'; S <- exp(G_last) S + (K ∘ exp(G_last - G))ᵀ V'. The same as the
 * recurrence (Yang et al. 2024, their chunkwise form). Between documents D and exp G are 0.
 */
export const chunkedDeltaRule: DeltaRule = segmentIds => {
  const known = segmentIds === undefined ? undefined : reach(segmentIds, segmentIds.shape[1]!)
  return inputs => {
    const [batch, length, valueHeads, valueDim] = inputs.values.shape as [number, number, number, number]
    const { count, size } = chunksOf(length)
    const { entering, within } = known ?? reach(undefined, length)
    /** [B, L, H, …] -> [B, H, chunks, size, …], with zeros behind the last token: those change nothing. */
    const chunked = (x: Tensor): Tensor => {
      const [heads, ...rest] = x.shape.slice(2) as [number, ...ReadonlyArray<number>]
      const behind = [0, 0, count * size - length, ...rest.map(() => 0)]
      const padded = pad(
        headsFirst(x),
        behind.map(() => 0),
        behind
      )
      return reshape(padded, [batch, heads, count, size, ...rest])
    }
    const column = (x: Tensor): Tensor => reshape(x, [...x.shape, 1])
    const shared = (x: Tensor): Tensor => perValueHead(x, valueHeads)

    const [ofKeyHeads, queriesOfKeyHeads] = [chunked(inputs.keys), chunked(inputs.queries)]
    const [keys, queries] = [shared(ofKeyHeads), shared(queriesOfKeyHeads)] // [B, H, chunks, size, key dim]
    const beta = column(chunked(inputs.beta)) // [B, H, chunks, size, 1]
    const total = runningSum(chunked(inputs.logDecay), within) // G [B, H, chunks, size]
    const fromTo = sub(column(total), reshape(total, [batch, valueHeads, count, 1, size]))
    // Out of reach before the exponential, which would overflow for later tokens.
    const decay = exp(select(within, fromTo, never)) // D [B, H, chunks, size, size]
    const ofEntering = column(exp(entering === undefined ? total : select(entering, total, never)))
    const lastRow = sliceAxis(decay, 3, size - 1, size) // [B, H, chunks, 1, size]
    const toLast = reshape(lastRow, [batch, valueHeads, count, size, 1])

    const amongKeys = shared(matmul(ofKeyHeads, ofKeyHeads, { transposeB: true }))
    const solved = unitLowerInverse(mul(mul(amongKeys, decay), beta))
    const own = matmul(solved, mul(chunked(inputs.values), beta)) // U [B, H, chunks, size, value dim]
    const read = matmul(solved, mul(keys, mul(beta, ofEntering))) // W [B, H, chunks, size, key dim]
    const written = mul(keys, toLast)
    const through = sliceAxis(ofEntering, 3, size - 1, size) // [B, H, chunks, 1, 1]

    const parts = Array.from({ length: count }, (_, n) => ({ from: n, to: n + 1 }))
    const each = (x: Tensor): ReadonlyArray<Tensor> =>
      slices(x, parts, 2).map(part => reshape(part, [...x.shape.slice(0, 2), ...x.shape.slice(3)]))
    const [ownOf, readOf, writtenOf, throughOf] = [each(own), each(read), each(written), each(through)] as const
    let { state } = inputs // Undefined: zeros.
    const corrections: Array<Tensor> = [] // V' of each chunk, [B, H, size, value dim]
    const entered: Array<Tensor> = [] // S, [B, H, key dim, value dim]
    for (const n of parts.keys()) {
      const correction = state === undefined ? ownOf[n]! : sub(ownOf[n]!, matmul(readOf[n]!, state))
      corrections.push(correction)
      entered.push(state ?? noState(inputs))
      const left = matmul(writtenOf[n]!, correction, { transposeA: true })
      state = state === undefined ? left : add(mul(state, throughOf[n]!), left)
    }
    const stacked = (each: ReadonlyArray<Tensor>): Tensor =>
      concat(
        each.map(x => reshape(x, [...x.shape.slice(0, 2), 1, ...x.shape.slice(2)])),
        2
      )
    const amongTokens = mul(shared(matmul(queriesOfKeyHeads, ofKeyHeads, { transposeB: true })), decay)
    const ofChunk = matmul(amongTokens, stacked(corrections)) // [B, H, chunks, size, value dim]
    const nothingEntered = count === 1 && inputs.state === undefined
    const outputs = nothingEntered ? ofChunk : add(ofChunk, matmul(mul(queries, ofEntering), stacked(entered)))
    const rows = sliceAxis(reshape(outputs, [batch, valueHeads, count * size, valueDim]), 2, 0, length)
    return { outputs: headsFirst(rows), state: state! }
  }
}
