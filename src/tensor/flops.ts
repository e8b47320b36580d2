/** Floating-point operations of programs. */
import type { Program } from "./Program.ts"
import { elements } from "./Tensor.ts"

/** Of all matrix products, 2 for each product of two numbers and its sum; what is computed again counts again. */
export const matmulFlops = ({ instructions, values }: Program): number => {
  let flops = 0
  for (const instruction of instructions) {
    if (instruction.op !== "matmul") continue
    const { transposeA } = instruction.attributes as { readonly transposeA: boolean }
    const inner = values[instruction.inputs[0]!]!.shape.at(transposeA ? -2 : -1)!
    flops += 2 * inner * elements(values[instruction.outputs[0]!]!.shape)
  }
  return flops
}
