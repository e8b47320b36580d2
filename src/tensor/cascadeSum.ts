/**
 * The sum of f32 numbers to the last bit as PyTorch has it on x86 in one thread (aten/src/ATen/native/cpu/SumKernel.cpp): vectors of 8, four of them side by side, sums of sums on four
 * levels, every addition rounded to f32. Several threads cut 32,768 numbers and more among them, and may end in another bit.
 */

const levels = 4
/** Vectors that are added up side by side. */
const sideBySide = 4
const vectorWidth = 8

const ceilLog2 = (n: number): number => (n <= 2 ? 1 : Math.ceil(Math.log2(n)))

/** Sums of `lanes` columns over the rows of values [rows, lanes], then over the columns of a vector; what is left over comes first, as in the kernel. */
const sumOfVectors = (values: Float32Array, width: number): number => {
  const vectors = Math.floor(values.length / width)
  const lanes = sideBySide * width
  const rows = Math.floor(vectors / sideBySide)
  const power = Math.max(4, Math.floor(ceilLog2(rows) / levels))
  const step = 2 ** power
  const sums = Array.from({ length: levels }, () => new Float32Array(lanes))
  const addRow = (row: number): void => {
    const sum = sums[0]!
    for (let lane = 0; lane < lanes; lane++) sum[lane]! += values[row * lanes + lane]!
  }
  const carry = (from: Float32Array, to: Float32Array): void => {
    for (let lane = 0; lane < lanes; lane++) to[lane]! += from[lane]!
  }
  let row = 0
  while (row + step <= rows) {
    for (const end = row + step; row < end; row++) addRow(row)
    for (let level = 1; level < levels; level++) {
      carry(sums[level - 1]!, sums[level]!)
      sums[level - 1]!.fill(0)
      // Higher levels take over only what a level has filled.
      if (Math.floor(row / 2 ** (level * power)) % step !== 0) break
    }
  }
  for (; row < rows; row++) addRow(row)
  const [sum] = sums
  for (const level of sums.slice(1)) carry(level, sum!)

  for (let i = rows * lanes; i < vectors * width; i++) sum![i % width]! += values[i]!
  for (let lane = width; lane < lanes; lane++) sum![lane % width]! += sum![lane]!
  let total = 0
  for (let i = vectors * width; i < values.length; i++) total = Math.fround(total + values[i]!)
  for (const partial of sum!.subarray(0, width)) total = Math.fround(total + partial)
  return total
}

/** An f32. */
export const cascadeSum = (values: Float32Array): number =>
  sumOfVectors(values, values.length < vectorWidth ? 1 : vectorWidth)
