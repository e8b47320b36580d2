/** Responses and their prompts: what a teacher is asked about. */
import { anchorKey } from "../anchors/anchors.ts"
import { randomKey, type RandomKey } from "../../../tensor/random.ts"
import type { SequenceContent } from "../../../tokens/sequences.ts"

export interface Response {
  readonly ids: Int32Array
  /** Tokens before the response; at least 1, since nothing predicts a first token. */
  readonly promptLength: number
  /** The number that the record gave itself. */
  readonly idx?: number
}

/** The response of each sequence that has one: what is learnt, or of a text that is learnt from its beginning what follows a share of it. */
export const responsesOf = (sequences: ReadonlyArray<SequenceContent>, contextRatio: number): ReadonlyArray<Response> =>
  sequences
    .map(({ idx, ids, lossMask }): Response => ({
      ids,
      promptLength: promptOf(lossMask, contextRatio),
      ...(idx === undefined ? {} : { idx })
    }))
    .filter(({ ids, promptLength }) => promptLength < ids.length)

/** Tokens of the prompt: those before the first that is learnt, or a share of a text that is learnt from its beginning. */
const promptOf = (lossMask: ArrayLike<number>, contextRatio: number): number => {
  const first = Array.from(lossMask).indexOf(1)
  return first > 0 ? first : Math.max(1, Math.floor(contextRatio * lossMask.length))
}

/** A response as items of a chunk set are keyed by it; `ids`: those that the item depends on. */
export const materialOf = ({ idx, promptLength }: Response, ids: ArrayLike<number>): string =>
  `${anchorKey(ids)} ${promptLength}${idx === undefined ? "" : ` ${idx}`}`

/** A key of random numbers that belongs to some ids: the same wherever they stand in a corpus. */
export const keyOfIds = (seed: number, purpose: string, ids: ArrayLike<number>): RandomKey => {
  const key = anchorKey(ids)
  return randomKey(seed, purpose, Number.parseInt(key.slice(0, 8), 16), Number.parseInt(key.slice(8), 16))
}
