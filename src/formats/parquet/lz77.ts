/**
 * The two raw formats that Node has no decompressor for: Snappy and LZ4 blocks. Written here because the decoders at hand
 * trust the lengths in the data: on damaged pages they loop, hand out stale memory, or return zeros where bytes are missing.
 */
import { Damage } from "./parquetError.ts"

/** Output under construction: literals, and copies of what came before. All writes are checked. */
class Window {
  readonly bytes: Uint8Array
  readonly format: string
  end = 0

  constructor(length: number, format: string) {
    this.bytes = new Uint8Array(length)
    this.format = format
  }

  literal(input: Uint8Array, at: number, size: number) {
    if (size > input.length - at || size > this.bytes.length - this.end) throw this.damage(at)
    this.bytes.set(input.subarray(at, at + size), this.end)
    this.end += size
  }

  copy(distance: number, size: number, at: number) {
    const { bytes, end } = this
    if (distance === 0 || distance > end || size > bytes.length - end) throw this.damage(at)
    const from = end - distance
    if (distance >= size) bytes.copyWithin(end, from, from + size)
    else for (let i = 0; i < size; i++) bytes[end + i] = bytes[from + i]!
    this.end += size
  }

  finish(): Uint8Array {
    if (this.end === this.bytes.length) return this.bytes
    throw new Damage(`a page's ${this.format} data end after ${this.end} of ${this.bytes.length} bytes`)
  }

  damage(at: number) {
    return new Damage(`a page's ${this.format} data are damaged at their byte ${at}`)
  }
}

const littleEndian = (input: Uint8Array, at: number, size: number): number => {
  let value = 0
  for (let i = 0; i < size; i++) value += (input[at + i] ?? 0) * 2 ** (8 * i)
  return value
}

/** https://github.com/google/snappy/blob/main/format_description.txt */
export const snappy = (input: Uint8Array, length: number): Uint8Array => {
  const window = new Window(length, "Snappy")
  let at = 0
  let announced = 0
  for (let shift = 0; ; shift += 7) {
    const byte = input[at++]
    if (byte === undefined || shift > 28) throw window.damage(0)
    announced += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) break
  }
  if (announced !== length) {
    throw new Damage(`a page's Snappy data announce ${announced} bytes, its header ${length}`)
  }
  while (at < input.length) {
    const tag = input[at]!
    const kind = tag & 3
    at++
    if (kind === 0) {
      const short = tag >> 2
      const more = short < 60 ? 0 : short - 59
      const size = (more === 0 ? short : littleEndian(input, at, more)) + 1
      at += more
      window.literal(input, at, size)
      at += size
    } else {
      const more = kind === 3 ? 4 : kind
      if (more > input.length - at) throw window.damage(at)
      const low = littleEndian(input, at, more)
      at += more
      if (kind === 1) window.copy((tag >> 5) * 256 + low, ((tag >> 2) & 7) + 4, at)
      else window.copy(low, (tag >> 2) + 1, at)
    }
  }
  return window.finish()
}

/** https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md */
export const lz4Block = (input: Uint8Array, length: number): Uint8Array => {
  const window = new Window(length, "LZ4")
  let at = 0
  const extended = (size: number) => {
    if (size < 15) return size
    for (;;) {
      const byte = input[at++]
      if (byte === undefined) throw window.damage(at)
      size += byte
      if (byte < 255) return size
    }
  }
  while (at < input.length) {
    const token = input[at++]!
    const size = extended(token >> 4)
    window.literal(input, at, size)
    at += size
    // The last sequence has literals only.
    if (at === input.length) break
    if (input.length - at < 2) throw window.damage(at)
    const distance = littleEndian(input, at, 2)
    at += 2
    window.copy(distance, extended(token & 15) + 4, at)
  }
  return window.finish()
}

/** Parquet's older codec LZ4: blocks framed as by Hadoop, or, in files of some writers, one bare block. */
export const lz4Framed = (input: Uint8Array, length: number): Uint8Array => {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength)
  const blocks: Array<{ readonly start: number; readonly end: number; readonly length: number }> = []
  let at = 0
  let total = 0
  while (at + 8 <= input.length) {
    const unpacked = view.getUint32(at)
    const packed = view.getUint32(at + 4)
    if (packed > input.length - at - 8) break
    blocks.push({ start: at + 8, end: at + 8 + packed, length: unpacked })
    at += 8 + packed
    total += unpacked
  }
  if (at !== input.length || total !== length) return lz4Block(input, length)
  const output = new Uint8Array(length)
  let end = 0
  for (const block of blocks) {
    output.set(lz4Block(input.subarray(block.start, block.end), block.length), end)
    end += block.length
  }
  return output
}
