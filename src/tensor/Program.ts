/**
 * A program: a traced graph as plain data, in an order in which it can be run. Engines compile programs; two traces of the same
 * computation make the same program, whatever the order and number of the nodes that led to it.
 */
import type { DType, HostArray } from "./dtype.ts"
import type { Attributes, Op, ProgramOp } from "./primitives.ts"
import { sameShape } from "./shape.ts"
import { TensorError, type Node, type Shape, type Tensor } from "./Tensor.ts"

/** A number for each value of a program: instructions define values in ascending order. */
export type ValueId = number

export interface ValueType {
  readonly dtype: DType
  readonly shape: Shape
}

export interface Instruction<O extends ProgramOp = ProgramOp> {
  readonly op: O
  readonly attributes: Attributes[O]
  readonly inputs: ReadonlyArray<ValueId>
  readonly outputs: ReadonlyArray<ValueId>
  /** 0, or the number of the recomputation that this instruction belongs to; see Node.recomputation. */
  readonly recomputation: number
}

export interface Program {
  /** Types of all values, by id: inputs first, then constants, then results of instructions. */
  readonly values: ReadonlyArray<ValueType>
  /** In ascending order of name. */
  readonly inputs: ReadonlyArray<{ readonly name: string; readonly value: ValueId }>
  readonly constants: ReadonlyArray<{ readonly value: ValueId; readonly data: HostArray }>
  readonly instructions: ReadonlyArray<Instruction>
  /** In the order in which they were given. */
  readonly outputs: ReadonlyArray<{ readonly name: string; readonly value: ValueId }>
}

/**
 * The program that computes named outputs. What they do not need is left out, equal subexpressions are computed once, a reshape of a reshape is one,
 * annotations for differentiation are removed.
 */
export const makeProgram = (outputs: { readonly [name: string]: Tensor }): Program => {
  const nodes = reachable(Object.values(outputs))
  const values: Array<ValueType> = []
  const instructions: Array<Instruction> = []
  /** The values of each node's outputs. */
  const valuesOf = new Map<Node, ReadonlyArray<ValueId>>()
  const define = (node: Node): ReadonlyArray<ValueId> =>
    node.outputs.map(({ dtype, shape }) => values.push({ dtype, shape }) - 1)

  const inputs = inputsOf(nodes).map(node => {
    const ids = define(node)
    valuesOf.set(node, ids)
    return { name: node.attributes.name, value: ids[0]! }
  })

  const constants: Array<{ readonly value: ValueId; readonly data: HostArray }> = []
  const sameConstant = new Map<string, ReadonlyArray<ValueId>>()
  for (const node of nodes) {
    if (!isOp(node, "constant")) continue
    const { data, dtype, shape } = node.attributes
    const key = `${dtype} ${shape.join(",")} ${Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("latin1")}`
    let ids = sameConstant.get(key)
    if (ids === undefined) {
      ids = define(node)
      sameConstant.set(key, ids)
      constants.push({ value: ids[0]!, data })
    }
    valuesOf.set(node, ids)
  }

  const sameInstruction = new Map<string, ReadonlyArray<ValueId>>()
  /** Recomputations are numbered in the order of their appearance, so that equal traces make equal programs. */
  const recomputations = new Map<number, number>([[0, 0]])
  for (const node of nodes) {
    if (node.op === "input" || node.op === "constant") continue
    const inputIds = needed(node).map(tensor => valuesOf.get(tensor.node)![tensor.index]!)
    if (isAnnotation(node.op) || changesNothing(node)) {
      valuesOf.set(node, inputIds)
      continue
    }
    const recomputation = recomputations.get(node.recomputation) ?? recomputations.size
    recomputations.set(node.recomputation, recomputation)
    const key = `${node.op} ${inputIds.join(",")} ${JSON.stringify(node.attributes)} ${recomputation}`
    let ids = sameInstruction.get(key)
    if (ids === undefined) {
      ids = define(node)
      sameInstruction.set(key, ids)
      instructions.push({
        op: node.op,
        attributes: node.attributes,
        inputs: inputIds,
        outputs: ids,
        recomputation
      } as Instruction)
    }
    valuesOf.set(node, ids)
  }

  return {
    values,
    inputs,
    constants,
    instructions,
    outputs: Object.entries(outputs).map(([name, tensor]) => ({
      name,
      value: valuesOf.get(tensor.node)![tensor.index]!
    }))
  }
}

const isOp = <O extends Op>(node: Node, op: O): node is Node<O> => (node.op as Op) === op

const isAnnotation = (op: Op): op is "stopGradient" | "checkpoint" | "customGradient" =>
  op === "stopGradient" || op === "checkpoint" || op === "customGradient"

/** What a node is computed from: an annotation from the values that it marks; a reshape from what the reshapes before it began with. */
const needed = (node: Node): ReadonlyArray<Tensor> => {
  if (isAnnotation(node.op)) return node.inputs.slice(0, node.outputs.length)
  if (node.op !== "reshape") return node.inputs
  let x = node.inputs[0]!
  while (isAnnotation(x.node.op) || x.node.op === "reshape") x = x.node.inputs[x.index]!
  return [x]
}

/** Whether reshapes led back to the shape from which they came. */
const changesNothing = (node: Node): boolean =>
  node.op === "reshape" && sameShape(node.outputs[0]!.shape, needed(node)[0]!.shape)

/** The nodes that some tensors need, in the order of their creation. */
export const reachable = (roots: ReadonlyArray<Tensor>): ReadonlyArray<Node> => {
  const found = new Set<Node>()
  const pending = roots.map(({ node }) => node)
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (found.has(node)) continue
    found.add(node)
    for (const { node: input } of needed(node)) if (!found.has(input)) pending.push(input)
  }
  return [...found].toSorted((a, b) => a.id - b.id)
}

const inputsOf = (nodes: ReadonlyArray<Node>): ReadonlyArray<Node<"input">> => {
  const byName = new Map<string, Node<"input">>()
  for (const node of nodes) {
    if (!isOp(node, "input")) continue
    const { name } = node.attributes
    if (byName.has(name)) throw new TensorError("input", `two inputs of one program are called "${name}"`, makeProgram)
    byName.set(name, node)
  }
  return [...byName.values()].toSorted((a, b) => (a.attributes.name < b.attributes.name ? -1 : 1))
}
