/** What every engine checks before it works on buffers. */
import type { Program } from "../tensor/Program.ts"
import { sameShape } from "../tensor/shape.ts"
import { shapeText } from "../tensor/Tensor.ts"
import { type Buffers, EngineError } from "./Engine.ts"

/** Throws EngineError where buffers are missing, unknown, or not of the program's dtypes and shapes. */
export const checkBinding = (engine: string, program: Program, inputs: Buffers, outputs: Buffers): void => {
  check(engine, "input", program, program.inputs, inputs)
  check(engine, "output", program, program.outputs, outputs)
}

const check = (
  engine: string,
  what: "input" | "output",
  program: Program,
  ports: Program["inputs"],
  buffers: Buffers
): void => {
  const fail = (message: string): never => {
    throw new EngineError({ engine, message })
  }
  const names = new Set(ports.map(({ name }) => name))
  for (const name of Object.keys(buffers))
    if (!names.has(name)) fail(`the program has no ${what} ${name}; it has ${[...names].join(", ")}`)
  for (const { name, value } of ports) {
    const { dtype, shape } = program.values[value]!
    const buffer = buffers[name] ?? fail(`the ${what} ${name}, ${dtype} ${shapeText(shape)}, has no buffer`)
    if (buffer.dtype !== dtype || !sameShape(buffer.shape, shape))
      fail(
        `the ${what} ${name} needs a buffer of ${dtype} ${shapeText(shape)}, got ${buffer.dtype} ${shapeText(buffer.shape)}`
      )
  }
}
