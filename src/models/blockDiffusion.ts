/**
 * The pass of block diffusion (BD3-LM; Arriola et al. 2025, arXiv:2503.09573, section 3.1): each block with masks is read behind the blocks before it without masks, all blocks of a sequence at once.
 * The pass reads every token twice: rows of 2 L tokens, the noisy half x_t and the clean half x_0 behind it, both at the same positions.
 */
import {
  add,
  and,
  concat,
  constant,
  div,
  equal,
  iota,
  lessEqual,
  mul,
  or,
  reshape,
  select,
  sliceAxis
} from "../tensor/ops.ts"
import type { DType } from "../tensor/dtype.ts"
import { type Tensor, TensorError } from "../tensor/Tensor.ts"
import { isHybrid, type ModelConfig } from "./config.ts"
import { forward, type Forward, type ForwardOptions, type ModelWeights } from "./decoder.ts"
import { type AttentionMask, scoreMask } from "./layers/attention.ts"

/** What places a row's tokens, i32 [B, L] each, as packing gives them. */
export interface Places {
  readonly segmentIds: Tensor
  readonly positions: Tensor
}

/** The rows of both halves: [B, L, ...] -> [B, 2 L, ...]. */
export const twice = (x: Tensor): Tensor => concat([x, x], 1)

/** The block of each token in its document, i32 [B, L]. Without a size a document is one block. */
const blocksOf = (positions: Tensor, blockSize: number | undefined): Tensor =>
  blockSize === undefined ? mul(positions, constant(0, "i32")) : div(positions, constant(blockSize, "i32"))

/**
 * Who attends to whom among the 2 L tokens of both halves. With b(i) the block of token i, and within one document:
 *
 *     q noisy, k noisy: b(k) = b(q)        q noisy, k clean: b(k) < b(q)
 *     q clean, k noisy: never              q clean, k clean: b(k) <= b(q)
 *
 * A noisy token of block b has rank 2 b, a clean one 2 b + 1. A clean key is seen from its own rank on, a noisy one from its own rank alone.
 */
export const halvesMask = (
  { positions, segmentIds }: Places,
  blockSize: number | undefined,
  dtype: DType
): AttentionMask => {
  const [rows, length] = segmentIds.shape as [number, number]
  const all = 2 * length
  const noisy = mul(blocksOf(positions, blockSize), constant(2, "i32"))
  const ranks = concat([noisy, add(noisy, constant(1, "i32"))], 1) // [B, 2 L]
  const documents = twice(segmentIds)
  const asKeys = (x: Tensor): Tensor => reshape(x, [x.shape[0]!, 1, all])
  const asQueries = (x: Tensor): Tensor => reshape(x, [x.shape[0]!, all, 1])
  const isClean = asKeys(lessEqual(constant(length, "i32"), iota("i32", [1, all], 1)))
  const [of, at] = [asKeys(ranks), asQueries(ranks)]
  const seen = or(equal(of, at), and(isClean, lessEqual(of, at)))
  const keys = asKeys(documents)
  const same = and(equal(asQueries(documents), keys), lessEqual(constant(0, "i32"), keys))
  return scoreMask(reshape(and(seen, same), [rows, all, all]), { dtype })
}

/**
 * From states of both halves, [B, 2 L, d], those that predict the next token of each place, [B, L, d]: the noisy half's, but at the last place of a block the clean half's. The next token then begins a
 * block, all before it is given, and decoding has no other state there: that of the last token of the clean prefix.
 */
const predicting = (states: Tensor, positions: Tensor, blockSize: number | undefined): Tensor => {
  const [rows, length] = positions.shape as [number, number]
  const noisy = sliceAxis(states, 1, 0, length)
  if (blockSize === undefined) return noisy
  const next = add(positions, constant(1, "i32"))
  const endsBlock = equal(mul(div(next, constant(blockSize, "i32")), constant(blockSize, "i32")), next)
  return select(reshape(endsBlock, [rows, length, 1]), sliceAxis(states, 1, length, 2 * length), noisy)
}

export interface HalvesOptions extends Pick<ForwardOptions, "checkpointLayers">, Places {
  /** False where the state at a token itself predicts it, which the noisy half's then is everywhere. Default true. */
  readonly tokenShift?: boolean
}

/**
 * noisy and clean: i32 [B, L] with masks and without. The states of the pass as of rows of L tokens, [B, L, d] each: at each place the state that a token is predicted from. Router logits are those of
 * both halves, in the order of the rows of 2 L tokens. A layer that goes from left to right would read the clean half behind the noisy one: models that have any are refused.
 */
export const halvesForward = (
  config: ModelConfig,
  weights: ModelWeights,
  { clean, noisy }: { readonly noisy: Tensor; readonly clean: Tensor },
  { positions, segmentIds, tokenShift = true, ...options }: HalvesOptions
): Forward => {
  const { attentionBlockSize: blockSize } = config
  if (isHybrid(config))
    throw new TensorError(
      "halvesForward",
      "the model has recurrent layers, which cannot read a noisy and a clean half in one pass",
      halvesForward
    )
  const { final, hiddenStates, routerLogits } = forward(config, weights, concat([noisy, clean], 1), {
    ...options,
    causal: false,
    segmentIds: twice(segmentIds),
    positions: twice(positions),
    mask: halvesMask({ positions, segmentIds }, blockSize, weights.head.dtype)
  })
  const own = (states: Tensor): Tensor => {
    if (tokenShift) return predicting(states, positions, blockSize)
    return sliceAxis(states, 1, 0, positions.shape[1]!)
  }
  return { hiddenStates: hiddenStates.map(own), final: own(final), routerLogits }
}
