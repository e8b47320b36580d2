/** Reasons why fields are refused: said beside whatever else is wrong with the values. */
import { Effect, Schema, type SchemaAST, SchemaIssue, SchemaParser, SchemaTransformation } from "effect"

type Fields = { readonly [field: string]: unknown }

/** By the field, as it is written; groups of fields hold those of their own. */
export interface Reasons {
  readonly [field: string]: string | Reasons
}

/** A field that is there, and why it is refused. */
export interface Refusal {
  readonly path: ReadonlyArray<string>
  readonly annotations: Schema.Annotations.Issue
}

/** The same schema, which says of these fields why it does not take them. A stage is declared without: words are no part of its code. */
export const refusing = <S extends Schema.Codec<unknown, unknown>>(schema: S, reasons: Reasons) =>
  Schema.Record(Schema.String, Schema.Unknown).pipe(
    Schema.decodeTo(
      Schema.Unknown,
      SchemaTransformation.transformEffect<unknown, Fields>({
        decode: (value, options) =>
          decodeRefusing(
            schema,
            found(value, reasons).map(([path, reason]) => ({
              path,
              annotations: { message: `not supported: ${reason}` }
            })),
            value,
            options
          ),
        encode: (value, options) =>
          SchemaParser.encodeUnknownEffect(schema)(value, options) as Effect.Effect<Fields, SchemaIssue.Issue>
      })
    )
  ) as unknown as Schema.Codec<S["Type"], S["Encoded"]>

/** Decodes what is left when the refused fields are taken away; fails with all that is wrong. */
export const decodeRefusing = (
  schema: Schema.Codec<unknown, unknown>,
  refused: ReadonlyArray<Refusal>,
  value: unknown,
  options: SchemaAST.ParseOptions
): Effect.Effect<unknown, SchemaIssue.Issue> => {
  const decode = SchemaParser.decodeUnknownEffect(schema)
  const [first, ...others] = refused.map(
    ({ annotations, path }) => new SchemaIssue.Pointer(path, new SchemaIssue.InvalidValue(annotations, at(value, path)))
  )
  if (first === undefined) return decode(value, options)
  const failed = (more: ReadonlyArray<SchemaIssue.Issue>) =>
    Effect.fail(new SchemaIssue.Composite(schema.ast, [first, ...others, ...more], value, options))
  const rest = refused.reduce((left, { path }) => without(left, path), value)
  return Effect.matchEffect(decode(rest, options), {
    onSuccess: () => failed([]),
    onFailure: issue => failed([issue])
  })
}

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const found = (value: unknown, reasons: Reasons): ReadonlyArray<readonly [path: ReadonlyArray<string>, string]> =>
  !isFields(value)
    ? []
    : Object.keys(value).flatMap(field => {
        const reason = Object.hasOwn(reasons, field) ? reasons[field]! : undefined
        if (reason === undefined) return []
        if (typeof reason === "string") return [[[field], reason] as const]
        return found(value[field], reason).map(([path, below]) => [[field, ...path], below] as const)
      })

const at = (value: unknown, path: ReadonlyArray<string>): unknown =>
  path.reduce((below: unknown, field) => (isFields(below) ? below[field] : undefined), value)

const without = (value: unknown, [field, ...rest]: ReadonlyArray<string>): unknown => {
  if (!isFields(value) || field === undefined) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, below]) => {
      if (name !== field) return [[name, below] as const]
      return rest.length === 0 ? [] : [[name, without(below, rest)] as const]
    })
  )
}
