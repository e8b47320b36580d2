/** Floating-point numbers as files hold them, to and from f32; little-endian, as safetensors and the processors that we run on. */
import { bf16Bits, f16Bits, fromF16Bits } from "../tensor/dtype.ts"

/** Formats of weights, by their names in safetensors. */
export const floatFormats = ["F64", "F32", "BF16", "F16"] as const
export type FloatFormat = (typeof floatFormats)[number]

export const isFloatFormat = (name: string): name is FloatFormat =>
  (floatFormats as ReadonlyArray<string>).includes(name)

const widths: { readonly [F in FloatFormat]: number } = { F64: 8, F32: 4, BF16: 2, F16: 2 }

/** Bytes of one number. */
export const floatBytes = (format: FloatFormat): number => widths[format]

/** What PyTorch calls those in which weights are written. */
export const torchNames = { BF16: "bfloat16", F16: "float16", F32: "float32" } as const satisfies {
  readonly [F in FloatFormat]?: string
}

/** Bytes whose beginning may lie anywhere, as elements of an array that may not. */
const aligned = (bytes: Uint8Array, width: number): readonly [ArrayBuffer, number, number] => {
  const own = bytes.byteOffset % width === 0 ? bytes : bytes.slice()
  return [own.buffer as ArrayBuffer, own.byteOffset, own.byteLength / width]
}

/** The bytes' numbers as f32: exact but for F64, which is rounded. The array may share memory with the bytes. */
export const decodeFloats = (format: FloatFormat, bytes: Uint8Array): Float32Array<ArrayBuffer> => {
  const memory = aligned(bytes, widths[format])
  switch (format) {
    case "F64":
      return Float32Array.from(new Float64Array(...memory))
    case "F32":
      return new Float32Array(...memory)
    case "BF16": {
      const bits = new Uint16Array(...memory)
      const wide = new Uint32Array(bits.length)
      for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16
      return new Float32Array(wide.buffer)
    }
    case "F16":
      return Float32Array.from(new Uint16Array(...memory), fromF16Bits)
  }
}

/** f32 numbers as bytes, rounded to nearest, ties to even. The bytes may share memory with the array. */
export const encodeFloats = (format: FloatFormat, values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => {
  switch (format) {
    case "F64":
      return bytesOf(Float64Array.from(values))
    case "F32":
      return bytesOf(values)
    case "BF16":
      return bytesOf(toBf16(values))
    case "F16":
      return bytesOf(Uint16Array.from(values, f16Bits))
  }
}

/** As `bf16Bits`, for f32 numbers and fast: adding half of the last place that stays, minus one when that place is even, rounds by carrying. */
const toBf16 = (values: Float32Array<ArrayBuffer>): Uint16Array<ArrayBuffer> => {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const bits = new Uint16Array(values.length)
  for (let i = 0; i < bits.length; i++) {
    const w = wide[i]!
    bits[i] = (w & 0x7fffffff) > 0x7f800000 ? bf16Bits(NaN) : (w + 0x7fff + ((w >>> 16) & 1)) >>> 16
  }
  return bits
}

const bytesOf = (array: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | Uint16Array<ArrayBuffer>) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
