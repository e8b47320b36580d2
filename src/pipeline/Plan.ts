/** A plan: the stages of one pipeline under one profile, with parameters and wiring, before anything is known to exist. */
import type { Bill } from "./Bill.ts"
import type { Digest } from "./Digest.ts"
import type { AnyStage } from "./Stage.ts"

/** Index of a node in its plan. A node's inputs always have smaller indices, so the order of the array is topological. */
export type NodeId = number

/** One artifact that a node takes: from which node's output, to which port, under which name (ports of arity `named` only). */
export interface Wire {
  readonly port: string
  readonly name: string | undefined
  readonly node: NodeId
  readonly output: string
}

export interface PlanNode {
  readonly id: NodeId
  /** The stage's name, or `stage/name`; unique in the plan. */
  readonly label: string
  readonly stage: AnyStage
  /** Decoded, defaults filled in. */
  readonly parameters: unknown
  /** Canonical JSON of the encoded parameters, as they enter the key. */
  readonly parametersText: string
  /** The parameters as the pipeline gave them, before overrides and defaults: their origins tell file and line (see Origin.ts). */
  readonly given?: unknown
  /** What `--set` has laid on them, as it was typed; the last of a path counts. */
  readonly set?: ReadonlyArray<{ readonly path: ReadonlyArray<string>; readonly text: string }>
  /** By port in the stage's order of declaration. */
  readonly wires: ReadonlyArray<Wire>
}

export interface Plan {
  readonly pipeline: string
  readonly profile: string
  /** Whether it is a first look, in little time. */
  readonly quick?: boolean
  readonly nodes: ReadonlyArray<PlanNode>
  /** What the pipeline returned, by name: the results people want on disk. */
  readonly targets: ReadonlyArray<{ readonly name: string; readonly node: NodeId; readonly output: string }>
  /** What these nodes need, where the profile says it. */
  readonly bill?: BillOf
}

/** From nodes, with the parameters that `--set` has made of them, and the precision of the engine, as the flag names it. */
export type BillOf = (nodes: ReadonlyArray<PlanNode>, machine: { readonly precision: string }) => Bill

/** What is known of a node's output: the artifact's digest. */
export type Outputs = ReadonlyMap<string, Digest>

/**
 * The nodes that the given ones need, themselves included, in topological order.
 * Iterative: a chain may be 100,000 stages deep.
 */
export const ancestors = (plan: Plan, of: Iterable<NodeId>): ReadonlyArray<NodeId> => {
  const wanted = new Uint8Array(plan.nodes.length)
  for (const id of of) wanted[id] = 1
  for (let id = plan.nodes.length - 1; id >= 0; id--) {
    if (wanted[id] === 1) for (const wire of plan.nodes[id]!.wires) wanted[wire.node] = 1
  }
  const found: Array<NodeId> = []
  for (let id = 0; id < wanted.length; id++) if (wanted[id] === 1) found.push(id)
  return found
}

/** For each node the nodes that consume one of its outputs (each once). */
export const consumers = (plan: Plan): ReadonlyArray<ReadonlyArray<NodeId>> => {
  const lists: Array<Array<NodeId>> = Array.from({ length: plan.nodes.length }, () => [])
  for (const node of plan.nodes) {
    for (const wire of node.wires) {
      const list = lists[wire.node]!
      if (list[list.length - 1] !== node.id) list.push(node.id)
    }
  }
  return lists
}

/** Whether a label is meant by `STAGE` or `STAGE/NAME`: it is that, or a use of the stage of that name. */
export const isMeant = (label: string, name: string): boolean => label === name || label.startsWith(`${name}/`)

/** The nodes that are meant by names, and the names by which none is. */
export const meant = (
  { nodes }: Plan,
  names: ReadonlyArray<string>
): { readonly nodes: ReadonlyArray<PlanNode>; readonly unmatched: ReadonlyArray<string> } => ({
  nodes: nodes.filter(({ label }) => names.some(name => isMeant(label, name))),
  unmatched: names.filter(name => !nodes.some(({ label }) => isMeant(label, name)))
})

/** Keeps the nodes that are meant by names, and everything that they need. */
export const only = (
  plan: Plan,
  names: ReadonlyArray<string>
): { readonly plan: Plan; readonly unmatched: ReadonlyArray<string> } => {
  const { nodes: chosen, unmatched } = meant(plan, names)
  const kept = ancestors(
    plan,
    chosen.map(node => node.id)
  )
  const renumbered = new Map(kept.map((id, index) => [id, index]))
  const nodes = kept.map((id, index) => {
    const node = plan.nodes[id]!
    return { ...node, id: index, wires: node.wires.map(wire => ({ ...wire, node: renumbered.get(wire.node)! })) }
  })
  const targets = chosen.flatMap(node => {
    const outputs = Object.keys(node.stage.outputs)
    return outputs.map(output => ({
      name: outputs.length === 1 ? node.label : `${node.label}.${output}`,
      node: renumbered.get(node.id)!,
      output
    }))
  })
  return { plan: { ...plan, nodes, targets }, unmatched }
}
