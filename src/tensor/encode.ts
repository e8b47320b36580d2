/**
 * Programs as bytes: canonical JSON, so that equal programs have equal digests, and other languages can read them. Values are numbered:
 * inputs, then constants, then the results of the instructions, in their order. docs/programs.md describes the format.
 */
import { createHash } from "node:crypto"
import { Result, Schema } from "effect"
import { dtypes, hostArray, hostView, type HostArray } from "./dtype.ts"
import { resultTypes } from "./declaration.ts"
import { isProgramOp, primitives } from "./primitives.ts"
import type { Instruction, Program, ValueId, ValueType } from "./Program.ts"
import { elements, shapeText } from "./Tensor.ts"

const version = 1

const Id = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Shape = Schema.Array(Id)
const Type = { dtype: Schema.Literals(dtypes), shape: Shape }

const ProgramFile = Schema.fromJsonString(
  Schema.Struct({
    version: Schema.Literal(version),
    inputs: Schema.Array(Schema.Struct({ name: Schema.String, ...Type })),
    /** `data`: the elements, little-endian, base64. */
    constants: Schema.Array(Schema.Struct({ ...Type, data: Schema.String })),
    instructions: Schema.Array(
      Schema.Struct({
        op: Schema.String,
        attributes: Schema.Unknown,
        inputs: Schema.Array(Id),
        recomputation: Id
      })
    ),
    outputs: Schema.Array(Schema.Struct({ name: Schema.String, value: Id }))
  })
)

/** JSON with the keys of every object in ascending order and no white space. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner
  )

export const encodeProgram = (program: Program): string =>
  canonical({
    version,
    inputs: program.inputs.map(({ name, value }) => ({ name, ...program.values[value]! })),
    constants: program.constants.map(({ data, value }) => ({
      ...program.values[value]!,
      data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64")
    })),
    instructions: program.instructions.map(({ attributes, inputs, op, recomputation }) => ({
      op,
      attributes,
      inputs,
      recomputation
    })),
    outputs: program.outputs
  })

/** SHA-256 of the encoding, hexadecimal: equal for equal programs. */
export const programDigest = (program: Program): string =>
  createHash("sha256").update(encodeProgram(program)).digest("hex")

/** What is wrong with an encoded program; `message` names the place. */
export class ProgramDecodeError extends Schema.TaggedError<ProgramDecodeError>()("ProgramDecodeError", {
  message: Schema.String
}) {}

/** Elements of all constants together that a program may bring: beyond, data belongs into inputs. */
const mostConstantBytes = 2 ** 30

/** Reads an encoding and checks all of it: ops, attributes, operands that exist, types as tracing would have found them. */
export const decodeProgram = (text: string): Result.Result<Program, ProgramDecodeError> => {
  const fail = (message: string) => Result.fail(new ProgramDecodeError({ message: `program: ${message}` }))
  const decoded = Schema.decodeUnknownResult(ProgramFile, { onExcessProperty: "error" })(text)
  if (Result.isFailure(decoded)) return fail(decoded.failure.message)
  const file = decoded.success
  const values: Array<ValueType> = []
  const define = ({ dtype, shape }: ValueType): ValueId => values.push({ dtype, shape }) - 1

  const inputs = file.inputs.map(input => ({ name: input.name, value: define(input) }))
  if (inputs.some(({ name }, i) => i > 0 && name <= inputs[i - 1]!.name))
    return fail("inputs are not in ascending order of name")

  const constants: Array<{ readonly value: ValueId; readonly data: HostArray }> = []
  let bytes = 0
  for (const [i, { data, dtype, shape }] of file.constants.entries()) {
    bytes += data.length
    if (bytes > mostConstantBytes) return fail(`its constants exceed ${mostConstantBytes} bytes`)
    const raw = Uint8Array.from(Buffer.from(data, "base64"))
    const size = elements(shape)
    if (raw.byteLength !== size * hostArray(dtype, 0).BYTES_PER_ELEMENT)
      return fail(`constant ${i}, ${dtype} ${shapeText(shape)}, has ${raw.byteLength} bytes`)
    constants.push({ value: define({ dtype, shape }), data: hostView(dtype, raw.buffer, 0, size) })
  }

  const instructions: Array<Instruction> = []
  for (const [i, { attributes, inputs: operands, op, recomputation }] of file.instructions.entries()) {
    const where = `instruction ${i}, ${op}`
    if (!isProgramOp(op)) return fail(`instruction ${i}: there is no op ${JSON.stringify(op)}`)
    const missing = operands.find(value => value >= values.length)
    if (missing !== undefined) return fail(`${where}: value ${missing} is not defined before it`)
    const read = Schema.decodeUnknownResult(Schema.Struct(primitives[op].attributes), {
      onExcessProperty: "error"
    })(attributes)
    if (Result.isFailure(read)) return fail(`${where}: ${read.failure.message}`)
    const types = resultTypes(
      primitives[op],
      read.success,
      operands.map(value => values[value]!)
    )
    if (typeof types === "string") return fail(`${where}: ${types}`)
    instructions.push({
      op,
      attributes: read.success,
      inputs: operands,
      outputs: types.map(define),
      recomputation
    } as Instruction)
  }
  const unknown = file.outputs.find(({ value }) => value >= values.length)
  if (unknown !== undefined)
    return fail(`the output ${unknown.name} names value ${unknown.value}, which does not exist`)
  if (new Set(file.outputs.map(({ name }) => name)).size !== file.outputs.length)
    return fail("two outputs have one name")
  return Result.succeed({ values, inputs, constants, instructions, outputs: file.outputs })
}
