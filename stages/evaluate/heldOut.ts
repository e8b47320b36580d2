/** Held-out documents, as stages choose and measure them. */
import { Effect, Schema, Stream } from "effect"
import { sequencesOfRecords } from "../../src/artifacts/sequences.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import { predictedBytes } from "../../src/evaluation/bytes.ts"
import type { Evaluated } from "../../src/evaluation/maskDraws.ts"
import type { DocumentNats } from "../../src/evaluation/results.ts"
import { evenly } from "../../src/evaluation/selection.ts"
import type { ChunkReader } from "../../src/pipeline/StageContext.ts"
import type { Sequence } from "../../src/tokens/sequences.ts"
import type { Tokenizer } from "../../src/tokens/tokenizer.ts"

/** A number of them, or `all`. */
export const HowMany = Schema.Union([Schema.Literal("all"), PositiveInt])
type HowMany = typeof HowMany.Type

export const limit = (most: HowMany): number => (most === "all" ? Infinity : most)

/** Which held-out text a likelihood is of. What is compared must be measured on the same. */
export const heldOutFields = {
  /** How many held-out documents are measured, at even distances, or `all` */
  documents: setting(HowMany, "all"),
  /** How many sequences of each held-out document are measured, from its beginning on, or `all` */
  sequencesPerDocument: setting(HowMany, "all"),
  /** Rows of a pass */
  rows: setting(PositiveInt, 8)
} as const

/** The sequences of each of some documents, at even distances. */
export const heldOutDocuments = (set: ChunkReader<unknown>, documents: HowMany) =>
  Effect.map(Stream.runCollect(sequencesOfRecords(set)), all => evenly(Array.from(all), limit(documents)))

/** The text that a likelihood is of: the sequences of each document. */
export const measuredText = (
  set: ChunkReader<unknown>,
  { documents, sequencesPerDocument }: { readonly documents: HowMany; readonly sequencesPerDocument: HowMany }
) => Effect.map(heldOutDocuments(set, documents), all => all.map(each => each.slice(0, limit(sequencesPerDocument))))

export const evaluatedOf = ({ ids, lossMask }: Sequence): Evaluated => ({ ids, maskable: lossMask })

/** Documents by the nats of their sequences, with the bytes that their tokens stand for. */
export const documentNats = (
  documents: ReadonlyArray<ReadonlyArray<Sequence>>,
  sequences: ReadonlyArray<{ readonly nats: number; readonly tokens: number }>,
  tokenizer: Pick<Tokenizer, "decode">
): ReadonlyArray<DocumentNats> => {
  let at = 0
  return documents.map(own => {
    const parts = sequences.slice(at, (at += own.length))
    return {
      nats: parts.reduce((sum, { nats }) => sum + nats, 0),
      tokens: parts.reduce((sum, { tokens }) => sum + tokens, 0),
      bytes: predictedBytes(own, tokenizer, (place, supervised) => place > 0 && supervised)
    }
  })
}
