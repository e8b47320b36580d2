/** Names of fields at the border: `maskRatio` in the program, `mask_ratio` in configuration files, as the field's own files have it. */
import { Schema, SchemaTransformation } from "effect"

/** `reprAlignWt` -> `repr_align_wt`. */
export type SnakeCase<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? First extends Lowercase<First>
    ? `${First}${SnakeCase<Rest>}`
    : `_${Lowercase<First>}${SnakeCase<Rest>}`
  : ""

export const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)

/** Fields under the names that they have in files. */
export type SnakeFields<Fields extends Schema.Struct.Fields, Renamed> = {
  readonly [
    Name in keyof Fields as Name extends keyof Renamed
      ? Renamed[Name] & string
      : Name extends string
        ? SnakeCase<Name>
        : never
  ]: Fields[Name]
}

/** Names without a rule of their own: the file's name of some fields. */
type Renames<Fields> = { readonly [Name in keyof Fields]?: string }

/** The same record, written with its fields in snake case, or as `renamed` says. Errors name fields as they are written. */
export const snakeKeys = <Fields extends Schema.Struct.Fields, const Renamed extends Renames<Fields> = {}>(
  struct: Schema.Struct<Fields>,
  renamed: Renamed = {} as Renamed
): Schema.Codec<Schema.Struct<Fields>["Type"], Schema.Struct<SnakeFields<Fields, Renamed>>["Encoded"]> => {
  const written = Object.keys(struct.fields).map(
    name => [name, (renamed as { readonly [name: string]: string })[name] ?? snakeCase(name)] as const
  )
  const toFile = new Map(written)
  const fromFile = new Map(written.map(([name, file]) => [file, name]))
  const rename = (names: ReadonlyMap<string, string>) => (record: object) =>
    Object.fromEntries(Object.entries(record).map(([name, value]) => [names.get(name) ?? name, value as unknown]))
  const inFile = Schema.Struct(
    Object.fromEntries(written.map(([name, file]) => [file, struct.fields[name]!]))
  ) as unknown as Schema.Codec<{ readonly [name: string]: unknown }, { readonly [name: string]: unknown }>
  const type = Schema.toType(struct) as unknown as Schema.Codec<{ readonly [name: string]: unknown }>
  return inFile.pipe(
    Schema.decodeTo(type, SchemaTransformation.transform({ decode: rename(fromFile), encode: rename(toFile) }))
  ) as never
}
