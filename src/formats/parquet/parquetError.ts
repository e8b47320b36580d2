/** What is wrong with a Parquet file, and where in it. */
import { Effect, Schema } from "effect"
import { printable } from "../printable.ts"

/** A Parquet file that is damaged, or uses something we cannot read. Trying again changes nothing. */
export class ParquetError extends Schema.TaggedError<ParquetError>()("ParquetError", {
  class: Schema.tag("permanent"),
  file: Schema.String,
  /** Counted from 0. */
  rowGroup: Schema.optionalKey(Schema.Int),
  column: Schema.optionalKey(Schema.String),
  /** In bytes from the start of the file. */
  offset: Schema.optionalKey(Schema.Int),
  message: Schema.String
}) {}

/** The part of a file that is being looked at. */
export interface Place {
  readonly file: string
  readonly rowGroup?: number
  readonly column?: string
}

/** Thrown by the synchronous checks; never leaves this folder. `offset` is relative to what the check was given. */
export class Damage extends Error {
  readonly offset: number | undefined

  constructor(what: string, offset?: number) {
    super(what)
    this.offset = offset
  }
}

/** Names and numbers from the file may be part of `what`: it is made fit to be shown. */
export const parquetError = (place: Place, what: string, offset?: number): ParquetError => {
  const where = [
    ...(place.rowGroup === undefined ? [] : [`row group ${place.rowGroup}`]),
    ...(place.column === undefined ? [] : [`column "${printable(place.column)}"`]),
    ...(offset === undefined ? [] : [`byte ${offset}`])
  ]
  return new ParquetError({
    class: "permanent",
    file: place.file,
    ...(place.rowGroup === undefined ? {} : { rowGroup: place.rowGroup }),
    ...(place.column === undefined ? {} : { column: place.column }),
    ...(offset === undefined ? {} : { offset }),
    message: `${place.file}: ${where.length === 0 ? "" : `${where.join(", ")}: `}${printable(what)}`
  })
}

/** An exception as an error with its place; `base` is where the offsets of `Damage` count from. */
export const fromThrown = (place: Place, base: number, thrown: unknown): ParquetError => {
  if (thrown instanceof Damage) {
    return parquetError(place, thrown.message, thrown.offset === undefined ? undefined : base + thrown.offset)
  }
  const what = thrown instanceof Error ? thrown.message : String(thrown)
  return parquetError(place, `the bytes cannot be decoded (${what}); is the file complete and undamaged?`)
}

/** Runs code that throws on bad bytes. */
export const guarded = <A>(place: Place, base: number, evaluate: () => A): Effect.Effect<A, ParquetError> =>
  Effect.try({ try: evaluate, catch: thrown => fromThrown(place, base, thrown) })

export const guardedPromise = <A>(place: Place, evaluate: () => Promise<A>): Effect.Effect<A, ParquetError> =>
  Effect.tryPromise({ try: evaluate, catch: thrown => fromThrown(place, 0, thrown) })
