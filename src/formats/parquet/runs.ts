/**
 * Checks the encodings of numbers within pages (levels, dictionary indices, lengths) without unpacking them into arrays: a
 * damaged run length must not make a decoder write billions of values.
 * https://parquet.apache.org/docs/file-format/data-pages/encodings/
 */
import { Damage } from "./parquetError.ts"

/** Writers fill the last bit-packed run up to whole groups; no writer is known to add more than this many values. */
const padding = 512

/** The decoder gets wider numbers wrong: a dictionary with that many entries is not a dictionary. */
const widest = 24

/** Bits needed for numbers up to `max`. */
export const bitWidth = (max: number): number => 32 - Math.clz32(max)

/**
 * Checks `count` numbers of `width` bits in runs (RLE / bit-packing hybrid) between `start` and `end`, none of which may
 * exceed `max`. Returns how many of them are 0, and how many are `max`.
 */
export const checkRuns = (
  page: Uint8Array,
  start: number,
  end: number,
  width: number,
  count: number,
  max: number,
  what: string
): { readonly zeros: number; readonly maxima: number } => {
  if (width > widest) throw new Damage(`${what} are said to have ${width} bits`)
  let zeros = 0
  let maxima = 0
  const tally = (value: number, times: number) => {
    if (value > max) throw new Damage(`${what}: ${value} is larger than ${max}, the largest possible`)
    if (value === 0) zeros += times
    if (value === max) maxima += times
  }
  let seen = 0
  let at = start
  while (seen < count) {
    const run = varint(page, at, end, what)
    at = run.end
    const bitPacked = run.value % 2 === 1
    const length = bitPacked ? ((run.value - 1) / 2) * 8 : run.value / 2
    const used = Math.min(length, count - seen)
    if (length - used > (bitPacked ? padding : 0)) {
      throw new Damage(`${what}: a run of ${length} where ${count - seen} are left`)
    }
    // The decoder takes a byte for a bit-packed run that has none, and would then lose its place.
    if (bitPacked && (length === 0 || (width === 0 && used < count - seen))) throw new Damage(`${what}: an empty run`)
    const bytes = bitPacked ? (length / 8) * width : Math.ceil(width / 8)
    if (at + (bitPacked ? Math.ceil((used * width) / 8) : bytes) > end) throw new Damage(`${what} are cut off`)
    if (bitPacked) eachPacked(page, at, width, used, value => tally(value, 1))
    else tally(little(page, at, bytes), used)
    at += bytes
    seen += used
  }
  return { zeros, maxima }
}

const eachPacked = (page: Uint8Array, start: number, width: number, count: number, visit: (value: number) => void) => {
  for (let i = 0, bit = 0; i < count; i++, bit += width) {
    let value = 0
    for (let got = 0; got < width;) {
      const at = bit + got
      const take = Math.min(8 - (at & 7), width - got)
      value += ((page[start + (at >> 3)]! >> (at & 7)) & ((1 << take) - 1)) * 2 ** got
      got += take
    }
    visit(value)
  }
}

const little = (page: Uint8Array, at: number, size: number) => {
  let value = 0
  for (let i = 0; i < size; i++) value += page[at + i]! * 2 ** (8 * i)
  return value
}

const varint = (page: Uint8Array, start: number, end: number, what: string) => {
  let value = 0
  for (let i = 0; i < 5 && start + i < end; i++) {
    const byte = page[start + i]!
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return { value, end: start + i + 1 }
  }
  throw new Damage(`${what} are damaged`)
}

/** Checks that `count` numbers in DELTA_BINARY_PACKED start at `start`, and returns where they end. */
export const checkDeltas = (page: Uint8Array, start: number, count: number): number => {
  let at = start
  const number = (bytes: number) => {
    let value = 0
    for (let i = 0; i < bytes; i++) {
      const byte = page[at++]
      if (byte === undefined) break
      value += (byte & 0x7f) * 2 ** (7 * i)
      if (byte < 0x80) return value
    }
    throw new Damage("delta-encoded values are damaged")
  }
  const blockSize = number(5)
  const miniblocks = number(5)
  const total = number(5)
  number(10) // the first value
  const perMiniblock = blockSize / miniblocks
  if (total !== count || miniblocks === 0 || blockSize > 2 ** 20 || perMiniblock % 32 !== 0 || perMiniblock === 0) {
    throw new Damage(
      `delta-encoded values are damaged: ${total} values in blocks of ${blockSize} / ${miniblocks}, expected ${count}`
    )
  }
  for (let seen = 1; seen < count;) {
    number(10) // the smallest delta of the block
    const widths = page.subarray(at, at + miniblocks)
    at += miniblocks
    if (at > page.length) throw new Damage("delta-encoded values are cut off")
    for (const width of widths) {
      if (seen >= count) break
      if (width > 64) throw new Damage(`delta-encoded values are said to have ${width} bits`)
      at += (perMiniblock / 8) * width
      seen += perMiniblock
    }
    if (at > page.length) throw new Damage("delta-encoded values are cut off")
  }
  return at
}
