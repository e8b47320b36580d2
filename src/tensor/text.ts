/** Programs for people: one line for each instruction. */
import type { Program, ValueId } from "./Program.ts"

/** `%12 f32[8, 128] = matmul(%3, %11; transposeB)` */
export const programText = (program: Program): string => {
  const typed = (value: ValueId): string => {
    const { dtype, shape } = program.values[value]!
    return `%${value} ${dtype}[${shape.join(", ")}]`
  }
  return [
    ...program.inputs.map(({ name, value }) => `${typed(value)} = input ${name}`),
    ...program.constants.map(({ data, value }) => `${typed(value)} = constant ${preview(data)}`),
    ...program.instructions.map(({ attributes, inputs, op, outputs, recomputation }) => {
      const settings = Object.entries(attributes).flatMap(setting)
      const operands = inputs.map(value => `%${value}`).join(", ")
      const again = recomputation === 0 ? "" : `  # recomputation ${recomputation}`
      return `${outputs.map(typed).join(", ")} = ${op}(${operands}${settings.length === 0 ? "" : `; ${settings.join(", ")}`})${again}`
    }),
    ...program.outputs.map(({ name, value }) => `output ${name} = %${value}`),
    ""
  ].join("\n")
}

/** Elements of a constant that are shown. */
const shown = 4

const preview = (data: ArrayLike<number | bigint>): string => {
  const first = Array.from({ length: Math.min(shown, data.length) }, (_, i) => String(data[i]!))
  return data.length > shown ? `${first.join(" ")} …` : first.join(" ")
}

const setting = ([name, value]: [string, unknown]): ReadonlyArray<string> => {
  if (value === true) return [name]
  if (value === false) return []
  return [`${name} ${Array.isArray(value) ? `[${value.join(", ")}]` : String(value)}`]
}
