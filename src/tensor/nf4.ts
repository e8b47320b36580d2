/**
 * NF4, the 4-bit format of QLoRA (Dettmers et al. 2023), bit by bit as bitsandbytes stores it: blocks of 64 numbers in row-major order, each number the
 * nearest of 16 codes times the largest magnitude (absmax) of its block, two codes a byte with the first in the upper half. Double quantisation
 * stores the absmax as 8-bit indices into a dynamic map, in blocks of 256.
 */
import { cascadeSum } from "./cascadeSum.ts"

/** Quantiles of the normal distribution, scaled to [-1, 1]; each is an f32. */
export const nf4Codes = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1
] as const

/** f32 numbers halfway between neighbours, each rounded as the sum and its half are. */
const midpoints = (values: ArrayLike<number>): Float32Array =>
  Float32Array.from({ length: values.length - 1 }, (_, i) => Math.fround(values[i]! + values[i + 1]!) / 2)

/** A number belongs to the higher of two codes only when it is strictly greater. */
const thresholds = midpoints(nf4Codes)

/** Code of the number 0. */
const zeroCode = 7

export const nf4BlockSize = 64
/** absmax values that share a largest magnitude. */
export const nestedBlockSize = 256

/** How weights lie in NF4. */
export interface Nf4Layout {
  /** Numbers that share an absmax: a power of two from 32 to 4096. */
  readonly blockSize: number
  /** Whether the absmax are quantised themselves, to 8 bits. */
  readonly doubleQuant: boolean
}

/** As the paper has it, without double quantisation. */
export const plainNf4: Nf4Layout = { blockSize: nf4BlockSize, doubleQuant: false }

/** Weights in NF4. */
export interface Nf4 {
  /** [ceil(n / 2)]. */
  readonly packed: Uint8Array
  /** [ceil(n / blockSize)]. */
  readonly absmax: Float32Array
}

/** Weights in NF4 of either layout. */
export interface Nf4Content extends Omit<Nf4, "absmax"> {
  readonly absmax: Float32Array | NestedAbsmax
}

/** Largest magnitude of each block. */
const blockMaxima = (values: Float32Array, blockSize: number): Float32Array =>
  Float32Array.from({ length: Math.ceil(values.length / blockSize) }, (_, block) => {
    let largest = 0
    const end = Math.min((block + 1) * blockSize, values.length)
    for (let i = block * blockSize; i < end; i++) {
      const magnitude = Math.abs(values[i]!)
      // NaN is larger than all.
      if (magnitude > largest || Number.isNaN(magnitude)) largest = magnitude
    }
    return largest
  })

/** How many of 2^k - 1 ascending bounds lie strictly below a number. */
const countBelow = (bounds: Float32Array, value: number): number => {
  let count = 0
  for (let step = (bounds.length + 1) / 2; step >= 1; step /= 2) if (value > bounds[count + step - 1]!) count += step
  return count
}

/** What a magnitude is divided by at least. */
const leastAbsmax = Math.fround(1e-38)

/**
 * As bitsandbytes quantises on the processor. The last block may be short: there numbers are divided by its absmax, elsewhere they are multiplied with its reciprocal, and the absmax stored is never below
 * 1e-38. A missing last number is packed as 0, and so are the numbers of a block of zeros.
 */
export const quantiseNf4 = (values: Float32Array, blockSize = nf4BlockSize): Nf4 => {
  const absmax = blockMaxima(values, blockSize)
  const packed = new Uint8Array(Math.ceil(values.length / 2))
  if (values.length % 2 === 1) packed[packed.length - 1] = zeroCode
  for (let block = 0; block < absmax.length; block++) {
    const start = block * blockSize
    const end = Math.min(start + blockSize, values.length)
    const divisor = Math.max(absmax[block]!, leastAbsmax)
    const isShort = end - start < blockSize
    if (isShort) absmax[block] = divisor
    const reciprocal = Math.fround(1 / divisor)
    for (let i = start; i < end; i++) {
      const code = countBelow(thresholds, Math.fround(isShort ? values[i]! / divisor : values[i]! * reciprocal))
      packed[i >> 1]! |= i % 2 === 0 ? code << 4 : code
    }
  }
  return { packed, absmax }
}

/** n numbers again, as the op `dequantiseNf4` gives them. */
export const dequantisedNf4 = (
  { absmax, packed }: Nf4,
  n: number,
  blockSize = nf4BlockSize
): Float32Array<ArrayBuffer> => {
  const values = new Float32Array(n)
  for (let i = 0; i < n; i++) {
    const byte = packed[i >> 1]!
    values[i] = nf4Codes[i % 2 === 0 ? byte >> 4 : byte & 15]! * absmax[Math.floor(i / blockSize)]!
  }
  return values
}

/** n numbers evenly spaced from 0.1 to 1, from both ends towards the middle, each rounded once to f32: PyTorch's linspace. */
const spaced = (n: number): ReadonlyArray<number> => {
  const { fround } = Math
  const [first, last] = [fround(0.1), 1]
  const step = fround(fround(last - first) / (n - 1))
  return Array.from({ length: n }, (_, i) =>
    i < Math.floor(n / 2) ? fround(first + step * i) : fround(last - step * (n - 1 - i))
  )
}

/**
 * The dynamic map of 8 bits: for each of 7 powers of ten, means of neighbours among evenly spaced numbers from 0.1 to 1, with both signs; 0 and 1.
 * Ascending, [256]. As `create_dynamic_map` of bitsandbytes.
 */
export const dynamicMap: Float32Array = (() => {
  const { fround } = Math
  const values = [0, 1]
  for (let i = 0; i < 7; i++) {
    const bounds = spaced(2 ** i + 1)
    for (let j = 0; j < 2 ** i; j++) {
      const mean = fround(fround(bounds[j]! + bounds[j + 1]!) / 2)
      const value = fround(fround(10 ** (i - 6)) * mean)
      values.push(value, -value)
    }
  }
  return Float32Array.from(values).sort()
})()

/** absmax values in 8 bits. */
export interface NestedAbsmax {
  /** Indices into the dynamic map, one for each absmax. */
  readonly indices: Uint8Array
  /** f32 [ceil(count / 256)]. */
  readonly nestedAbsmax: Float32Array
  /** Mean of the absmax values, taken away before, an f32. */
  readonly offset: number
}

const mapThresholds = midpoints(dynamicMap)

/** The numbers from -1 to 1 are sorted into so many bins, of which each has one entry of the map. */
const bins = 2 ** 16

/** Index of the entry of the map that is nearest to the middle of a number's bin; of two as near the lower. So the processor's kernel of bitsandbytes finds it (csrc/cpu_ops.cpp). */
const mapIndex = (value: number): number => {
  const { fround } = Math
  const clamped = Math.min(1, Math.max(-1, value))
  const bin = Math.trunc(fround(fround(fround(fround(clamped + 1) * 0.5) * (bins - 1)) + 0.5))
  return countBelow(mapThresholds, fround(fround((2 * bin) / (bins - 1)) - 1))
}

/** absmax values in 8 bits, as bitsandbytes has them on the processor. A block of zeros has indices 0: whatever the map says there is multiplied with 0. */
export const quantiseAbsmax = (absmax: Float32Array): NestedAbsmax => {
  const offset = Math.fround(cascadeSum(absmax) / Math.max(1, absmax.length))
  const centred = absmax.map(value => value - offset)
  const nestedAbsmax = blockMaxima(centred, nestedBlockSize)
  const indices = Uint8Array.from(centred, (value, i) => {
    const largest = nestedAbsmax[Math.floor(i / nestedBlockSize)]!
    return largest === 0 ? 0 : mapIndex(Math.fround(value * Math.fround(1 / largest)))
  })
  return { indices, nestedAbsmax, offset }
}

export const dequantisedAbsmax = ({ indices, nestedAbsmax, offset }: NestedAbsmax): Float32Array =>
  Float32Array.from(
    indices,
    (index, i) => Math.fround(dynamicMap[index]! * nestedAbsmax[Math.floor(i / nestedBlockSize)]!) + offset
  )

/** Weights in a layout. */
export const nf4Content = (values: Float32Array, { blockSize, doubleQuant }: Nf4Layout): Nf4Content => {
  const { absmax, packed } = quantiseNf4(values, blockSize)
  return { packed, absmax: doubleQuant ? quantiseAbsmax(absmax) : absmax }
}
