/** Derives keys and finds results: which nodes of a plan are hits, which must run, which cannot be known yet. */
import { portKind } from "../pipeline/Artifact.ts"
import { canonical, type Digest } from "../pipeline/Digest.ts"
import { actionKey, itemFamily, type KeyComponents, type KeyInput } from "../pipeline/Key.ts"
import type { NodeId, Plan, PlanNode } from "../pipeline/Plan.ts"
import type { KnownAction, KnownOutput } from "../ledger/Actions.ts"
import type { Snapshot } from "../ledger/Plans.ts"
import { ownField } from "../pipeline/ownField.ts"

/** The code of a node's stage, as it enters the key, and as the ledger keeps it. */
export interface CodeOf {
  readonly digest: Digest
  readonly detail: string
}

/** What resolving needs to know besides the plan. */
export interface ResolverOptions {
  readonly plan: Plan
  readonly codeOf: (node: PlanNode) => CodeOf
  /** Canonical JSON of what a node's parameters stand for, where its stage defines that. */
  readonly identityOf: (node: PlanNode) => string | undefined
  /** Whether a node's parameters stand for something that could not be found out: it stays unknown. */
  readonly isOpen?: (node: PlanNode) => boolean
  /** Numeric class of the engine. */
  readonly engine: string
  readonly lookup: (keys: ReadonlyArray<Digest>) => ReadonlyMap<Digest, KnownAction>
  readonly snapshot: Snapshot | undefined
  /** Nodes that are to be computed in this run, whatever is known of them. */
  readonly anew?: ReadonlySet<NodeId> | undefined
  /** The ledger's generation before the first look: what was found holds as long as it stays the same. */
  readonly generation: number
}

/**
 * - `unknown`: an input is not known yet, or what the parameters stand for;
 * - `miss`: the key is known and was never computed (or its result is wanted anew);
 * - `known`: the outputs' digests are known. Their bytes may still be collected or lost.
 */
export type NodeState =
  | { readonly _tag: "unknown" }
  | { readonly _tag: "miss"; readonly key: Digest }
  | { readonly _tag: "known"; readonly key: Digest; readonly outputs: ReadonlyArray<KnownOutput> }

const unknown: NodeState = { _tag: "unknown" }

export class Resolver {
  readonly plan: Plan
  readonly states: Array<NodeState>
  readonly #options: ResolverOptions
  readonly #anew: Set<NodeId>
  #lookup: ResolverOptions["lookup"]
  #generation: number

  constructor(options: ResolverOptions) {
    this.plan = options.plan
    this.#generation = options.generation
    this.#lookup = options.lookup
    this.#options = options
    this.#anew = new Set(options.anew)
    this.states = Array.from(options.plan.nodes, () => unknown)
  }

  /** The ledger's generation when the first results were looked up. */
  get generation(): number {
    return this.#generation
  }

  /** Resolves everything anew: what was found before may be gone since. */
  again(generation: number): void {
    this.#generation = generation
    for (const { id } of this.plan.nodes) this.states[id] = unknown
    this.#resolveWaves(this.#firstWave())
  }

  /** From now on results are looked up this way. */
  lookUpBy(lookup: ResolverOptions["lookup"]): void {
    this.#lookup = lookup
  }

  /** Whether a node is still to be computed, although its result may be known. */
  isAnew(id: NodeId): boolean {
    return this.#anew.has(id)
  }

  /** Digests of all results that were found, and whose bytes are there. */
  found(): ReadonlyArray<Digest> {
    return this.states.flatMap(state =>
      state._tag === "known" ? state.outputs.flatMap(output => (output.state === "present" ? [output.digest] : [])) : []
    )
  }

  /** All parts of a node's key; undefined while an input is unknown, or what the parameters stand for. */
  components(node: PlanNode): KeyComponents | undefined {
    if (this.#options.isOpen?.(node) === true) return undefined
    const inputs: Array<KeyInput> = []
    for (const wire of node.wires) {
      const state = this.states[wire.node]!
      if (state._tag !== "known") return undefined
      const output =
        state.outputs.length === 1 ? state.outputs[0] : state.outputs.find(({ port }) => port === wire.output)
      if (output === undefined) return undefined
      inputs.push({ port: wire.port, name: wire.name, digest: output.digest })
    }
    return {
      stage: node.stage.name,
      code: this.#options.codeOf(node).digest,
      engine: node.stage.engine ? this.#options.engine : "none",
      parameters: this.#options.identityOf(node) ?? node.parametersText,
      inputs
    }
  }

  codeDetail(node: PlanNode): string {
    return this.#options.codeOf(node).detail
  }

  /** What the items of each chunk-set output have in common. */
  families(node: PlanNode, components: KeyComponents): ReadonlyMap<string, Digest> {
    const families = new Map<string, Digest>()
    for (const [output, kind] of Object.entries(node.stage.outputs)) {
      if (!portKind(kind).chunked) continue
      const { items } = node.stage
      const written = JSON.parse(node.parametersText) as Record<string, unknown>
      // What a parameter stands for is not told apart from what the others do: with an identity all of it counts.
      const isWhole =
        items?.parameters === undefined || (items.parameters.length > 0 && node.stage.identity !== undefined)
      const parameters = isWhole
        ? components.parameters
        : canonical(Object.fromEntries(items.parameters.map(name => [name, ownField(written, name)])))
      const inputs = components.inputs.filter(input => items?.inputs?.includes(input.port) === true)
      families.set(output, itemFamily({ ...components, parameters, inputs, output }))
    }
    return families
  }

  /**
   * Resolves as much as the ledger knows, in topological order. Where the last run of this pipeline came to the same keys its
   * snapshot answers; the rest is asked for in waves, one batch each.
   */
  resolveAll(): void {
    const unanswered = this.#walkSnapshot()
    if (unanswered.length > 0) this.#resolveWaves(unanswered)
  }

  /** Follows the snapshot; returns the nodes whose inputs are known but whose key it does not hold. */
  #walkSnapshot(): Array<NodeId> {
    const { plan, snapshot } = this.#options
    const unanswered: Array<NodeId> = []
    let place = 0
    for (const node of plan.nodes) {
      const components = this.components(node)
      const outputs = Object.keys(node.stage.outputs)
      const stored = snapshot?.at(place)
      const blank = stored === undefined || stored.startsWith("00000000")
      if (components !== undefined) {
        const key = actionKey(components)
        if (this.#anew.has(node.id)) this.states[node.id] = { _tag: "miss", key }
        else if (stored === key) {
          this.states[node.id] = {
            _tag: "known",
            key,
            outputs: outputs.map((port, i) => ({ port, digest: snapshot!.at(place + 1 + i)!, state: "present" }))
          }
        } else {
          this.states[node.id] = { _tag: "miss", key }
          unanswered.push(node.id)
        }
      }
      place += blank ? 1 : 1 + outputs.length
    }
    return unanswered
  }

  #firstWave(): Array<NodeId> {
    return this.plan.nodes.filter(node => node.wires.length === 0).map(({ id }) => id)
  }

  #resolveWaves(first: Array<NodeId>): void {
    const { plan } = this.#options
    const waitingFor = new Map<NodeId, Array<NodeId>>()
    const missing = new Map<NodeId, number>()
    for (const node of plan.nodes) {
      if (this.states[node.id]!._tag !== "unknown") continue
      const open = new Set(node.wires.map(wire => wire.node).filter(id => this.states[id]!._tag !== "known"))
      missing.set(node.id, open.size)
      for (const id of open) {
        const list = waitingFor.get(id)
        if (list === undefined) waitingFor.set(id, [node.id])
        else list.push(node.id)
      }
    }
    let wave = first
    while (wave.length > 0) {
      const next: Array<NodeId> = []
      for (const id of this.resolve(wave)) {
        for (const consumer of waitingFor.get(id) ?? []) {
          const open = missing.get(consumer)! - 1
          missing.set(consumer, open)
          if (open === 0) next.push(consumer)
        }
      }
      wave = next
    }
  }

  /** Resolves nodes whose inputs are known, with one lookup; returns those that turned out to be known. */
  resolve(nodes: ReadonlyArray<NodeId>): ReadonlyArray<NodeId> {
    const keys = new Map<NodeId, Digest>()
    for (const id of nodes) {
      const state = this.states[id]!
      const components = state._tag === "miss" ? undefined : this.components(this.plan.nodes[id]!)
      if (state._tag === "miss") keys.set(id, state.key)
      else if (components !== undefined) keys.set(id, actionKey(components))
    }
    const found = this.#lookup([...keys].flatMap(([id, key]) => (this.#anew.has(id) ? [] : [key])))
    const known: Array<NodeId> = []
    for (const [id, key] of keys) {
      const action = this.#anew.has(id) ? undefined : found.get(key)
      const { outputs } = this.plan.nodes[id]!.stage
      if (action !== undefined && action.outputs.length === Object.keys(outputs).length) {
        this.states[id] = { _tag: "known", key, outputs: action.outputs }
        known.push(id)
      } else {
        this.states[id] = { _tag: "miss", key }
      }
    }
    return known
  }

  /** Records what an executed node returned. */
  settle(id: NodeId, key: Digest, outputs: ReadonlyArray<KnownOutput>): void {
    // The same action may stand in the plan twice.
    for (const other of this.#anew) {
      const state = this.states[other]!
      if (other === id || (state._tag === "miss" && state.key === key)) this.#anew.delete(other)
    }
    this.states[id] = { _tag: "known", key, outputs }
  }

  /** Forgets what is known of a node, because something above it changed. */
  forget(id: NodeId): void {
    this.states[id] = unknown
  }
}
