/** The footer of a Parquet file, with all of it checked that later reads rely on. */
import { type CompressionCodec, type FileMetaData, parquetMetadata, parquetSchema, type SchemaTree } from "hyparquet"
import { isSupported } from "./codecs.ts"
import { Damage, integer } from "./damage.ts"

/** The values of a leaf of the schema in a row group, and where they are. */
export interface Chunk {
  /** The top-level column that the leaf belongs to. */
  readonly column: string
  /** Whether a row can have several of its values: there is a list around it. */
  readonly repeated: boolean
  /** The leaf is the column itself. */
  readonly top: boolean
  /** Texts must be UTF-8. */
  readonly text: boolean
  readonly codec: CompressionCodec
  readonly valueCount: number
  /** In bytes from the start of the file; `end` is exclusive. */
  readonly start: number
  readonly end: number
}

export interface RowGroup {
  readonly rowCount: number
  readonly chunks: ReadonlyArray<Chunk>
}

/** What is in a file, and where. */
export interface Shape {
  readonly rowCount: number
  /** Names of the top-level columns, in the file's order. */
  readonly columns: ReadonlyArray<string>
  readonly groups: ReadonlyArray<RowGroup>
}

export interface Footer {
  readonly shape: Shape
  /** As hyparquet has it, to decode by. */
  readonly metadata: FileMetaData
}

/** The most values of a column that we take from one row group, and rows from a row group: more would not fit into memory. */
const maxValues = 2 ** 27

/** `bytes` are the footer and the eight bytes behind it; `dataEnd` is where it begins. Throws `Damage`. */
export const parseFooter = (bytes: Uint8Array<ArrayBuffer>, dataEnd: number): Footer => {
  const metadata = parseMetadata(bytes, dataEnd)
  const tree = parquetSchema(metadata)
  if (tree.count !== metadata.schema.length) throw new Damage("the schema is damaged: it does not form one tree")
  const leaves = tree.children.flatMap(child => leavesOf([child]))
  const columns = tree.children.map(child => child.element.name)
  if (new Set(columns).size !== columns.length) throw new Damage("two columns have the same name")
  const rowCount = integer(metadata.num_rows, Number.MAX_SAFE_INTEGER, "the number of rows")
  const groups = metadata.row_groups.map((group, index): RowGroup => {
    const within = `row group ${index}`
    const rows = integer(group.num_rows, maxValues, `the number of rows of ${within}`)
    if (group.columns.length !== leaves.length) {
      throw new Damage(`${within} has ${group.columns.length} columns, the schema ${leaves.length}`)
    }
    const chunks = leaves.map((path, i): Chunk => {
      const { element, path: names } = path.at(-1)!
      const which = `column "${names.join(".")}" of ${within}`
      const { file_path, meta_data } = group.columns[i]!
      if (meta_data === undefined) throw new Damage(`${which} is not described, or encrypted`)
      if (file_path !== undefined) throw new Damage(`${which} is in another file, which is not supported`)
      if (meta_data.path_in_schema.join("\0") !== names.join("\0"))
        throw new Damage(`${which} is called "${meta_data.path_in_schema.join(".")}"`)
      if (meta_data.type !== element.type) throw new Damage(`${which} has another type than the schema`)
      if (!isSupported(meta_data.codec))
        throw new Damage(`${which} is compressed with ${meta_data.codec}, which is not supported`)
      const repeated = path.some(node => node.element.repetition_type === "REPEATED")
      const valueCount = integer(meta_data.num_values, maxValues, `the number of values of ${which}`)
      if (!repeated && valueCount !== rows) throw new Damage(`${which} has ${valueCount} values for ${rows} rows`)
      const begin = meta_data.dictionary_page_offset || meta_data.data_page_offset
      const start = integer(begin, dataEnd, `the start of ${which}`)
      const size = integer(meta_data.total_compressed_size, dataEnd - start, `the size of ${which}`)
      const { converted_type: converted, logical_type: logical } = element
      return {
        column: names[0]!,
        repeated,
        top: names.length === 1,
        text: converted === "UTF8" || converted === "ENUM" || logical?.type === "STRING",
        codec: meta_data.codec,
        valueCount,
        start,
        end: start + size
      }
    })
    return { rowCount: rows, chunks }
  })
  const sum = groups.reduce((rows, group) => rows + group.rowCount, 0)
  if (sum !== rowCount)
    throw new Damage(`the row groups have ${sum} rows together, the file is said to have ${rowCount}`)
  return { metadata, shape: { rowCount, columns, groups } }
}

const parseMetadata = (bytes: Uint8Array<ArrayBuffer>, start: number): FileMetaData => {
  try {
    return parquetMetadata(bytes, { geoparquet: false })
  } catch (error) {
    throw new Damage(`the footer is damaged: it is not the description of a file (${String(error)})`, start)
  }
}

/** The leaves below the last node of a path, each with the nodes from the top-level column down to it. */
const leavesOf = (path: ReadonlyArray<SchemaTree>): ReadonlyArray<ReadonlyArray<SchemaTree>> => {
  const { children, element } = path.at(-1)!
  // The decoder makes objects by assignment, which would lose this one.
  if (element.name === "__proto__") throw new Damage(`a column is called "__proto__", which is not supported`)
  if (typeof element.name !== "string" || element.repetition_type === undefined)
    throw new Damage(`the schema is damaged at column "${element.name}"`)
  if (children.length > 0) return children.flatMap(child => leavesOf([...path, child]))
  if (element.type === undefined) throw new Damage(`column "${element.name}" has no known type`)
  return [path]
}
