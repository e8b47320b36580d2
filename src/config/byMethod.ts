/** Parameters of a stage that chooses a method by one of them: every method has fields of its own, and takes no other's. */
import { type Effect, Schema, SchemaAST, type SchemaIssue, SchemaParser, SchemaTransformation } from "effect"
import { decodeRefusing, type Refusal } from "./refusing.ts"

type Fields = { readonly [field: string]: unknown }

/** The parameters of each method; functions, so that a process which runs one method has no need of the others. */
export type Methods = { readonly [method: string]: () => Schema.Codec<object, object> }

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
  const refused = (fields: Fields, name: string): ReadonlyArray<Refusal> =>
    foreignIn(methods, name, fields).map(({ owners, path }) => ({
      path,
      annotations: { message: `belongs to the ${listed(owners)}, but ${by} is ${name}; leave it out`, foreign: true }
    }))
  const known = new Map<string, Schema.Codec<object, object>>()
  const chosen = (fields: Fields) => {
    const name = nameIn(fields)
    if (typeof name !== "string" || !Object.hasOwn(methods, name)) return undefined
    const own = known.get(name) ?? methods[name]!()
    known.set(name, own)
    return { name, own }
  }
  const Choice = Schema.Struct({ [by]: Schema.Literals(names) })
  return Schema.Record(Schema.String, Schema.Unknown).pipe(
    Schema.decodeTo(
      Schema.Unknown,
      SchemaTransformation.transformEffect<unknown, Fields>({
        decode: (fields, options): Effect.Effect<unknown, SchemaIssue.Issue> => {
          const choice = chosen(fields)
          return choice === undefined
            ? SchemaParser.decodeUnknownEffect(Choice)(fields, { ...options, onExcessProperty: "ignore" })
            : decodeRefusing(choice.own, refused(fields, choice.name), fields, options)
        },
        encode: (value, options) =>
          SchemaParser.encodeUnknownEffect(chosen(value as Fields)?.own ?? Choice)(value, options) as Effect.Effect<
            Fields,
            SchemaIssue.Issue
          >
      })
    )
  ) as never
}

/** A field that is there, but of other methods. */
export interface Foreign {
  readonly path: ReadonlyArray<string>
  readonly owners: ReadonlyArray<string>
}

/** The fields of a record, and of groups in it, that other methods have and this one does not. Other methods are looked at only where there may be one. */
export const foreignIn = (methods: Methods, method: string, fields: Fields): ReadonlyArray<Foreign> => {
  const others = Object.keys(methods).filter(name => name !== method)
  const below = (
    value: Fields,
    path: ReadonlyArray<string>,
    own: Tree,
    trees: () => ReadonlyArray<readonly [name: string, tree: Tree]>
  ): ReadonlyArray<Foreign> =>
    Object.entries(value).flatMap(([field, inner]) => {
      const at = [...path, field]
      const within = own.get(field)
      if (within === undefined) {
        const owners = trees().flatMap(([name, tree]) => (tree.has(field) ? [name] : []))
        return owners.length === 0 ? [] : [{ path: at, owners }]
      }
      if (within.size === 0 || typeof inner !== "object" || inner === null) return []
      const groups = () =>
        trees().flatMap(([name, tree]) => {
          const group = tree.get(field)
          return group === undefined ? [] : [[name, group] as const]
        })
      return below(inner as Fields, at, within, groups)
    })
  return below(fields, [], treeOf(methods[method]!().ast), () =>
    others.map(name => [name, treeOf(methods[name]!().ast)] as const)
  )
}

/** Names of fields as they are written, and of groups those of their fields. */
type Tree = ReadonlyMap<string, Tree>

const treeOf = (ast: SchemaAST.AST): Tree => {
  const encoded = SchemaAST.toEncoded(ast)
  return new Map(
    encoded._tag === "Objects" ? encoded.propertySignatures.map(({ name, type }) => [String(name), treeOf(type)]) : []
  )
}

/** Names of a schema's fields, as they are written. */
export const fieldsOf = (schema: Schema.Constraint): ReadonlyArray<string> => [...treeOf(schema.ast).keys()]

const listed = (names: ReadonlyArray<string>): string =>
  names.length === 1 ? `method ${names[0]}` : `methods ${names.slice(0, -1).join(", ")} and ${names.at(-1)}`
