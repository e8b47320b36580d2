/** Parameters of a stage that chooses a method by one of them: every method has fields of its own, and takes no other's. */
import { type Effect, Schema, SchemaAST, type SchemaIssue, SchemaParser, SchemaTransformation } from "effect"
import { decodeRefusing, type Refusal } from "./refusing.ts"

type Fields = { readonly [field: string]: unknown }

/** The parameters of each method; functions, so that a process which runs one method has no need of the others. */
type Methods = { readonly [method: string]: () => Schema.Codec<object, object> }

type Parameters<M extends Methods> = ReturnType<M[keyof M]>

/**
 * The parameters of the method that the field `by` names, by default `otherwise`. What is encoded holds the fields of this method alone; a field of another is
 * an error that says whose it is.
 */
export const byMethod = <M extends Methods>(
  by: string,
  otherwise: keyof M & string,
  methods: M
): Schema.Codec<Parameters<M>["Type"], Parameters<M>["Encoded"]> => {
  const names = Object.keys(methods)
  const nameIn = (fields: Fields): unknown => (fields[by] === undefined ? otherwise : fields[by])
  const chosen = (fields: Fields): Schema.Codec<object, object> | undefined => {
    const name = nameIn(fields)
    return typeof name === "string" && Object.hasOwn(methods, name) ? methods[name]!() : undefined
  }
  const foreign = (fields: Fields, known: ReadonlyArray<string>): ReadonlyArray<Refusal> =>
    Object.keys(fields).flatMap(field => {
      if (known.includes(field)) return []
      const owners = names.filter(name => fieldsOf(methods[name]!()).includes(field))
      if (owners.length === 0) return []
      const message = `belongs to the ${listed(owners)}, but ${by} is ${String(nameIn(fields))}; leave it out`
      return [{ path: [field], annotations: { message, foreign: true } }]
    })
  const Choice = Schema.Struct({ [by]: Schema.Literals(names) })
  return Schema.Record(Schema.String, Schema.Unknown).pipe(
    Schema.decodeTo(
      Schema.Unknown,
      SchemaTransformation.transformEffect<unknown, Fields>({
        decode: (fields, options): Effect.Effect<unknown, SchemaIssue.Issue> => {
          const own = chosen(fields)
          return own === undefined
            ? SchemaParser.decodeUnknownEffect(Choice)(fields, { ...options, onExcessProperty: "ignore" })
            : decodeRefusing(own, foreign(fields, fieldsOf(own)), fields, options)
        },
        encode: (value, options) =>
          SchemaParser.encodeUnknownEffect(chosen(value as Fields) ?? Choice)(value, options) as Effect.Effect<
            Fields,
            SchemaIssue.Issue
          >
      })
    )
  ) as never
}

/** Names of a schema's fields, as they are written. */
export const fieldsOf = (schema: Schema.Constraint): ReadonlyArray<string> => {
  const ast = SchemaAST.toEncoded(schema.ast)
  return ast._tag === "Objects" ? ast.propertySignatures.map(({ name }) => String(name)) : []
}

const listed = (names: ReadonlyArray<string>): string =>
  names.length === 1 ? `method ${names[0]}` : `methods ${names.slice(0, -1).join(", ")} and ${names.at(-1)}`
