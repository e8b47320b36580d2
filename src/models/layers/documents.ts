/** Where packed documents begin and end, for layers that go through a row token by token. */
import { add, constant, div, equal, iota, mul, pad, sliceAxis } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { MaskContext } from "./attention.ts"

/** No token's document: its number is neither a document's nor that of padding, -1. */
export const noDocument = -2

/** Whether the token `distance` places before belongs to the same document: segmentIds i32 [B, L] -> bool [B, L]. */
export const sameDocument = (segmentIds: Tensor, distance: number): Tensor => {
  const length = segmentIds.shape[1]!
  return equal(segmentIds, sliceAxis(pad(segmentIds, [0, distance], [0, 0], noDocument), 1, 0, length))
}

/**
 * The documents that a layer sees from right to left, i32 [B or 1, L]: those of the row, cut where a token must not see the next (a block's end). Undefined: a row is one
 * document of one block.
 */
export const blocksOfDocuments = (
  { blockSize, positions, segmentIds }: Omit<MaskContext, "causal">,
  length: number
): Tensor | undefined => {
  if (blockSize === undefined) return segmentIds
  const block = div(positions ?? iota("i32", [1, length], 1), constant(blockSize, "i32"))
  // A document of L tokens has at most L blocks.
  return segmentIds === undefined ? block : add(mul(segmentIds, length), block)
}
