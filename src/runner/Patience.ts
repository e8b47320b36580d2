/** How often the same befell a node in one run: what goes wrong again and again ends in a failure, not in an endless loop. */
import type { NodeId } from "../pipeline/Plan.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"
import type { Settled } from "./Action.ts"
import type { RunEvent } from "./Events.ts"

/** Times that a node may find the same object damaged. More means a disk that damages whatever is written, or a stage that is mistaken. */
const mostLosses = 3

/** Times that a node may be planned anew because what its key is made from changed. More means that something never comes to rest. */
const mostChanges = 3

type Setback = Extract<Settled, { readonly _tag: "InputLost" | "Changed" }>

export class Patience {
  /** By node and object. */
  readonly #losses = new Map<string, number>()
  readonly #changes = new Map<NodeId, readonly [times: number, what: string]>()
  readonly #attempts = new Map<NodeId, number>()

  /** Attempts that were made at a node which is to be tried again. */
  attempts(id: NodeId): number {
    return this.#attempts.get(id) ?? 0
  }

  /** What changed last, of what its key is made from. */
  changed(id: NodeId): string | undefined {
    return this.#changes.get(id)?.[1]
  }

  /** Notes what befell a node; returns the event of its failure when that was once too often. */
  note(id: NodeId, label: string, result: Setback): RunEvent | undefined {
    const { attempt, log } = result
    this.#attempts.set(id, attempt)
    const failed = (kind: ErrorClass, said: string, times: number, why: string): RunEvent => ({
      type: "failed",
      label,
      class: kind,
      message: `${said} (for the ${times}th time: ${why})`,
      advice:
        result._tag === "InputLost"
          ? result.advice
          : "run again when it has come to rest; a stage must not write to what its key is made from, and an identity must return the same as long as nothing changes",
      log,
      attempt: Math.max(1, attempt)
    })
    if (result._tag === "InputLost") {
      const losses = this.#countLosses(id, result)
      return losses > mostLosses
        ? failed("damaged", result.message, losses, "making it again does not help")
        : undefined
    }
    const changes = (this.#changes.get(id)?.[0] ?? 0) + 1
    this.#changes.set(id, [changes, result.what])
    return changes > mostChanges ? failed("stale", result.what, changes, "it does not come to rest") : undefined
  }

  /** How often the node found the object that it found most often. */
  #countLosses(id: NodeId, { losses }: Extract<Settled, { readonly _tag: "InputLost" }>): number {
    let most = 0
    for (const object of losses.flatMap(({ objects }) => objects)) {
      const place = `${id} ${object}`
      const count = (this.#losses.get(place) ?? 0) + 1
      this.#losses.set(place, count)
      most = Math.max(most, count)
    }
    return most
  }
}
