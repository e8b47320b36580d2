/** Executors: where an action's process runs. The runner hands over a job's directory and waits for its end. */
import type { Effect } from "effect"
import type { Progress, Slots } from "../pipeline/StageContext.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"

/** One attempt at an action, ready to run: its directory holds `request.json`, and will hold `result.json`. */
export interface Job {
  readonly label: string
  /** Absolute path of the attempt's private directory. */
  readonly directory: string
  /** Absolute path of the log; it exists already, and everything that the process prints is appended. Undefined where none could be made. */
  readonly log: string | undefined
  readonly slots: Slots
}

/** How an attempt ended, as far as the executor can tell. */
export type Ended =
  /** The result record is in the job's directory. */
  | { readonly _tag: "Done" }
  /** The stage failed and said why. */
  | {
      readonly _tag: "Failed"
      readonly class: ErrorClass
      readonly message: string
      readonly advice?: string | undefined
      /** The damaged object and the artifact that holds it, when the class is `damaged`. */
      readonly object?: string | undefined
      readonly artifact?: string | undefined
    }
  /** The process ended without a word: killed, out of memory, or crashed. */
  | { readonly _tag: "Died"; readonly reason: string }

export interface Executor {
  readonly name: string
  /**
   * Interrupting asks the process to stop, and kills it when it does not. However a job ends, by then nothing lives any
   * more that it started.
   */
  readonly run: (job: Job, onProgress: (progress: Progress) => void) => Effect.Effect<Ended>
}

/** What the runner says to a worker process, once. */
export interface ToWorker {
  readonly type: "run"
  readonly directory: string
  /** Goes with every message of the process from now on; the stage does not know it. */
  readonly word: string
}

/** What a worker process says to the runner. */
export type FromWorker =
  /** The job has arrived; from here on the end of the process is the end of the attempt. */
  | { readonly type: "begun" }
  | { readonly type: "progress"; readonly progress: Progress }
  | { readonly type: "ended"; readonly ended: Exclude<Ended, { readonly _tag: "Died" }> }
