/** Means over held-out text, and their parts: what each sequence or document adds to them. */
import { Schema } from "effect"

/** A part of a mean: a sum (of nats, say), and over how much (tokens). */
export const Part = Schema.Struct({ sum: Schema.Finite, weight: Schema.Finite })
export type Part = typeof Part.Type

/** Of all parts together: their sums over their weights. */
export const ratio = (parts: ReadonlyArray<Part>): number => {
  const { sum, weight } = together(parts)
  return sum / weight
}

/** Parts as one. */
export const together = (parts: ReadonlyArray<Part>): Part => {
  let [sum, weight] = [0, 0]
  for (const part of parts) {
    sum += part.sum
    weight += part.weight
  }
  return { sum, weight }
}

/** A mean, and the parts of the held-out documents, in their order: what intervals and paired comparisons work on. */
export const Mean = Schema.Struct({ value: Schema.Finite, documents: Schema.Array(Part) })
export type Mean = typeof Mean.Type

/** Parts of sequences as those of the documents that have these sequences, in order. */
export const byDocument = (
  documents: ReadonlyArray<ReadonlyArray<unknown>>,
  sequences: ReadonlyArray<Part>
): ReadonlyArray<Part> => {
  let at = 0
  return documents.map(own => together(sequences.slice(at, (at += own.length))))
}

/** The mean over documents, by the parts of their sequences. */
export const meanOf = (documents: ReadonlyArray<ReadonlyArray<unknown>>, sequences: ReadonlyArray<Part>): Mean => ({
  value: ratio(sequences),
  documents: byDocument(documents, sequences)
})
