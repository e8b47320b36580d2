/** Held-out documents, as stages choose and measure them. */
import { Effect, Schema, Stream } from "effect"
import { sequencesOfRecords } from "../../src/artifacts/sequences.ts"
import { PositiveInt } from "../../src/config/setting.ts"
import { evenly } from "../../src/evaluation/selection.ts"
import type { ChunkReader } from "../../src/pipeline/StageContext.ts"

/** A number of them, or `all`. */
export const HowMany = Schema.Union([Schema.Literal("all"), PositiveInt])
type HowMany = typeof HowMany.Type

export const limit = (most: HowMany): number => (most === "all" ? Infinity : most)

/** The sequences of each of some documents, at even distances. */
export const heldOutDocuments = (set: ChunkReader<unknown>, documents: HowMany) =>
  Effect.map(Stream.runCollect(sequencesOfRecords(set)), all => evenly(Array.from(all), limit(documents)))
