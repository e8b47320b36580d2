/** Products of matrices in plain loops. */
import { elements } from "../../tensor/Tensor.ts"
import type { Elements, Kernel, Operand } from "./kernel.ts"
import { sources } from "./walks.ts"

export const matmul: Kernel<"matmul"> = ([a, b], { transposeA, transposeB }, out) => {
  const shape = out.shape
  const batch = shape.slice(0, -2)
  const [m, n] = shape.slice(-2) as [number, number]
  const k = a.shape.at(transposeA ? -2 : -1)!
  const startsA = sources(a.shape.slice(0, -2), batch)
  const startsB = sources(b.shape.slice(0, -2), batch)
  const result = new Float64Array(elements(shape))
  // From one of k to the next.
  const [stepA, stepB] = [transposeA ? m : 1, transposeB ? 1 : n]
  for (let s = 0; s < startsA.length; s++)
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let inA = startsA[s]! * m * k + (transposeA ? i : i * k)
        let inB = startsB[s]! * k * n + (transposeB ? j * k : j)
        let sum = 0
        for (let l = 0; l < k; l++, inA += stepA, inB += stepB) sum += a.data[inA]! * b.data[inB]!
        result[(s * m + i) * n + j] = sum
      }
  return result
}

/** Calls `visit` with each row that is of a group. */
const eachRow = (sizes: Operand, visit: (row: number, group: number) => void): void => {
  let row = 0
  for (const [group, size] of sizes.data.entries()) for (const end = row + size; row < end; row++) visit(row, group)
}

export const groupedMatmul: Kernel<"groupedMatmul"> = ([a, b, sizes], { transposeB }, out) => {
  const [k, m] = [a.shape[1]!, out.shape[1]!]
  const result: Elements = new Float64Array(elements(out.shape))
  eachRow(sizes, (row, group) => {
    for (let j = 0; j < m; j++)
      for (let l = 0; l < k; l++)
        result[row * m + j]! += a.data[row * k + l]! * b.data[group * k * m + (transposeB ? j * k + l : l * m + j)]!
  })
  return result
}

export const groupedOuter: Kernel<"groupedOuter"> = ([a, b, sizes], _, out) => {
  const [k, m] = [a.shape[1]!, b.shape[1]!]
  const result: Elements = new Float64Array(elements(out.shape))
  eachRow(sizes, (row, group) => {
    for (let l = 0; l < k; l++)
      for (let j = 0; j < m; j++) result[(group * k + l) * m + j]! += a.data[row * k + l]! * b.data[row * m + j]!
  })
  return result
}
