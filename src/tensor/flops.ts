/** Floating-point operations of programs. */
import type { Program } from "./Program.ts"
import { elements } from "./Tensor.ts"

/** Of all matrix products, 2 for each product of two numbers and its sum; what is computed again counts again. */
export const matmulFlops = ({ instructions, values }: Program): number => {
  let flops = 0
  for (const { attributes, inputs, op, outputs } of instructions) {
    const result = values[outputs[0]!]!.shape
    if (op === "matmul") {
      const { transposeA } = attributes as { readonly transposeA: boolean }
      const inner = values[inputs[0]!]!.shape.at(transposeA ? -2 : -1)!
      flops += 2 * inner * elements(result)
    }
    // Each row is multiplied once, with the matrix of its group.
    if (op === "groupedMatmul" || op === "groupedOuter")
      flops += 2 * elements(values[inputs[0]!]!.shape) * result.at(-1)!
  }
  return flops
}
