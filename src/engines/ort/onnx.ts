/** Writes models in the ONNX format (onnx.proto3), as far as programs need it. Field numbers are those of the format's schema. */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire"

/** `TensorProto.DataType`. */
export const onnxTypes = { f32: 1, u8: 2, u16: 4, i32: 6, i64: 7, bool: 9, f16: 10, f64: 11, bf16: 16 } as const
export type OnnxType = keyof typeof onnxTypes

/** A float attribute; numbers without this are integers. */
export class Float {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/** A value of a graph within a node: a scalar, a tensor whose sizes come out when the model runs, or a list of such. */
export interface InnerValue {
  readonly name: string
  readonly type: OnnxType
  readonly kind: "scalar" | "tensor" | "sequence"
}

/** A graph within a node, the body of a loop; it may use the values around it. */
export class Subgraph {
  readonly nodes: ReadonlyArray<OnnxNode>
  readonly inputs: ReadonlyArray<InnerValue>
  readonly outputs: ReadonlyArray<InnerValue>
  constructor({ inputs, nodes, outputs }: Pick<Subgraph, "inputs" | "nodes" | "outputs">) {
    this.nodes = nodes
    this.inputs = inputs
    this.outputs = outputs
  }
}

export type OnnxAttribute = number | string | Float | Subgraph | ReadonlyArray<number>

export interface OnnxNode {
  readonly op: string
  /** Empty for ONNX's own operators. */
  readonly domain: string
  readonly inputs: ReadonlyArray<string>
  readonly outputs: ReadonlyArray<string>
  readonly attributes: { readonly [name: string]: OnnxAttribute }
}

export interface OnnxValue {
  readonly name: string
  readonly type: OnnxType
  /** A name stands for a size that is known when the model runs. */
  readonly shape: ReadonlyArray<number | string>
}

export interface OnnxModel {
  readonly nodes: ReadonlyArray<OnnxNode>
  readonly constants: ReadonlyArray<OnnxValue & { readonly data: ArrayBufferView }>
  readonly inputs: ReadonlyArray<OnnxValue>
  readonly outputs: ReadonlyArray<OnnxValue>
}

/** Nodes that take some values under other names, also in graphs within them. */
export const withInputs = (nodes: ReadonlyArray<OnnxNode>, named: (name: string) => string): ReadonlyArray<OnnxNode> =>
  nodes.map(node => ({
    ...node,
    inputs: node.inputs.map(named),
    attributes: Object.fromEntries(
      Object.entries(node.attributes).map(([name, attribute]) => [
        name,
        attribute instanceof Subgraph
          ? new Subgraph({ ...attribute, nodes: withInputs(attribute.nodes, named) })
          : attribute
      ])
    )
  }))

/** One operator on vectors x0, x1 … of any length, and on further inputs, i64 [1], by name. */
export const vectorModel = (
  op: string,
  type: OnnxType,
  count: number,
  further: ReadonlyArray<string> = [],
  attributes: { readonly [name: string]: OnnxAttribute } = {}
): OnnxModel => {
  const vectors = Array.from({ length: count }, (_, i): OnnxValue => ({ name: `x${i}`, type, shape: [`n${i}`] }))
  const settings = further.map((name): OnnxValue => ({ name, type: "i64", shape: [1] }))
  const inputs = [...vectors, ...settings]
  return {
    nodes: [{ op, domain: "", inputs: inputs.map(({ name }) => name), outputs: ["y"], attributes }],
    constants: [],
    inputs,
    outputs: [{ name: "y", type, shape: ["n"] }]
  }
}

/** Version of the format, and of ONNX's operators (BitCast came with 26). */
const irVersion = 11
const newestOpset = 26
export const contribDomain = "com.microsoft"

export const encodeModel = (model: OnnxModel, opset = newestOpset): Uint8Array => {
  const writer = new BinaryWriter()
  writer.tag(1, WireType.Varint).int64(irVersion)
  message(writer, 7, () => graph(writer, model))
  const contrib = model.nodes.some(({ domain }) => domain === contribDomain)
  for (const [domain, version] of [["", opset], ...(contrib ? [[contribDomain, 1] as const] : [])] as const)
    message(writer, 8, () => {
      text(writer, 1, domain)
      writer.tag(2, WireType.Varint).int64(version)
    })
  return writer.finish()
}

const message = (writer: BinaryWriter, field: number, body: () => void): void => {
  writer.tag(field, WireType.LengthDelimited).fork()
  body()
  writer.join()
}

const text = (writer: BinaryWriter, field: number, value: string): void => {
  writer.tag(field, WireType.LengthDelimited).string(value)
}

const graph = (writer: BinaryWriter, { constants, inputs, nodes, outputs }: OnnxModel): void => {
  for (const node of nodes) message(writer, 1, () => writeNode(writer, node))
  text(writer, 2, "program")
  for (const { data, name, shape, type } of constants)
    message(writer, 5, () => {
      for (const size of shape) writer.tag(1, WireType.Varint).int64(size)
      writer.tag(2, WireType.Varint).int32(onnxTypes[type])
      text(writer, 8, name)
      writer.tag(9, WireType.LengthDelimited).bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    })
  for (const input of inputs) message(writer, 11, () => value(writer, input))
  for (const output of outputs) message(writer, 12, () => value(writer, output))
}

const writeNode = (writer: BinaryWriter, { attributes, domain, inputs, op, outputs }: OnnxNode): void => {
  for (const input of inputs) text(writer, 1, input)
  for (const output of outputs) text(writer, 2, output)
  text(writer, 4, op)
  for (const [name, attribute] of Object.entries(attributes))
    message(writer, 5, () => {
      text(writer, 1, name)
      // The last field is `AttributeProto.AttributeType`.
      if (attribute instanceof Float)
        writer.tag(2, WireType.Bit32).float(attribute.value).tag(20, WireType.Varint).int32(1)
      else if (typeof attribute === "number")
        writer.tag(3, WireType.Varint).int64(attribute).tag(20, WireType.Varint).int32(2)
      else if (typeof attribute === "string") {
        text(writer, 4, attribute)
        writer.tag(20, WireType.Varint).int32(3)
      } else if (attribute instanceof Subgraph) {
        message(writer, 6, () => subgraph(writer, attribute))
        writer.tag(20, WireType.Varint).int32(5)
      } else {
        for (const element of attribute) writer.tag(8, WireType.Varint).int64(element)
        writer.tag(20, WireType.Varint).int32(7)
      }
    })
  if (domain !== "") text(writer, 7, domain)
}

const subgraph = (writer: BinaryWriter, { inputs, nodes, outputs }: Subgraph): void => {
  for (const node of nodes) message(writer, 1, () => writeNode(writer, node))
  text(writer, 2, "body")
  for (const input of inputs) message(writer, 11, () => innerValue(writer, input))
  for (const output of outputs) message(writer, 12, () => innerValue(writer, output))
}

const innerValue = (writer: BinaryWriter, { kind, name, type }: InnerValue): void => {
  const tensor = (): void =>
    message(writer, 1, () => {
      writer.tag(1, WireType.Varint).int32(onnxTypes[type])
      // No sizes are those of a scalar; where sizes are not known, they are not there at all.
      if (kind === "scalar") message(writer, 2, () => {})
    })
  text(writer, 1, name)
  // `TypeProto.Sequence.elem_type`
  message(writer, 2, () => (kind === "sequence" ? message(writer, 4, () => message(writer, 1, tensor)) : tensor()))
}

const value = (writer: BinaryWriter, { name, shape, type }: OnnxValue): void => {
  text(writer, 1, name)
  message(writer, 2, () =>
    message(writer, 1, () => {
      writer.tag(1, WireType.Varint).int32(onnxTypes[type])
      message(writer, 2, () => {
        for (const size of shape)
          message(writer, 1, () => {
            if (typeof size === "string") text(writer, 2, size)
            else writer.tag(1, WireType.Varint).int64(size)
          })
      })
    })
  )
}
