/** Lists as the field's configuration files write them, `"7,14,21,28"`, or as lists. */
import { Schema, SchemaTransformation } from "effect"

const entries = (text: string): ReadonlyArray<string> =>
  text
    .split(",")
    .map(entry => entry.trim())
    .filter(entry => entry !== "")

/** Texts; an empty text is the empty list. */
export const TextList = Schema.Union([Schema.Array(Schema.String), Schema.String]).pipe(
  Schema.decodeTo(
    Schema.Array(Schema.String),
    SchemaTransformation.transform({
      decode: value => (typeof value === "string" ? entries(value) : value),
      encode: list => list
    })
  )
)

/** Numbers that satisfy `item`. */
export const numberList = (item: Schema.Codec<number>) =>
  Schema.Union([Schema.Array(Schema.Number), Schema.String]).pipe(
    Schema.decodeTo(
      Schema.Array(item),
      SchemaTransformation.transform({
        decode: value => (typeof value === "string" ? entries(value).map(Number) : value),
        encode: list => list
      })
    )
  )
