/** How fast an action goes, measured from its progress as it arrives. */
import type { Progress } from "../../pipeline/StageContext.ts"

interface Mark {
  readonly progress: Progress
  /** Milliseconds. */
  readonly at: number
}

/** Time over which a rate means something, in milliseconds. */
const leastMs = 500

/** What a resumed action had done before does not count; one that goes through several phases begins anew with each. */
export class Pace {
  #first: Mark | undefined
  #last: Mark | undefined

  add(progress: Progress, at: number): void {
    const last = this.#last?.progress
    const goesOn = last !== undefined && progress.unit === last.unit && progress.done >= last.done
    this.#last = { progress, at }
    if (!goesOn) this.#first = this.#last
  }

  get progress(): Progress | undefined {
    return this.#last?.progress
  }

  /** Per second. */
  get rate(): number | undefined {
    if (this.#first === undefined || this.#last === undefined) return undefined
    const done = this.#last.progress.done - this.#first.progress.done
    const ms = this.#last.at - this.#first.at
    return done > 0 && ms >= leastMs ? (done / ms) * 1000 : undefined
  }

  /** Milliseconds until all is done. */
  left(now: number): number | undefined {
    const { rate } = this
    if (rate === undefined || this.#last?.progress.total === undefined) return undefined
    const { done, total } = this.#last.progress
    return Math.max(0, ((total - done) / rate) * 1000 - (now - this.#last.at))
  }
}
