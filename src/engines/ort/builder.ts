/** Collects the nodes of an ONNX graph, and what the lowering of an op is given. */
import type { DType } from "../../tensor/dtype.ts"
import type { Attributes, Operands, ProgramOp } from "../../tensor/primitives.ts"
import type { ValueType } from "../../tensor/Program.ts"
import type { Shape } from "../../tensor/Tensor.ts"
import { type InnerValue, type OnnxAttribute, type OnnxModel, type OnnxType, onnxTypes, Subgraph } from "./onnx.ts"

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends ReadonlyArray<infer E> ? Array<E> : T[K] }

/** Collects the nodes of a graph under names that only depend on their order. */
export class Builder {
  readonly model: Mutable<OnnxModel> = { nodes: [], constants: [], inputs: [], outputs: [] }
  readonly #constants = new Map<string, string>()
  #names = 0

  name(): string {
    return `t${this.#names++}`
  }
  node(
    op: string,
    inputs: ReadonlyArray<string>,
    attributes: { readonly [name: string]: OnnxAttribute } = {},
    { domain = "", outputs = 1 }: { readonly domain?: string; readonly outputs?: number } = {}
  ): ReadonlyArray<string> {
    const names = Array.from({ length: outputs }, () => this.name())
    this.model.nodes.push({ op, domain, inputs, outputs: names, attributes })
    return names
  }
  one(op: string, inputs: ReadonlyArray<string>, attributes: { readonly [name: string]: OnnxAttribute } = {}): string {
    return this.node(op, inputs, attributes)[0]!
  }
  /** A graph within a node: the nodes that `body` adds, given its inputs. */
  within(
    inputs: ReadonlyArray<Omit<InnerValue, "name">>,
    outputs: ReadonlyArray<Omit<InnerValue, "name">>,
    body: (...inputs: ReadonlyArray<string>) => ReadonlyArray<string>
  ): Subgraph {
    const around = this.model.nodes
    this.model.nodes = []
    const given = inputs.map(each => ({ ...each, name: this.name() }))
    const made = body(...given.map(({ name }) => name))
    const { nodes } = this.model
    this.model.nodes = around
    return new Subgraph({ nodes, inputs: given, outputs: outputs.map((each, i) => ({ ...each, name: made[i]! })) })
  }
  reshape(x: string, shape: Shape): string {
    return this.one("Reshape", [x, this.i64(shape)])
  }
  /** Elements from <= i < to along an axis. */
  slice(x: string, axis: number, from: number, to: number): string {
    return this.one("Slice", [x, this.i64([from]), this.i64([to]), this.i64([axis]), this.i64([1])])
  }
  constant(type: OnnxType, shape: Shape, data: ArrayBufferView): string {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    const key = `${type} ${shape.join(",")} ${bytes.toString("latin1")}`
    const known = this.#constants.get(key)
    if (known !== undefined) return known
    const name = this.name()
    this.#constants.set(key, name)
    this.model.constants.push({ name, type, shape, data })
    return name
  }
  /** Through one type after the other. */
  cast(x: string, ...types: ReadonlyArray<OnnxType>): string {
    return types.reduce((value, type) => this.one("Cast", [value], { to: onnxTypes[type] }), x)
  }
  f32(value: number): string {
    return this.constant("f32", [], Float32Array.of(value))
  }
  i64(values: ReadonlyArray<number>): string {
    return this.constant("i64", [values.length], BigInt64Array.from(values, BigInt))
  }
  i64Scalar(value: number): string {
    return this.constant("i64", [], BigInt64Array.of(BigInt(value)))
  }
}

export const isHalf = (dtype: DType): dtype is "f16" | "bf16" => dtype === "f16" || dtype === "bf16"

/** How values of a dtype travel inside of a graph. */
export const carrier = (dtype: DType): OnnxType => (isHalf(dtype) ? "f32" : dtype)

/** Whose operators a model may use: those that ONNX Runtime has for the processor, or for WebGPU, or those of the ONNX standard alone. */
export type Target = "cpu" | "webgpu" | "standard"

/** What the lowering of any op may know. */
export interface Lowering {
  readonly b: Builder
  readonly inputs: ReadonlyArray<string>
  readonly types: ReadonlyArray<ValueType>
  /** Type of the first result. */
  readonly out: ValueType
  readonly target: Target
}

export interface LoweringOf<O extends ProgramOp> extends Omit<Lowering, "inputs" | "types"> {
  readonly inputs: Operands<O, string>
  readonly types: Operands<O, ValueType>
  readonly attributes: Attributes[O]
}

/** Adds an op's operators; returns the names of its results. */
export type Lower<O extends ProgramOp> = (context: LoweringOf<O>) => string | ReadonlyArray<string>
