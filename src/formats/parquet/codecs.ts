/** Decompresses pages. The result has exactly the announced length: a damaged page can neither hang nor flood us. */
import type { CompressionCodec } from "hyparquet"
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib"
import { lz4Block, lz4Framed, snappy } from "./lz77.ts"
import { Damage } from "./parquetError.ts"

export const codecs: ReadonlyArray<CompressionCodec> = [
  "UNCOMPRESSED",
  "SNAPPY",
  "GZIP",
  "BROTLI",
  "ZSTD",
  "LZ4",
  "LZ4_RAW"
]

/** Throws `Damage` (or what Node's decompressor throws) when the input is not `length` bytes, compressed. */
export const decompress = (codec: CompressionCodec, input: Uint8Array, length: number): Uint8Array => {
  const output = decompressors[codec](input, length)
  if (output.length === length) return output
  throw new Damage(`a page decompresses to ${output.length} bytes instead of the announced ${length}`)
}

// Node's decompressors can be told where to stop; a limit of 0 is not accepted.
const stopAt = (length: number) => ({ maxOutputLength: Math.max(1, length) })

const decompressors: { readonly [C in CompressionCodec]: (input: Uint8Array, length: number) => Uint8Array } = {
  UNCOMPRESSED: input => input,
  SNAPPY: snappy,
  GZIP: (input, length) => gunzipSync(input, stopAt(length)),
  BROTLI: (input, length) => brotliDecompressSync(input, stopAt(length)),
  ZSTD: (input, length) => zstdDecompressSync(input, stopAt(length)),
  LZ4: lz4Framed,
  LZ4_RAW: lz4Block,
  LZO: () => {
    throw new Damage("the codec LZO is not supported; write the file with another, for example ZSTD")
  }
}
