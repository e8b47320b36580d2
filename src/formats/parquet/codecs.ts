/** Decompresses pages: with what Node has, hyparquet's Snappy, and LZ4, which no package at hand decodes without trusting the lengths in the data. */
import { type CompressionCodec, type Compressors, snappyUncompress } from "hyparquet"
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib"
import { Damage } from "./damage.ts"

// Node's decompressors can be told where to stop; a limit of 0 is not accepted.
const stopAt = (length: number) => ({ maxOutputLength: Math.max(1, length) })

const snappy = (input: Uint8Array, length: number): Uint8Array => {
  const output = new Uint8Array(length)
  snappyUncompress(input, output)
  return output
}

/** https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md. Throws `Damage` unless exactly `length` bytes come out. */
export const lz4Block = (input: Uint8Array, length: number): Uint8Array => {
  const output = new Uint8Array(length)
  let at = 0
  let end = 0
  const damage = () => new Damage(`a page's LZ4 data are damaged at their byte ${at}`)
  const byte = () => {
    const value = input[at++]
    if (value === undefined) throw damage()
    return value
  }
  const extended = (size: number) => {
    if (size < 15) return size
    for (;;) {
      const more = byte()
      size += more
      if (more < 255) return size
    }
  }
  while (at < input.length) {
    const token = byte()
    const literals = extended(token >> 4)
    if (literals > input.length - at || literals > length - end) throw damage()
    output.set(input.subarray(at, at + literals), end)
    at += literals
    end += literals
    // The last sequence has literals only.
    if (at === input.length) break
    const distance = byte() + 256 * byte()
    const copied = extended(token & 15) + 4
    if (distance === 0 || distance > end || copied > length - end) throw damage()
    // What is copied may overlap what it makes.
    for (const stop = end + copied; end < stop; end++) output[end] = output[end - distance]!
  }
  if (end !== length) throw new Damage(`a page's LZ4 data end after ${end} of ${length} bytes`)
  return output
}

/** Parquet's older codec LZ4: blocks framed as by Hadoop, or, in files of some writers, one bare block. */
const lz4Framed = (input: Uint8Array, length: number): Uint8Array => {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength)
  const blocks: Array<readonly [packed: Uint8Array, length: number]> = []
  let at = 0
  while (at + 8 <= input.length && view.getUint32(at + 4) <= input.length - at - 8) {
    const end = at + 8 + view.getUint32(at + 4)
    blocks.push([input.subarray(at + 8, end), view.getUint32(at)])
    at = end
  }
  const total = blocks.reduce((sum, [, unpacked]) => sum + unpacked, 0)
  if (at !== input.length || total !== length) return lz4Block(input, length)
  return Buffer.concat(blocks.map(([packed, unpacked]) => lz4Block(packed, unpacked)))
}

/** hyparquet compares the length of what they return with the page's header. */
export const compressors: Compressors = {
  SNAPPY: snappy,
  GZIP: (input, length) => gunzipSync(input, stopAt(length)),
  BROTLI: (input, length) => brotliDecompressSync(input, stopAt(length)),
  ZSTD: (input, length) => zstdDecompressSync(input, stopAt(length)),
  LZ4: lz4Framed,
  LZ4_RAW: lz4Block
}

export const isSupported = (codec: CompressionCodec): boolean => codec === "UNCOMPRESSED" || codec in compressors
