/** Programs as ONNX files for other tools: to be looked at in Netron, or run by any ONNX runtime. */
import type { HostArray } from "../../tensor/dtype.ts"
import type { Program, ValueId } from "../../tensor/Program.ts"
import { lowerSegment } from "./lower.ts"
import { encodeModel, type OnnxModel, withInputs } from "./onnx.ts"
import { segmentsOf } from "./segments.ts"

/** Files of the format hold less than 2 GiB. */
const longestFile = 2 ** 31 - 1

/** Version of ONNX's operators that brought RMSNormalization: what is needed where no 16-bit floats cross the border as bits. */
const modestOpset = 23

/**
 * The program with the names of its inputs and outputs. Inputs that `values` gives become constants of the file, under their names. Throws
 * for a program that computes parts again: ONNX cannot say in which order.
 */
export const exportOnnx = (program: Program, values: { readonly [input: string]: HostArray } = {}): Uint8Array => {
  const { outputs, segments } = segmentsOf(program)
  const [segment, ...others] = segments
  if (segment === undefined || others.length > 0)
    throw new Error("a program that computes parts of it again (checkpoints) cannot be written as ONNX")
  const model = lowerSegment(program, segment, "standard")
  const nameOf = new Map(program.inputs.map(({ name, value }) => [value, name]))
  const outputOf = new Map(outputs.map(({ name, value }) => [value, name]))
  const renamed = new Map<string, string>()
  const rename = (ids: ReadonlyArray<ValueId>, ports: OnnxModel["inputs"], names: ReadonlyMap<ValueId, string>) => {
    for (const [i, value] of ids.entries()) renamed.set(ports[i]!.name, names.get(value)!)
  }
  rename(segment.inputs, model.inputs, nameOf)
  rename(segment.outputs, model.outputs, outputOf)
  const named = (name: string): string => renamed.get(name) ?? name
  const ports = model.inputs.map(port => ({ ...port, name: named(port.name) }))
  const constants = ports.flatMap(port => {
    const data = values[port.name]
    return data === undefined ? [] : [{ ...port, data }]
  })
  const size = constants.reduce((sum, { data }) => sum + data.byteLength, 0)
  if (size > longestFile)
    throw new Error(`the weights have ${size} bytes; an ONNX file holds less than ${longestFile + 1}`)
  const exported = {
    nodes: withInputs(model.nodes, named).map(node => ({ ...node, outputs: node.outputs.map(named) })),
    constants: [...model.constants, ...constants],
    inputs: ports.filter(({ name }) => values[name] === undefined),
    outputs: model.outputs.map(port => ({ ...port, name: named(port.name) }))
  }
  return model.nodes.some(({ op }) => op === "BitCast") ? encodeModel(exported) : encodeModel(exported, modestOpset)
}
