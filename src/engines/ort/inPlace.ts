/** When an output may be written over the memory of an input. */
import type { Program, ValueId } from "../../tensor/Program.ts"
import { primitives } from "../../tensor/primitives.ts"
import { append } from "../../pipeline/lists.ts"

/**
 * Whether everything that reads the input has been computed before the output is written: each reader is the output's own, elementwise,
 * instruction, or one that it needs. Any order of execution that respects data dependencies then reads before it writes.
 */
export const mayOverwrite = (program: Program, outputName: string, inputName: string): boolean => {
  const output = program.outputs.find(({ name }) => name === outputName)?.value
  const input = program.inputs.find(({ name }) => name === inputName)?.value
  if (output === undefined || input === undefined) return false
  const makers = new Map(program.instructions.flatMap((made, i) => made.outputs.map(value => [value, i] as const)))
  const last = makers.get(output)
  if (last === undefined) return false
  const before = new Set<number>()
  const pending: Array<ValueId> = [...program.instructions[last]!.inputs]
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const maker = makers.get(value)
    if (maker === undefined || before.has(maker)) continue
    before.add(maker)
    append(pending, program.instructions[maker]!.inputs)
  }
  const alsoElsewhere = program.outputs.some(
    ({ name, value }) => name !== outputName && (value === output || value === input)
  )
  return (
    !alsoElsewhere &&
    program.instructions.every(
      ({ inputs, op }, i) => !inputs.includes(input) || before.has(i) || (i === last && primitives[op].inPlace)
    )
  )
}
