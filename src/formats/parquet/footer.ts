/** Reads the footer of a Parquet file, and checks all of it that later reads rely on. */
import { Effect } from "effect"
import { type CompressionCodec, type FileMetaData, parquetMetadata, parquetSchema, type SchemaTree } from "hyparquet"
import type { RandomAccess } from "../randomAccess.ts"
import { codecs } from "./codecs.ts"
import { Damage, guarded, parquetError, type ParquetError, type Place } from "./parquetError.ts"
import { structEnd } from "./thrift.ts"

/** A column as it is stored: a leaf of the schema. */
export interface Leaf {
  readonly path: ReadonlyArray<string>
  /** From the root to the leaf. */
  readonly schemaPath: ReadonlyArray<SchemaTree>
  /** One value in each row, or none: no lists and structures around it. */
  readonly flat: boolean
  readonly maxRepetition: number
  readonly maxDefinition: number
}

/** The values of a leaf in a row group, and where they are. */
export interface Chunk {
  readonly leaf: Leaf
  readonly codec: CompressionCodec
  readonly valueCount: number
  /** In bytes from the start of the file; `end` is exclusive. */
  readonly start: number
  readonly end: number
}

export interface RowGroup {
  readonly index: number
  readonly rowCount: number
  readonly chunks: ReadonlyArray<Chunk>
}

export interface Footer {
  readonly metadata: FileMetaData
  readonly rowCount: number
  /** Names of the top-level columns, in the file's order. */
  readonly columns: ReadonlyArray<string>
  readonly groups: ReadonlyArray<RowGroup>
}

const magic = 0x31524150 // PAR1
const magicOfEncrypted = 0x45524150 // PARE

/** Usually enough for the whole footer, so that one read suffices. */
const firstRead = 64 * 1024

/** Far longer than a footer of 100,000 columns. */
const longestFooter = 2 ** 28

/** The most values of a column that we take from one row group, and rows from a row group: more would not fit into memory. */
const maxValues = 2 ** 27

export const readFooter = Effect.fnUntraced(function* <E>(
  file: RandomAccess<E>
): Effect.fn.Return<Footer, E | ParquetError> {
  const place: Place = { file: file.name }
  const size = yield* file.size
  if (size < 12) return yield* parquetError(place, `a Parquet file has at least 12 bytes, this one ${size}`)
  const tailStart = Math.max(0, size - firstRead)
  const tail = yield* file.read(tailStart, size)
  if (tail.length !== size - tailStart)
    return yield* parquetError(place, `the file ended at byte ${tailStart + tail.length}`)
  const ending = new DataView(tail.buffer, tail.byteOffset + tail.length - 8, 8)
  const found = ending.getUint32(4, true)
  if (found === magicOfEncrypted) return yield* parquetError(place, "the file is encrypted, which is not supported")
  if (found !== magic) {
    return yield* parquetError(place, `the last four bytes are not "PAR1": not a Parquet file, or cut off`, size - 4)
  }
  const length = ending.getUint32(0, true)
  if (length > size - 12) {
    return yield* parquetError(place, `the footer is said to have ${length} bytes, more than the file`, size - 8)
  }
  if (length > longestFooter)
    return yield* parquetError(
      place,
      `the footer is said to have ${length} bytes, more than ${longestFooter}`,
      size - 8
    )
  const start = size - 8 - length
  const footer = start >= tailStart ? tail.subarray(start - tailStart) : yield* file.read(start, size)
  const metadata = yield* guarded(place, start, () => parseMetadata(footer, length))
  return yield* guarded(place, 0, () => checkMetadata(metadata, start))
})

const parseMetadata = (footer: Uint8Array, length: number): FileMetaData => {
  const end = structEnd(footer.subarray(0, length), 0)
  if (end === undefined) throw new Damage("the footer is damaged: it ends within a structure", length)
  try {
    return parquetMetadata(footer, { geoparquet: false })
  } catch (error) {
    throw new Damage(`the footer is damaged: it is not the description of a file (${String(error)})`)
  }
}

/** The metadata's types promise more than a parser of damaged bytes can hold, so each value is looked at. */
const checkMetadata = (metadata: FileMetaData, dataEnd: number): Footer => {
  const tree = parquetSchema(metadata)
  if (tree.count !== metadata.schema.length) throw new Damage("the schema is damaged: it does not form one tree")
  const leaves: Array<Leaf> = []
  collectLeaves([tree], leaves)
  const columns = tree.children.map(child => child.element.name)
  if (new Set(columns).size !== columns.length) throw new Damage("two columns have the same name")
  const rowCount = count(metadata.num_rows, Number.MAX_SAFE_INTEGER, "the number of rows")
  const groups = metadata.row_groups.map((group, index): RowGroup => {
    const within = `row group ${index}`
    const rows = count(group.num_rows, maxValues, `the number of rows of ${within}`)
    if (group.columns.length !== leaves.length) {
      throw new Damage(`${within} has ${group.columns.length} columns, the schema ${leaves.length}`)
    }
    const chunks = leaves.map((leaf, i): Chunk => {
      const which = `column "${leaf.path.join(".")}" of ${within}`
      const { file_path, meta_data } = group.columns[i]!
      if (meta_data === undefined) throw new Damage(`${which} is not described, or encrypted`)
      if (file_path !== undefined) throw new Damage(`${which} is in another file, which is not supported`)
      if (meta_data.path_in_schema.join("\0") !== leaf.path.join("\0")) {
        throw new Damage(`${which} is called "${meta_data.path_in_schema.join(".")}"`)
      }
      if (meta_data.type !== leaf.schemaPath.at(-1)?.element.type)
        throw new Damage(`${which} has another type than the schema`)
      if (!codecs.includes(meta_data.codec))
        throw new Damage(`${which} is compressed with ${meta_data.codec}, which is not supported`)
      const valueCount = count(meta_data.num_values, maxValues, `the number of values of ${which}`)
      if (leaf.flat && valueCount !== rows) throw new Damage(`${which} has ${valueCount} values for ${rows} rows`)
      const start = count(
        meta_data.dictionary_page_offset || meta_data.data_page_offset,
        dataEnd,
        `the start of ${which}`
      )
      const size = count(meta_data.total_compressed_size, dataEnd - start, `the size of ${which}`)
      return { leaf, codec: meta_data.codec, valueCount, start, end: start + size }
    })
    return { index, rowCount: rows, chunks }
  })
  const sum = groups.reduce((rows, group) => rows + group.rowCount, 0)
  if (sum !== rowCount)
    throw new Damage(`the row groups have ${sum} rows together, the file is said to have ${rowCount}`)
  return { metadata, rowCount, columns, groups }
}

const deepest = 64

const collectLeaves = (schemaPath: ReadonlyArray<SchemaTree>, leaves: Array<Leaf>): void => {
  const node = schemaPath.at(-1)!
  const { name, num_children, repetition_type, type, type_length } = node.element
  if (schemaPath.length > deepest) throw new Damage("the schema is nested too deeply")
  if (typeof name !== "string") throw new Damage("the schema is damaged: a column has no name")
  if (schemaPath.length > 1) {
    if (name === "__proto__") throw new Damage(`a column is called "__proto__", which is not supported`)
    if (repetition_type === undefined) throw new Damage(`the schema is damaged at column "${name}"`)
  }
  if (num_children !== undefined && num_children > 0) {
    for (const child of node.children) collectLeaves([...schemaPath, child], leaves)
    return
  }
  if (schemaPath.length === 1) return
  if (type === undefined) throw new Damage(`column "${name}" has neither a known type nor columns below it`)
  if (type === "FIXED_LEN_BYTE_ARRAY") count(type_length, 2 ** 20, `the length of the values of column "${name}"`)
  const inner = schemaPath.slice(1)
  const maxRepetition = inner.filter(({ element }) => element.repetition_type === "REPEATED").length
  leaves.push({
    path: node.path,
    schemaPath,
    flat: inner.length === 1 && maxRepetition === 0,
    maxRepetition,
    maxDefinition: inner.filter(({ element }) => element.repetition_type !== "REQUIRED").length
  })
}

const count = (value: unknown, most: number, what: string): number => {
  const number = typeof value === "bigint" ? Number(value) : value
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0 && number <= most) return number
  const shown = typeof value === "bigint" || typeof value === "number" ? String(value) : "missing"
  throw new Damage(`${what} is ${shown}, which cannot be`)
}
