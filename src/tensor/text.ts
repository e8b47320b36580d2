/** Programs for people: one line for each instruction. */
import { type DType, fromBf16Bits, fromF16Bits } from "./dtype.ts"
import type { Program, ValueId } from "./Program.ts"

/** `%12 f32[8, 128] = matmul(%3, %11; transposeB)` */
export const programText = (program: Program): string => {
  const typed = (value: ValueId): string => {
    const { dtype, shape } = program.values[value]!
    return `%${value} ${dtype}[${shape.join(", ")}]`
  }
  return [
    ...program.inputs.map(({ name, value }) => `${typed(value)} = input ${name}`),
    ...program.constants.map(
      ({ data, value }) => `${typed(value)} = constant ${preview(program.values[value]!.dtype, data)}`
    ),
    ...program.instructions.map(({ attributes, inputs, op, outputs, recomputation }) => {
      const settings = Object.entries(attributes).flatMap(setting).join(", ")
      const operands = inputs.map(value => `%${value}`).join(", ")
      const given = [operands, settings].filter(part => part !== "").join("; ")
      const again = recomputation === 0 ? "" : `  # recomputation ${recomputation}`
      return `${outputs.map(typed).join(", ")} = ${op}(${given})${again}`
    }),
    ...program.outputs.map(({ name, value }) => `output ${name} = %${value}`),
    ""
  ].join("\n")
}

/** Elements of a constant that are shown. */
const shown = 4

const preview = (dtype: DType, data: ArrayLike<number | bigint>): string => {
  const number = (element: number | bigint): number | bigint =>
    dtype === "f16" ? fromF16Bits(Number(element)) : dtype === "bf16" ? fromBf16Bits(Number(element)) : element
  const first = Array.from({ length: Math.min(shown, data.length) }, (_, i) => String(number(data[i]!)))
  return data.length > shown ? `${first.join(" ")} …` : first.join(" ")
}

/** The type of the result says these. */
const inType = new Set(["shape", "dtype"])

const setting = ([name, value]: [string, unknown]): ReadonlyArray<string> => {
  if (inType.has(name)) return []
  if (value === true) return [name]
  if (value === false) return []
  return [`${name} ${Array.isArray(value) ? `[${value.join(", ")}]` : String(value)}`]
}
