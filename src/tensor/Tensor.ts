/**
 * Tensors of a trace: immutable nodes of an expression graph with static shapes. Nothing is computed here; the functions of
 * `ops.ts` make nodes, `Program.ts` gathers them, engines run them.
 */
import type { DType } from "./dtype.ts"
import type { Attributes, Op } from "./primitives.ts"

export type Shape = ReadonlyArray<number>

/** One application of a primitive op. */
export interface Node<O extends Op = Op> {
  /** Ascending in the order of creation, so that sorting by it is a topological order. */
  readonly id: number
  readonly op: O
  readonly attributes: Attributes[O]
  readonly inputs: ReadonlyArray<Tensor>
  readonly outputs: ReadonlyArray<{ readonly dtype: DType; readonly shape: Shape }>
  /**
   * Number of the recomputation that made this copy of a node, or of the part of the trace that stands apart (`apart`); 0 for all else. Nodes of different numbers are never
   * merged: that would keep alive what checkpointing lets go.
   */
  readonly recomputation: number
}

/** One output of a node. */
export class Tensor {
  readonly node: Node
  readonly index: number

  constructor(node: Node, index: number) {
    this.node = node
    this.index = index
  }
  get dtype(): DType {
    return this.node.outputs[this.index]!.dtype
  }
  get shape(): Shape {
    return this.node.outputs[this.index]!.shape
  }
  get rank(): number {
    return this.shape.length
  }
  /** Number of elements. */
  get size(): number {
    return elements(this.shape)
  }
}

let lastId = 0
let lastRecomputation = 0
/** Of nodes that are made now. */
let current = 0

/** A number that no node has. */
export const newRecomputation = (): number => ++lastRecomputation

/**
 * Traces `body`; nothing that it computes is merged with the same computed elsewhere, so that large values which two parts of a program would share (a weight in NF4 made
 * dense) do not live from one part to the other.
 */
export const apart = <A>(body: () => A): A => {
  const outer = current
  current = newRecomputation()
  try {
    return body()
  } finally {
    current = outer
  }
}

/** Adds a node to the trace. */
export const makeNode = <O extends Op>(
  op: O,
  attributes: Attributes[O],
  inputs: ReadonlyArray<Tensor>,
  outputs: Node["outputs"],
  recomputation = current
): Node<O> => ({ id: ++lastId, op, attributes, inputs, outputs, recomputation })

/** The id that the next node will exceed: nodes made from now on have a larger one. */
export const traceMark = (): number => lastId

export const elements = (shape: Shape): number => {
  let n = 1
  for (const size of shape) n *= size
  return n
}

export const shapeText = (shape: Shape): string => `[${shape.join(", ")}]`

/** Where ops that are made of others lie: whoever called those is to blame. In the built program all code is in few files. */
const ownFrames = import.meta.url.endsWith(".ts") ? new URL(".", import.meta.url).pathname : undefined

/** A wrong use of an op, found while tracing: names the op, the shapes, and the line that called it. */
export class TensorError extends Error {
  override readonly name = "TensorError"
  readonly op: string

  /** `caller` is the public function whose callers are to blame: frames above it are left out of the stack. */
  constructor(op: string, problem: string, caller: (...args: never) => unknown) {
    super(`${op}: ${problem}`)
    this.op = op
    Error.captureStackTrace(this, caller)
    const frames = this.stack?.split("\n").filter(frame => frame.trimStart().startsWith("at ")) ?? []
    const line = frames.find(frame => ownFrames === undefined || !frame.includes(ownFrames)) ?? frames[0]
    if (line !== undefined) this.message += `\n  ${line.trim()}`
  }
}
