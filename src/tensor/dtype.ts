/** Element types of tensors, how the host holds them, and rounding to the 16-bit floats. */

export type DType = "f32" | "f16" | "bf16" | "i32" | "i64" | "bool" | "u8"

export const dtypes: ReadonlyArray<DType> = ["f32", "f16", "bf16", "i32", "i64", "bool", "u8"]

/** Row-major elements on the host. The 16-bit floats are raw bits; a bool is 0 or 1. */
export interface HostArrays {
  readonly f32: Float32Array
  readonly f16: Uint16Array
  readonly bf16: Uint16Array
  readonly i32: Int32Array
  readonly i64: BigInt64Array
  readonly bool: Uint8Array
  readonly u8: Uint8Array
}

export type HostArray = HostArrays[DType]

export const bytesPerElement: { readonly [D in DType]: number } = {
  f32: 4,
  f16: 2,
  bf16: 2,
  i32: 4,
  i64: 8,
  bool: 1,
  u8: 1
}

export const floats = ["f32", "f16", "bf16"] as const satisfies ReadonlyArray<DType>
export const numbers = [...floats, "i32", "i64"] as const satisfies ReadonlyArray<DType>

export const isFloat = (dtype: DType): boolean => dtype === "f32" || dtype === "f16" || dtype === "bf16"
export const isInteger = (dtype: DType): boolean => dtype === "i32" || dtype === "i64" || dtype === "u8"

/** Whether a dtype can hold a number as it is; floats round, and any number is true or false. */
export const canHold = (dtype: DType, value: number | bigint): boolean => {
  if (isFloat(dtype) || dtype === "bool") return true
  if (dtype === "i64") return typeof value === "bigint" ? BigInt.asIntN(64, value) === value : Number.isInteger(value)
  const [low, high] = dtype === "u8" ? [0, 2 ** 8 - 1] : [-(2 ** 31), 2 ** 31 - 1]
  return value >= low && value <= high && Number.isInteger(Number(value))
}

/** A view of `length` elements over bytes; `byteOffset` must be a multiple of the element size. */
export const hostView = <D extends DType>(
  dtype: D,
  buffer: ArrayBuffer,
  byteOffset: number,
  length: number
): HostArrays[D] => new constructors[dtype](buffer, byteOffset, length) as unknown as HostArrays[D]

export const hostArray = <D extends DType>(dtype: D, length: number): HostArrays[D] =>
  new constructors[dtype](length) as unknown as HostArrays[D]

const constructors = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i32: Int32Array,
  i64: BigInt64Array,
  bool: Uint8Array,
  u8: Uint8Array
} as const

const scratch = new DataView(new ArrayBuffer(8))

/** The bits of the bfloat16 nearest to a number, ties to even. */
export const bf16Bits = (value: number): number => {
  if (Number.isNaN(value)) return 0x7fc0
  scratch.setFloat64(0, value)
  // A float64 rounded to float32 first could be rounded twice; sticky bits below decide ties exactly.
  const single = Math.fround(value)
  scratch.setFloat32(0, single)
  const bits = scratch.getUint32(0)
  const low = bits & 0xffff
  const high = bits >>> 16
  if (low !== 0x8000) return low > 0x8000 ? (high + 1) & 0xffff : high
  const beyond = Math.abs(value) - Math.abs(single)
  if (beyond !== 0) return beyond > 0 ? (high + 1) & 0xffff : high
  return (high + (high & 1)) & 0xffff
}

export const fromBf16Bits = (bits: number): number => {
  scratch.setUint32(0, bits << 16)
  return scratch.getFloat32(0)
}

/** The bits of the IEEE half nearest to a number, ties to even. */
export const f16Bits = (value: number): number => {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude >= 65_520) return sign | 0x7c00
  if (magnitude < 2 ** -14) return sign | roundHalfEven(magnitude * 2 ** 24)
  const exponent = Math.floor(Math.log2(magnitude))
  // log2 may round up to the next integer just below a power of two.
  const e = 2 ** exponent > magnitude ? exponent - 1 : exponent
  const mantissa = roundHalfEven((magnitude / 2 ** e - 1) * 1024)
  return sign | (((e + 15) << 10) + mantissa)
}

export const fromF16Bits = (bits: number): number => {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 0x1f
  const mantissa = bits & 0x3ff
  if (exponent === 0x1f) return mantissa === 0 ? sign * Infinity : NaN
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}

const roundHalfEven = (value: number): number => {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}
