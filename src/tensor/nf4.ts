/**
 * NF4, the 4-bit format of QLoRA (Dettmers et al. 2023), bit by bit as bitsandbytes stores it: blocks of 64 numbers in row-major order, each number the
 * nearest of 16 codes times the largest magnitude (absmax) of its block, two codes a byte with the first in the upper half. Double quantisation
 * stores the absmax as 8-bit indices into a dynamic map, in blocks of 256.
 */

/** Quantiles of the normal distribution, scaled to [-1, 1]; each is an f32. */
export const nf4Codes = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1
] as const

/** Midpoints of neighbouring codes; a number belongs to the higher code only when it is strictly greater. */
const thresholds = [
  -0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
  -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
  0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011
].map(Math.fround)

export const nf4BlockSize = 64
/** absmax values that share a largest magnitude. */
export const nestedBlockSize = 256

/** Weights in NF4. */
export interface Nf4 {
  /** [ceil(n / 2)]. */
  readonly packed: Uint8Array
  /** [ceil(n / blockSize)]. */
  readonly absmax: Float32Array
}

/** Largest magnitude of each block. */
const blockMaxima = (values: Float32Array, blockSize: number): Float32Array => {
  const maxima = new Float32Array(Math.ceil(values.length / blockSize))
  for (let i = 0; i < values.length; i++) {
    const block = Math.floor(i / blockSize)
    maxima[block] = Math.max(maxima[block]!, Math.abs(values[i]!))
  }
  return maxima
}

const codeOf = (scaled: number): number => {
  let code = 0
  while (code < thresholds.length && scaled > thresholds[code]!) code++
  return code
}

/** The last block may be short; a missing last number is packed as code 0. A block of zeros has absmax 0 and code 7. */
export const quantiseNf4 = (values: Float32Array, blockSize = nf4BlockSize): Nf4 => {
  const absmax = blockMaxima(values, blockSize)
  const packed = new Uint8Array(Math.ceil(values.length / 2))
  for (let i = 0; i < values.length; i++) {
    const largest = absmax[Math.floor(i / blockSize)]!
    // In f32 as the kernels do it: the reciprocal first.
    const code = largest === 0 ? 7 : codeOf(Math.fround(values[i]! * Math.fround(1 / largest)))
    packed[i >> 1]! |= i % 2 === 0 ? code << 4 : code
  }
  return { packed, absmax }
}

/** n numbers again, as the op `dequantiseNf4` gives them. */
export const dequantisedNf4 = ({ absmax, packed }: Nf4, n: number, blockSize = nf4BlockSize): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => {
    const byte = packed[i >> 1]!
    return nf4Codes[i % 2 === 0 ? byte >> 4 : byte & 15]! * absmax[Math.floor(i / blockSize)]!
  })

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
  /** Mean of the absmax values, taken away before. Its last bit depends on the order of the sum. */
  readonly offset: number
}

/** Index of the nearest entry of the map; of two at the same distance the lower. */
const nearest = (value: number): number => {
  let [low, high] = [0, dynamicMap.length - 1]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (dynamicMap[middle]! <= value) low = middle
    else high = middle
  }
  return value - dynamicMap[low]! <= dynamicMap[high]! - value ? low : high
}

export const quantiseAbsmax = (absmax: Float32Array): NestedAbsmax => {
  const offset = Math.fround(absmax.reduce((sum, value) => sum + value, 0) / Math.max(1, absmax.length))
  const centred = absmax.map(value => value - offset)
  const nestedAbsmax = blockMaxima(centred, nestedBlockSize)
  const indices = Uint8Array.from(centred, (value, i) => {
    const largest = nestedAbsmax[Math.floor(i / nestedBlockSize)]!
    return nearest(largest === 0 ? 0 : Math.fround(value * Math.fround(1 / largest)))
  })
  return { indices, nestedAbsmax, offset }
}

export const dequantisedAbsmax = ({ indices, nestedAbsmax, offset }: NestedAbsmax): Float32Array =>
  Float32Array.from(
    indices,
    (index, i) => Math.fround(dynamicMap[index]! * nestedAbsmax[Math.floor(i / nestedBlockSize)]!) + offset
  )
