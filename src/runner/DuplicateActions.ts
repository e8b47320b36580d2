/** Nodes of a plan that are the same action: it is computed once, and what comes of it is handed to all of them. */
import type { KnownOutput } from "../ledger/Actions.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { NodeId } from "../pipeline/Plan.ts"
import type { Resolver } from "./Resolver.ts"

const isSame = (a: ReadonlyArray<KnownOutput>, b: ReadonlyArray<KnownOutput>) =>
  a.every(one => b.some(other => other.port === one.port && other.digest === one.digest && other.state === one.state))

export class DuplicateActions {
  readonly #resolver: Resolver
  /** Keys that are being computed, and the nodes that wait for what comes of it. */
  readonly #waiting = new Map<Digest, Set<NodeId>>()
  /**
   * Nodes by the key of a result that they have, or had. Not made before the first result comes: a run of hits does without it.
   * Most keys have one node; a set for each would cost much memory.
   */
  #holders: Map<Digest, NodeId | Set<NodeId>> | undefined

  constructor(resolver: Resolver) {
    this.#resolver = resolver
  }

  /** Begins to compute a key, for this node. If that goes on already, the node waits with it, and false is returned. */
  begin(key: Digest, id: NodeId): boolean {
    const waiting = this.#waiting.get(key)
    waiting?.add(id)
    if (waiting === undefined) this.#waiting.set(key, new Set())
    return waiting === undefined
  }

  /** Ends it; returns who waited. */
  end(key: Digest): ReadonlyArray<NodeId> {
    const waiting = this.#waiting.get(key)!
    this.#waiting.delete(key)
    return [...waiting]
  }

  /** Notes that a node has a result of this key. Those that are known before the first call of `outdated` need not be noted. */
  hold(key: Digest, id: NodeId): void {
    const held = this.#holders?.get(key)
    if (held === undefined) this.#holders?.set(key, id)
    else if (typeof held !== "number") held.add(id)
    else if (held !== id) this.#holders?.set(key, new Set([held, id]))
  }

  /**
   * Nodes that have something else of a key than what it returned now: its bytes were lost and made again for another node, perhaps
   * differently. They may need none of its bytes themselves, but the keys of their consumers follow from its digests.
   */
  outdated(key: Digest, outputs: ReadonlyArray<KnownOutput>): ReadonlyArray<NodeId> {
    if (this.#holders === undefined) {
      this.#holders = new Map()
      this.#resolver.states.forEach((state, id) => {
        if (state._tag === "known") this.hold(state.key, id)
      })
    }
    const held = this.#holders.get(key)
    if (held === undefined) return []
    return (typeof held === "number" ? [held] : [...held]).filter(id => {
      const state = this.#resolver.states[id]!
      // It may have got other inputs since, and so another key.
      return state._tag === "known" && state.key === key && !isSame(state.outputs, outputs)
    })
  }
}
