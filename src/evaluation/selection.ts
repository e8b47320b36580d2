/** Which of the held-out sequences are measured, asked and judged. All choices are spread over the whole, and the same for every model. */
import type { Sequence } from "../tokens/sequences.ts"

/** `n` items at even distances, or all where there are fewer. */
export const evenly = <A>(items: ReadonlyArray<A>, n: number): ReadonlyArray<A> =>
  items.length <= n ? items : Array.from({ length: n }, (_, i) => items[Math.floor(((i + 0.5) * items.length) / n)]!)

/**
 * Sequences of at least `length` tokens whose beginnings are prompts: the first of documents as long as there are enough of them, then
 * later ones as well.
 */
export const promptSequences = (
  sequences: ReadonlyArray<Sequence>,
  { length, prompts }: { readonly prompts: number; readonly length: number }
): ReadonlyArray<Sequence> => {
  const long = sequences.filter(({ ids }) => ids.length >= length)
  const beginnings = long.filter(({ chunk }) => chunk === 0)
  if (beginnings.length >= prompts) return evenly(beginnings, prompts)
  return long.toSorted((a, b) => a.chunk - b.chunk || a.document - b.document).slice(0, prompts)
}

/**
 * What the n-gram judge learns from: the corpus, and the held-out documents that give no prompt. Sequences of documents that do are left out wherever they
 * stand, so that no true continuation is among them.
 */
export const judgeSequences = (
  corpus: ReadonlyArray<Sequence>,
  heldOut: ReadonlyArray<Sequence>,
  prompts: ReadonlyArray<Sequence>
): ReadonlyArray<Int32Array> => {
  const documents = new Set(prompts.map(({ document }) => document))
  const text = (ids: Int32Array): string => ids.join(" ")
  const judged = new Set(heldOut.filter(({ document }) => documents.has(document)).map(({ ids }) => text(ids)))
  return [...corpus, ...heldOut].map(({ ids }) => ids).filter(ids => !judged.has(text(ids)))
}
