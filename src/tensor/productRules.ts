/** How products of matrices are differentiated: by products. */
import { sumTo } from "./composites.ts"
import { groupedMatmul, groupedOuter, matmul, reshape } from "./ops.ts"
import type { Rule } from "./rule.ts"
import { elements, type Tensor } from "./Tensor.ts"

/** [..., n] as rows of n elements. */
const flattened = (x: Tensor): Tensor => reshape(x, [elements(x.shape.slice(0, -1)), x.shape.at(-1)!])

export const matmulRule: Rule<"matmul"> = ({ attributes: { transposeA, transposeB }, g, inputs: [a, b] }) => {
  const left = (): Tensor =>
    transposeA ? matmul(b, g, { transposeA: transposeB, transposeB: true }) : matmul(g, b, { transposeB: !transposeB })
  const right = (): Tensor => {
    if (b.rank === 2 && a.rank > 2 && !transposeA) {
      // A weight under a batch: one product over all rows instead of one for each batch entry and a sum.
      const rows = flattened(a)
      const gRows = flattened(g)
      return transposeB ? matmul(gRows, rows, { transposeA: true }) : matmul(rows, gRows, { transposeA: true })
    }
    return transposeB
      ? matmul(g, a, { transposeA: true, transposeB: transposeA })
      : matmul(a, g, { transposeA: !transposeA })
  }
  return [() => sumTo(left(), a.shape), () => sumTo(right(), b.shape)]
}

export const groupedMatmulRule: Rule<"groupedMatmul"> = ({ attributes: { transposeB }, g, inputs: [a, b, sizes] }) => [
  () => groupedMatmul(g, b, sizes, { transposeB: !transposeB }),
  () => (transposeB ? groupedOuter(g, a, sizes) : groupedOuter(a, g, sizes))
]

export const groupedOuterRule: Rule<"groupedOuter"> = ({ g, inputs: [a, b, sizes] }) => [
  () => groupedMatmul(b, g, sizes, { transposeB: true }),
  () => groupedMatmul(a, g, sizes)
]
