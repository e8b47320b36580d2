/** Reverse-mode differentiation of traced graphs. Emits the same ops; engines need not know of it. */
import { zeros } from "./composites.ts"
import { add, after, constant } from "./ops.ts"
import type { Attributes } from "./primitives.ts"
import { cotangents } from "./rules.ts"
import { sameShape } from "./shape.ts"
import { makeNode, newRecomputation, shapeText, Tensor, TensorError, traceMark, type Node } from "./Tensor.ts"

/** The gradient of a scalar with respect to tensors, each of its tensor's dtype and shape; zeros where nothing flows. */
export const gradients = (of: Tensor, wrt: ReadonlyArray<Tensor>): ReadonlyArray<Tensor> => {
  if (of.size !== 1) throw new TensorError("gradients", `needs a scalar, got ${shapeText(of.shape)}`, gradients)
  return vjp([of], [constant(1, of.dtype, of.shape)], wrt)
}

/** Vector-Jacobian product: cotangents of outputs to cotangents of the tensors `wrt`. */
export const vjp = (
  outputs: ReadonlyArray<Tensor>,
  seeds: ReadonlyArray<Tensor>,
  wrt: ReadonlyArray<Tensor>
): ReadonlyArray<Tensor> => {
  for (const [i, output] of outputs.entries()) {
    if (seeds[i] === undefined || !sameShape(seeds[i].shape, output.shape))
      throw new TensorError("vjp", `output ${i} needs a cotangent of shape ${shapeText(output.shape)}`, vjp)
  }
  const found = backward(outputs, seeds, wrt)
  return wrt.map((tensor, i) => found[i] ?? zeros(tensor.dtype, tensor.shape))
}

/** Cotangents that have arrived so far, by node and output. */
class Arrived {
  readonly #byNode = new Map<Node, Array<Tensor | undefined>>()

  add({ index, node }: Tensor, g: Tensor): void {
    const all = this.#byNode.get(node) ?? []
    const earlier = all[index]
    all[index] = earlier === undefined ? g : add(earlier, g)
    this.#byNode.set(node, all)
  }
  of(node: Node): ReadonlyArray<Tensor | undefined> | undefined {
    return this.#byNode.get(node)
  }
}

const backward = (
  outputs: ReadonlyArray<Tensor>,
  seeds: ReadonlyArray<Tensor>,
  wrt: ReadonlyArray<Tensor>
): ReadonlyArray<Tensor | undefined> => {
  const nodes = ancestors(outputs)
  const active = dependants(nodes, wrt)
  const arrived = new Arrived()
  /** What the recomputation before led to: the next one waits for it, so that only one region's inside is there at a time. */
  let before: ReadonlyArray<Tensor> = []
  for (const [i, output] of outputs.entries()) arrived.add(output, seeds[i]!)
  // Ids ascend along every edge, so that a node's cotangents are complete when its turn comes.
  for (const node of nodes.toReversed()) {
    const g = arrived.of(node)
    if (g === undefined || !active.has(node)) continue
    if (node.op === "checkpoint") before = recompute(node as Node<"checkpoint">, { g, active, wrt, arrived, before })
    else if (node.op === "customGradient") applyCustom(node as Node<"customGradient">, g, active, arrived)
    else if (g[0] !== undefined) {
      const context = {
        g: g[0],
        inputs: node.inputs,
        outputs: node.outputs.map((_, index) => new Tensor(node, index)),
        attributes: node.attributes
      }
      for (const [i, cotangent] of cotangents(node.op, context).entries())
        if (cotangent !== undefined && active.has(node.inputs[i]!.node)) arrived.add(node.inputs[i]!, cotangent())
    }
  }
  return wrt.map(({ index, node }) => arrived.of(node)?.[index])
}

const applyCustom = (
  node: Node<"customGradient">,
  g: ReadonlyArray<Tensor | undefined>,
  active: ReadonlySet<Node>,
  arrived: Arrived
): void => {
  const inputs = node.inputs.slice(node.outputs.length)
  for (const [i, cotangent] of node.attributes.rule(g, inputs).entries())
    if (cotangent !== undefined && active.has(inputs[i]!.node)) arrived.add(inputs[i]!, cotangent)
}

interface Backward {
  readonly g: ReadonlyArray<Tensor | undefined>
  readonly active: ReadonlySet<Node>
  readonly wrt: ReadonlyArray<Tensor>
  readonly arrived: Arrived
  readonly before: ReadonlyArray<Tensor>
}

/**
 * Computes the nodes younger than the mark again, from their inputs, once a cotangent is there; differentiates the copies. Returns what that led
 * to.
 */
const recompute = (node: Node<"checkpoint">, { active, arrived, before, g, wrt }: Backward): ReadonlyArray<Tensor> => {
  const { mark } = node.attributes
  const recomputation = newRecomputation()
  const inside = ancestors(node.inputs, ({ id }) => id > mark).filter(({ id }) => id > mark)
  for (const tensor of wrt)
    if (inside.includes(tensor.node))
      throw new TensorError(
        "checkpoint",
        "a gradient is asked for with respect to a tensor made inside of it",
        gradients
      )

  const seeds = g.filter(cotangent => cotangent !== undefined)
  const entered = new Map<Tensor, Tensor>()
  const enter = (tensor: Tensor): Tensor => {
    const known = [...entered.keys()].find(other => other.node === tensor.node && other.index === tensor.index)
    if (known !== undefined) return entered.get(known)!
    const copy = after(tensor, [...seeds, ...before])
    entered.set(tensor, copy)
    return copy
  }
  // All borders first, so that every copy made below is younger than every one of them.
  for (const { inputs } of inside)
    for (const input of inputs) if (input.node.id <= mark && input.node.op !== "constant") enter(input)

  const copies = new Map<Node, Node>()
  const copied = (tensor: Tensor): Tensor => {
    const copy = copies.get(tensor.node)
    if (copy !== undefined) return new Tensor(copy, tensor.index)
    return tensor.node.id > mark || tensor.node.op === "constant" ? tensor : enter(tensor)
  }
  for (const original of inside) {
    // Inputs and constants that were made inside are no computation: there is nothing to do again.
    if (original.inputs.length === 0) continue
    const attributes =
      original.op === "checkpoint"
        ? { mark: markAmong(copies, (original.attributes as Attributes["checkpoint"]).mark) }
        : original.attributes
    copies.set(
      original,
      makeNode(original.op, attributes as never, original.inputs.map(copied), original.outputs, recomputation)
    )
  }
  const originals = new Set(inside.filter(({ inputs }) => inputs.length > 0))
  const borders = [...entered].filter(([tensor]) => active.has(tensor.node))
  const wanted = node.inputs.flatMap((value, i) => (g[i] === undefined ? [] : [{ value: copied(value), seed: g[i] }]))
  const result = backward(
    wanted.map(({ value }) => value),
    wanted.map(({ seed }) => seed),
    borders.map(([, copy]) => copy)
  )
  // What led to the borders and the seeds is no concern of this region.
  const outside = new Set([...entered.values(), ...seeds].map(tensor => tensor.node))
  const led = result.filter(cotangent => cotangent !== undefined)
  const used = ancestors(led, each => !outside.has(each) && !originals.has(each))
  if (used.some(each => originals.has(each)))
    throw new TensorError(
      "customGradient",
      "its rule uses a tensor made inside of a checkpoint that is not among its inputs",
      gradients
    )
  for (const [i, [tensor]] of borders.entries()) if (result[i] !== undefined) arrived.add(tensor, result[i])
  return led
}

/** Where a nested checkpoint begins among the copies. */
const markAmong = (copies: ReadonlyMap<Node, Node>, mark: number): number => {
  let last = traceMark()
  for (const [original, copy] of copies) {
    if (original.id > mark) return Math.min(last, copy.id - 1)
    last = copy.id
  }
  return last
}

/** All nodes that some tensors are made from, in the order of their creation; `enter` keeps the walk out of nodes. */
const ancestors = (roots: ReadonlyArray<Tensor>, enter: (node: Node) => boolean = () => true): ReadonlyArray<Node> => {
  const found = new Set<Node>()
  const pending = roots.map(({ node }) => node)
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (found.has(node)) continue
    found.add(node)
    if (enter(node)) for (const input of node.inputs) pending.push(input.node)
  }
  return [...found].toSorted((a, b) => a.id - b.id)
}

/** The nodes through which a cotangent must pass to reach one of the tensors. */
const dependants = (nodes: ReadonlyArray<Node>, wrt: ReadonlyArray<Tensor>): ReadonlySet<Node> => {
  const active = new Set(wrt.map(({ node }) => node))
  for (const node of nodes)
    if (node.op !== "stopGradient" && node.inputs.some(input => active.has(input.node))) active.add(node)
  return active
}
