/** Inverses of lower triangular matrices, of products of matrices alone. */
import { zeros } from "./composites.ts"
import { concat, constant, customGradient, matmul, mul, neg, reshape, sliceAxis, sub } from "./ops.ts"
import type { Tensor } from "./Tensor.ts"

/** f32 [n, n]: 1 where the row and the column are such, else 0. */
const pattern = (n: number, holds: (row: number, column: number) => boolean): Tensor =>
  constant(
    Float32Array.from({ length: n * n }, (_, i) => Number(holds(Math.floor(i / n), i % n))),
    "f32",
    [n, n]
  )

/** 1 below the diagonal. */
const below = (n: number): Tensor => pattern(n, (row, column) => column < row)

/** Up to so many rows all blocks of a size are inverted by one product of whole matrices: smaller products cost more than the zeros that they leave out. */
const wholeRows = 16

/**
 * (I + a)^-1 for a [..., n, n] with nothing but zeros on and above the diagonal. The inverse of a block matrix [[A, 0], [C, B]] is [[A^-1, 0], [-B^-1 C A^-1, B^-1]]: blocks
 * of 1, 2, 4, … rows. Unlike the product of I + a^2, I + a^4, …, whose factors grow without bound beside an inverse that does not, this is as exact as solving row by row.
 */
const inverse = (a: Tensor): Tensor => {
  const n = a.shape.at(-1)!
  if (n <= wholeRows) {
    let found = sub(
      pattern(n, (row, column) => row === column),
      mul(
        a,
        pattern(n, (row, column) => row === column + 1 && row % 2 === 1)
      )
    )
    for (let half = 2; half < n; half *= 2) {
      const block = (i: number): number => Math.floor(i / half)
      const corners = pattern(n, (row, column) => block(row) === block(column) + 1 && block(row) % 2 === 1)
      found = sub(found, matmul(matmul(found, mul(a, corners)), found))
    }
    return found
  }
  const half = n / 2
  const batch = a.shape.slice(0, -2)
  const [top, bottom] = [sliceAxis(a, -2, 0, half), sliceAxis(a, -2, half, n)]
  const stacked = [sliceAxis(top, -1, 0, half), sliceAxis(bottom, -1, half, n)].map(block =>
    reshape(block, [...batch, 1, half, half])
  )
  const both = inverse(concat(stacked, -3))
  const [first, last] = [0, 1].map(i => reshape(sliceAxis(both, -3, i, i + 1), [...batch, half, half])) as [
    Tensor,
    Tensor
  ]
  const corner = neg(matmul(matmul(last, sliceAxis(bottom, -1, 0, half)), first))
  return concat([concat([first, zeros(a.dtype, first.shape)], -1), concat([corner, last], -1)], -2)
}

/**
 * (I + strictly lower part of a)^-1: f32 [..., n, n] -> the same, n a power of two. With T the inverse, the cotangent of a is the strictly lower part of -Tᵀ g Tᵀ.
 */
export const unitLowerInverse = (a: Tensor): Tensor => {
  const n = a.shape.at(-1)!
  const found = inverse(mul(a, below(n)))
  return customGradient(found, [a, found], (gradient, [, t]) => [
    neg(mul(matmul(matmul(t!, gradient, { transposeA: true }), t!, { transposeB: true }), below(n)))
  ])
}
