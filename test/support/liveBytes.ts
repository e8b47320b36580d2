/** How many bytes a program holds at its worst, when every result is let go after its last reader: what an engine that frees at once would need beside inputs and outputs. */
import { bytesPerElement } from "../../src/tensor/dtype.ts"
import type { Program } from "../../src/tensor/Program.ts"
import { elements } from "../../src/tensor/Tensor.ts"

/** Results that are another look at their operand's memory. */
const views = new Set(["reshape", "broadcastTo", "transpose", "slice"])

export const mostLiveBytes = ({ inputs, instructions, outputs, values }: Program): number => {
  const memory = new Map<number, number>()
  const of = (value: number): number => memory.get(value) ?? value
  for (const { inputs: operands, op, outputs: results } of instructions)
    if (views.has(op)) memory.set(results[0]!, of(operands[0]!))
  const lastRead = new Map<number, number>()
  for (const [i, { inputs: operands }] of instructions.entries())
    for (const value of operands) lastRead.set(of(value), i)
  const outside = new Set([...inputs, ...outputs].map(({ value }) => of(value)))
  const bytesOf = (value: number): number => elements(values[value]!.shape) * bytesPerElement[values[value]!.dtype]
  const alive = new Set<number>()
  let [live, most] = [0, 0]
  for (const [i, { inputs: operands, op, outputs: results }] of instructions.entries()) {
    for (const value of views.has(op) ? [] : results)
      if (!outside.has(value)) {
        alive.add(value)
        live += bytesOf(value)
      }
    most = Math.max(most, live)
    for (const value of new Set([...operands, ...results].map(of)))
      if ((lastRead.get(value) ?? i) <= i && alive.delete(value)) live -= bytesOf(value)
  }
  return most
}
