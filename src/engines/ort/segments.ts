/**
 * Cuts a program where `after` demands an order that ONNX cannot express. Each segment becomes a session of its own; a session's nodes
 * may run in any order, sessions run one after the other, so that no optimiser can undo a recomputation.
 */
import type { Instruction, Program, ValueId } from "../../tensor/Program.ts"
import { greatest } from "../../pipeline/lists.ts"

export interface Segment {
  readonly instructions: ReadonlyArray<Instruction>
  /** Values from outside: inputs of the program, and results of earlier segments. Constants are not among them. */
  readonly inputs: ReadonlyArray<ValueId>
  /** Results that later segments need, or that are outputs of the program. */
  readonly outputs: ReadonlyArray<ValueId>
}

export interface Segments {
  readonly segments: ReadonlyArray<Segment>
  /** The value behind each output of the program: `after` only renames. */
  readonly outputs: ReadonlyArray<{ readonly name: string; readonly value: ValueId }>
}

export const segmentsOf = (program: Program): Segments => {
  const stage = program.values.map(() => 0)
  /** What `after` renames. */
  const renamed = new Map<ValueId, ValueId>()
  const real = (value: ValueId): ValueId => renamed.get(value) ?? value
  const made: Array<Array<Instruction>> = [[]]
  const madeIn = new Map<ValueId, number>()
  for (const instruction of program.instructions) {
    const { inputs, op, outputs } = instruction
    const [value, ...dependencies] = inputs
    const at =
      op === "after"
        ? greatest(
            dependencies.map(dependency => stage[dependency]! + 1),
            stage[value!]!
          )
        : greatest(
            inputs.map(input => stage[input]!),
            0
          )
    for (const output of outputs) stage[output] = at
    if (op === "after") {
      renamed.set(outputs[0]!, real(value!))
      continue
    }
    while (made.length <= at) made.push([])
    made[at]!.push({ ...instruction, inputs: inputs.map(real) } as Instruction)
    for (const output of outputs) madeIn.set(output, at)
  }

  const constants = new Set(program.constants.map(({ value }) => value))
  const outputs = program.outputs.map(({ name, value }) => ({ name, value: real(value) }))
  const neededLater = new Set(outputs.map(({ value }) => value))
  const segments: Array<Segment> = []
  for (const [at, instructions] of [...made.entries()].toReversed()) {
    const results = instructions.flatMap(instruction => instruction.outputs).filter(output => neededLater.has(output))
    // What was only to be waited for, and is needed by nobody, is not computed.
    if (results.length === 0) continue
    const inputs = new Set<ValueId>()
    for (const instruction of instructions)
      for (const input of instruction.inputs) if (!constants.has(input) && madeIn.get(input) !== at) inputs.add(input)
    for (const input of inputs) neededLater.add(input)
    segments.unshift({ instructions, inputs: [...inputs].toSorted((a, b) => a - b), outputs: results })
  }
  return { segments, outputs }
}
