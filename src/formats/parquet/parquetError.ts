/** What is wrong with a Parquet file, and where in it. */
import { Schema } from "effect"
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

/** Names and numbers from the file may be part of `what`: it is made fit to be shown. */
export const parquetError = (place: Place, what: string, offset?: number): ParquetError => {
  const where = [
    ...(place.rowGroup === undefined ? [] : [`row group ${place.rowGroup}`]),
    ...(place.column === undefined ? [] : [`column "${printable(place.column)}"`]),
    ...(offset === undefined ? [] : [`byte ${offset}`])
  ]
  return new ParquetError({
    class: "permanent",
    ...place,
    ...(offset === undefined ? {} : { offset }),
    message: `${place.file}: ${where.length === 0 ? "" : `${where.join(", ")}: `}${printable(what)}`
  })
}
