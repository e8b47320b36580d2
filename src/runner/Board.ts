/**
 * The state of every node of a run, and the rules by which it changes. Synchronous: no effect, no clock. In one piece, over 300 lines, because every rule reads and writes
 * the same sets; what can be told apart (keys that are computed for several nodes, patience with setbacks) lies beside it.
 */
import type { KnownOutput } from "../ledger/Actions.ts"
import { fromDamaged } from "../ledger/Why.ts"
import type { Digest } from "../pipeline/Digest.ts"
import { consumers as consumersOf, type NodeId } from "../pipeline/Plan.ts"
import { actionKey } from "../pipeline/Key.ts"
import type { ReadyAction, Settled } from "./Action.ts"
import type { RunEvent } from "./Events.ts"
import { Patience } from "./Patience.ts"
import type { Resolver } from "./Resolver.ts"
import { DuplicateActions } from "./DuplicateActions.ts"
import { append } from "../pipeline/lists.ts"

export interface BoardOptions {
  readonly resolver: Resolver
  /** After a failure, go on with everything that does not need what failed. */
  readonly keepGoing: boolean
  /** Expected milliseconds of a node, from history. */
  readonly estimate: (id: NodeId) => number | undefined
}

export interface ScheduleSummary {
  readonly executed: ReadonlyArray<NodeId>
  /** Found: before anything ran, after something above was known (early cutoff), or computed by another process while we waited. */
  readonly reused: ReadonlyArray<NodeId>
  readonly failed: ReadonlyArray<NodeId>
  readonly skipped: ReadonlyArray<NodeId>
  readonly executedMs: number
}

/**
 * - `waiting`: an input is not there yet. - `ready`: may start. - `running`.
 * - `done`: its outputs are known, and there as far as anyone needs them. - `failed`. - `skipped`: will not run in this run.
 */
type Status = "waiting" | "ready" | "running" | "done" | "failed" | "skipped"

/** A node, its key, and what the action of that key returned. */
type Result = readonly [NodeId, Digest, ReadonlyArray<KnownOutput>]

const isPresent = (outputs: ReadonlyArray<KnownOutput>) => outputs.every(output => output.state === "present")

export class Board {
  readonly #options: BoardOptions
  readonly #resolver: Resolver
  readonly #status: Array<Status>
  readonly #consumers: ReadonlyArray<ReadonlyArray<NodeId>>
  /** Nodes whose bytes are wanted for themselves: the pipeline's targets, and what nobody consumes. */
  readonly #wanted: Uint8Array
  /** For waiting nodes: the producers that they wait for. */
  readonly #blockers = new Map<NodeId, Set<NodeId>>()
  /** Nodes blocked by a producer. */
  readonly #blocked = new Map<NodeId, Set<NodeId>>()
  /** Running nodes whose inputs changed meanwhile: their result answers a question nobody asks any more. */
  readonly #stale = new Set<NodeId>()
  readonly #patience = new Patience()
  /** The key that each running node was started with. */
  readonly #started = new Map<NodeId, Digest>()
  readonly #duplicates: DuplicateActions
  readonly #remake = new Map<NodeId, string>()
  /** What nodes had returned before they were asked anew: when they return something else, their consumers are asked anew, too. */
  readonly #previous = new Map<NodeId, ReadonlyArray<KnownOutput>>()
  #ready: Array<NodeId> = []
  #readyHead = 0
  readonly #events: Array<RunEvent> = []
  readonly #executed = new Set<NodeId>()
  readonly #failed = new Set<NodeId>()
  readonly #skipped = new Set<NodeId>()
  #executedMs = 0
  running = 0
  stopping = false

  constructor(options: BoardOptions) {
    this.#options = options
    this.#resolver = options.resolver
    this.#duplicates = new DuplicateActions(options.resolver)
    const { plan } = options.resolver
    this.#status = Array.from<Status>({ length: plan.nodes.length }).fill("waiting")
    this.#consumers = consumersOf(plan)
    this.#wanted = new Uint8Array(plan.nodes.length)
    for (const target of plan.targets) this.#wanted[target.node] = 1
    this.#consumers.forEach((list, id) => {
      if (list.length === 0) this.#wanted[id] = 1
    })
  }

  /** Sorts the nodes into done, ready and waiting, by what is known of them. */
  survey(): void {
    for (const { id } of this.#resolver.plan.nodes) this.#place(id)
  }

  /** Gives a node that is not running the status that its resolved state asks for. */
  #place(id: NodeId): void {
    const state = this.#resolver.states[id]!
    if (state._tag === "known" && (isPresent(state.outputs) || this.#wanted[id] === 0)) {
      this.#status[id] = "done"
      return
    }
    if (state._tag === "known") this.#wantAgain(id)
    this.#enqueue(id)
  }

  /**
   * Makes a node ready, or lets it wait for the producers whose bytes it needs. Producers whose result is known but gone
   * are made again, and theirs in turn; a loop, as chains may be deep.
   */
  #enqueue(first: NodeId): void {
    const pending = [first]
    while (pending.length > 0) {
      const id = pending.pop()!
      // Since it was put on the list, something else that it needs has failed.
      if (this.#status[id] === "skipped") continue
      const needs = new Set<NodeId>()
      let doomed: NodeId | undefined
      for (const wire of this.#resolver.plan.nodes[id]!.wires) {
        const status = this.#status[wire.node]!
        if (status === "failed" || status === "skipped") doomed = wire.node
        else if (status !== "done" || !this.#hasBytes(wire.node, wire.output)) needs.add(wire.node)
      }
      if (doomed !== undefined) {
        this.#skip(id, doomed)
        continue
      }
      if (needs.size === 0) {
        this.#status[id] = "ready"
        this.#ready.push(id)
        continue
      }
      this.#status[id] = "waiting"
      this.#blockers.set(id, needs)
      for (const producer of needs) {
        const list = this.#blocked.get(producer)
        if (list === undefined) this.#blocked.set(producer, new Set([id]))
        else list.add(id)
        if (this.#status[producer] !== "done") continue
        this.#wantAgain(producer)
        pending.push(producer)
      }
    }
  }

  /** Notes that a known result must be made again because its bytes are gone. */
  #wantAgain(id: NodeId): void {
    const state = this.#resolver.states[id]!
    const gone = state._tag === "known" ? state.outputs.find(output => output.state !== "present") : undefined
    this.#status[id] = "waiting"
    this.#remake.set(id, `its bytes are ${gone?.state ?? "gone"}`)
  }

  #hasBytes(id: NodeId, output: string): boolean {
    const state = this.#resolver.states[id]!
    return (
      state._tag === "known" && state.outputs.some(({ port, state: bytes }) => port === output && bytes === "present")
    )
  }

  /** The next node to start, if any. */
  next(): ReadyAction | undefined {
    while (this.#readyHead < this.#ready.length) {
      const id = this.#ready[this.#readyHead++]!
      if (this.#readyHead > 1024) {
        this.#ready = this.#ready.slice(this.#readyHead)
        this.#readyHead = 0
      }
      if (this.#status[id] !== "ready") continue
      const node = this.#resolver.plan.nodes[id]!
      const state = this.#resolver.states[id]!
      const components = this.#resolver.components(node)
      if (components === undefined || state._tag === "unknown") {
        // Since it was ready, a producer was asked anew, because something above that changed.
        this.#askAgain(id)
        continue
      }
      if (actionKey(components) !== state.key) {
        // Code that it shares with another node was found changed when that one started.
        this.#planAnew(id)
        continue
      }
      if (!this.#duplicates.begin(state.key, id)) {
        // The same action stands in the plan twice; it is computed once.
        this.#status[id] = "waiting"
        continue
      }
      this.#started.set(id, state.key)
      this.#status[id] = "running"
      this.running++
      return {
        node,
        key: state.key,
        components,
        codeDetail: this.#resolver.codeDetail(node),
        families: this.#resolver.families(node, components),
        anew: this.#resolver.isAnew(id),
        remake: this.#remake.get(id) ?? (this.#resolver.isAnew(id) ? "the run was told to" : undefined),
        estimateMs: this.#options.estimate(id),
        attempts: this.#patience.attempts(id),
        changed: this.#patience.changed(id)
      }
    }
    return undefined
  }

  settle(id: NodeId, result: Settled): void {
    this.running--
    const key = this.#started.get(id)!
    this.#started.delete(id)
    const duplicates = this.#duplicates.end(key)
    this.#settleNode(id, key, result)
    this.#arrive(
      this.#reconsider(duplicates.filter(twin => this.#status[twin] === "waiting" && !this.#blockers.has(twin)))
    )
  }

  #settleNode(id: NodeId, key: Digest, result: Settled): void {
    const { label } = this.#resolver.plan.nodes[id]!
    const stale = this.#stale.delete(id)
    if (result._tag === "InputLost" || result._tag === "Changed") {
      if (result._tag === "InputLost") for (const { artifact } of result.losses) this.#forgetBytes(artifact)
      const failed = this.#patience.note(id, label, result)
      if (failed !== undefined) {
        this.#events.push(failed)
        return this.#fail(id)
      }
      if (result._tag === "Changed") {
        const { dropped, log, what } = result
        this.#events.push({ type: "changed", label, what, dropped, log })
        return this.#planAnew(id)
      }
      if (stale) this.#askAgain(id)
      else this.#enqueue(id)
      return this.#distrust(result.suspects)
    }
    if (result._tag === "Outdated") return this.#askAgain(id)
    if (result._tag === "NotStarted") {
      this.#status[id] = "waiting"
      return
    }
    if (result._tag === "Failed") return this.#fail(id)
    if (result._tag === "Executed") {
      this.#executed.add(id)
      this.#executedMs += result.ms
    } else this.#events.push({ type: "reused", label, summary: "", by: "another-process" })
    const state = this.#resolver.states[id]!
    if (stale || state._tag === "unknown") {
      this.#askAgain(id)
      // What it returned answers the question that it was started with: others may have that still.
      this.#arrive(this.#news(key, result.outputs))
    } else this.#arrive([[id, key, result.outputs]])
  }

  /** Results were computed from damaged bytes: nodes that have one are asked anew, and find none. */
  #distrust(suspects: ReadonlyArray<Digest>): void {
    if (suspects.length === 0) return
    const keys = new Set(suspects)
    this.#resolver.states.forEach((state, id) => {
      if (state._tag !== "known" || !keys.has(state.key) || this.#status[id] !== "done") return
      this.#executed.delete(id)
      this.#remake.set(id, fromDamaged)
      this.#askAgain(id)
    })
  }

  /** Whether the inputs of a node that was handed out have been replaced since. */
  isOutdated(id: NodeId): boolean {
    return this.#stale.has(id)
  }

  /** What its key is made from changed: it gets another one, of which nothing is known that its old one was to be made again for. */
  #planAnew(id: NodeId): void {
    this.#remake.delete(id)
    this.#askAgain(id)
  }

  #fail(id: NodeId): void {
    this.#status[id] = "failed"
    this.#failed.add(id)
    if (!this.#options.keepGoing) this.stopping = true
    this.#skipConsumers(id)
  }

  /** Its inputs have been replaced: the question is another one now. */
  #askAgain(id: NodeId): void {
    this.#status[id] = "waiting"
    this.#arrive(this.#reconsider([id]))
  }

  /** An artifact's bytes turned out to be gone: every node that has it as an output must know. */
  #forgetBytes(artifact: Digest): void {
    this.#resolver.states.forEach((state, id) => {
      if (state._tag !== "known" || !state.outputs.some(output => output.digest === artifact)) return
      const outputs = state.outputs.map(output =>
        output.digest === artifact ? { ...output, state: "lost" as const } : output
      )
      this.#resolver.settle(id, state.key, outputs)
    })
  }

  /** Results arrive: consumers that waited for them are asked for anew; others only if the result is not what it was. */
  #arrive(results: ReadonlyArray<Result>): void {
    const pending = [...results]
    while (pending.length > 0) {
      const [id, key, outputs] = pending.pop()!
      const state = this.#resolver.states[id]!
      // Since it was put on the list, something above it changed, and it was asked anew.
      if (state._tag === "unknown" || state.key !== key) continue
      const before = this.#previous.get(id) ?? (state._tag === "known" ? state.outputs : [])
      const changed = before.some(old => outputs.find(output => output.port === old.port)?.digest !== old.digest)
      this.#previous.delete(id)
      this.#resolver.settle(id, key, outputs)
      this.#remake.delete(id)
      this.#status[id] = "done"
      this.#duplicates.hold(key, id)
      append(pending, this.#news(key, outputs))
      const free = new Set<NodeId>()
      for (const consumer of this.#blocked.get(id) ?? []) {
        const blockers = this.#blockers.get(consumer)
        if (blockers === undefined || !blockers.delete(id) || blockers.size > 0) continue
        this.#blockers.delete(consumer)
        if (this.#status[consumer] === "waiting") free.add(consumer)
      }
      this.#blocked.delete(id)
      if (changed) {
        for (const consumer of this.#consumers[id]!) {
          const status = this.#status[consumer]!
          if (status === "running") this.#stale.add(consumer)
          // A waiting one without blockers was found already and is on the list here, or waits for its twin: for an old question.
          else if (status === "done" || status === "ready" || (status === "waiting" && !this.#blockers.has(consumer)))
            free.add(consumer)
        }
      }
      for (const arrived of this.#reconsider([...free])) pending.push(arrived)
    }
  }

  /** The same result for nodes that were done with what its action had returned before. */
  #news(key: Digest, outputs: ReadonlyArray<KnownOutput>): ReadonlyArray<Result> {
    const outdated = this.#duplicates.outdated(key, outputs).filter(id => this.#status[id] === "done")
    return outdated.map(id => [id, key, outputs])
  }

  /** Derives the keys of nodes anew and places them; returns those whose result is known, for their consumers. */
  #reconsider(nodes: ReadonlyArray<NodeId>): ReadonlyArray<Result> {
    if (nodes.length === 0) return []
    const before = new Map(nodes.map(id => [id, this.#resolver.states[id]!]))
    for (const id of nodes) this.#resolver.forget(id)
    this.#resolver.resolve(nodes)
    const arrived: Array<Result> = []
    for (const id of nodes) {
      const state = this.#resolver.states[id]!
      const was = before.get(id)!
      if (was._tag === "known" && !this.#previous.has(id)) this.#previous.set(id, was.outputs)
      if (state._tag === "known" && (isPresent(state.outputs) || this.#wanted[id] === 0) && !this.#remake.has(id))
        arrived.push([id, state.key, state.outputs])
      else this.#enqueue(id)
    }
    return arrived
  }

  #skip(id: NodeId, because: NodeId): void {
    this.#giveUp(id, this.#resolver.plan.nodes[because]!.label)
    this.#skipConsumers(id)
  }

  #giveUp(id: NodeId, because: string): void {
    this.#status[id] = "skipped"
    this.#skipped.add(id)
    this.#blockers.delete(id)
    this.#events.push({ type: "skipped", label: this.#resolver.plan.nodes[id]!.label, because })
  }

  /** Everything below a failed node that is not done or running will not run. */
  #skipConsumers(of: NodeId): void {
    const because = this.#resolver.plan.nodes[of]!.label
    const pending = [...this.#consumers[of]!]
    while (pending.length > 0) {
      const id = pending.pop()!
      if (this.#status[id] !== "waiting" && this.#status[id] !== "ready") continue
      this.#giveUp(id, because)
      append(pending, this.#consumers[id]!)
    }
  }

  /** At the end of a stopped run: what never started. */
  skipRest(): void {
    this.#status.forEach((status, id) => {
      if (status === "waiting" || status === "ready") this.#giveUp(id, "the run stopped after a failure")
    })
  }

  takeEvents(): ReadonlyArray<RunEvent> {
    return this.#events.splice(0)
  }

  summary(): ScheduleSummary {
    return {
      executed: [...this.#executed],
      reused: this.#resolver.plan.nodes.flatMap(({ id }) =>
        this.#status[id] === "done" && !this.#executed.has(id) ? [id] : []
      ),
      failed: [...this.#failed],
      skipped: [...this.#skipped],
      executedMs: this.#executedMs
    }
  }
}
