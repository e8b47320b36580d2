/** How far a whole run is, and how long it will take, from its events as they arrive. */
import { duration } from "../../pipeline/units.ts"
import type { RunEvent } from "../../runner/Events.ts"
import { announced } from "../../runner/Run.ts"

interface Work {
  readonly since: number
  readonly estimateMs: number
}

export class Outlook {
  #nodes = 0
  /** Results that were there, and that no event tells of. */
  #silent = 0
  #startedMs = 0
  #estimateMs: number | undefined
  readonly #done = new Set<string>()
  readonly #running = new Map<string, Work>()
  /** Milliseconds of the estimate that are accounted for, and milliseconds of work that was done. */
  #accountedMs = 0
  #workedMs = 0

  add(event: RunEvent, at: number): void {
    switch (event.type) {
      case "run-started":
        this.#nodes = event.nodes
        this.#silent = event.nodes > announced ? event.reused : 0
        this.#estimateMs = event.estimateMs
        this.#startedMs = at
        return
      case "started":
        this.#running.set(event.label, { since: at, estimateMs: event.estimateMs ?? 0 })
        return
      case "finished":
      case "failed":
      case "changed":
      case "reused": {
        const work = this.#running.get(event.label)
        if (work !== undefined) {
          this.#running.delete(event.label)
          this.#workedMs += at - work.since
          // What fails, or is planned anew, is to be done still.
          if (event.type === "finished") this.#accountedMs += work.estimateMs
        }
        if (event.type === "finished" || event.type === "reused") this.#done.add(event.label)
      }
    }
  }

  /** Nodes whose result is there. */
  get done(): number {
    return this.#silent + this.#done.size
  }

  /**
   * Milliseconds until the end: what past runs took for that which is left, divided by how much is done at once. Undefined where an
   * action was never executed before.
   */
  left(now: number): number | undefined {
    if (this.#estimateMs === undefined) return undefined
    let [accounted, worked] = [this.#accountedMs, this.#workedMs]
    for (const { estimateMs, since } of this.#running.values()) {
      accounted += Math.min(now - since, estimateMs)
      worked += now - since
    }
    const atOnce = Math.max(1, worked / Math.max(1, now - this.#startedMs))
    return Math.max(0, this.#estimateMs - accounted) / atOnce
  }

  text(now: number): string {
    const left = this.left(now)
    return `${this.done} of ${this.#nodes} done${left === undefined || left < 1000 ? "" : `, about ${duration(left)} left`}`
  }
}
