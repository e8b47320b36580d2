/** What happens during a run, as data. The terminal, the ledger and `--json` listen; none of them is called here. */
import type { RunCounts } from "../ledger/Runs.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"
import type { Progress } from "../pipeline/StageContext.ts"

export type RunEvent =
  | {
      readonly type: "run-started"
      readonly run: number
      readonly pipeline: string
      readonly profile: string
      readonly nodes: number
      readonly reused: number
      readonly toRun: number
      /** Nodes whose key is not known before something upstream has run. */
      readonly unknown: number
      /** From the history of the same stages; undefined when one was never executed. */
      readonly estimateMs: number | undefined
    }
  /** The result existed. Sent for small plans only: a display of 10,000 hits helps nobody. */
  | {
      readonly type: "reused"
      readonly label: string
      readonly summary: string
      readonly by: "cache" | "another-process"
    }
  | {
      readonly type: "waiting"
      readonly label: string
      readonly for: "slots" | "another-process"
      readonly detail: string
    }
  | {
      readonly type: "started"
      readonly label: string
      readonly attempt: number
      readonly log: string
      readonly gpus: ReadonlyArray<string>
      readonly estimateMs: number | undefined
      /** Why it is computed although its key is known: an object of its result is gone or damaged. */
      readonly remake?: string | undefined
    }
  | { readonly type: "progress"; readonly label: string; readonly progress: Progress }
  | { readonly type: "finished"; readonly label: string; readonly ms: number; readonly summary: string }
  | {
      readonly type: "failed"
      readonly label: string
      readonly class: ErrorClass
      readonly message: string
      readonly advice?: string | undefined
      readonly log: string
      readonly attempt: number
      /** Milliseconds until the next attempt, when there is one. */
      readonly retryInMs?: number | undefined
    }
  | { readonly type: "skipped"; readonly label: string; readonly because: string }
  /** The same key returned other bytes than before. */
  | {
      readonly type: "diverged"
      readonly label: string
      readonly port: string
      readonly before: string
      readonly after: string
    }
  | {
      readonly type: "damaged"
      readonly digest: string
      readonly label: string
      readonly producer: string
      /** How many more objects of the same input are. */
      readonly others?: number
    }
  /** What an action's key was made from is something else now: it is planned anew. If it had run already, its result is dropped. */
  | {
      readonly type: "changed"
      readonly label: string
      readonly what: string
      readonly dropped: boolean
      readonly log: string
    }
  | { readonly type: "warning"; readonly message: string }
  | ({
      readonly type: "run-ended"
      readonly run: number
      readonly status: "done" | "failed" | "interrupted"
      readonly ms: number
    } & RunCounts)

/** Everything but progress is worth keeping in the ledger. */
export const isLasting = (event: RunEvent): boolean => event.type !== "progress"

export const labelOf = (event: RunEvent): string | undefined => ("label" in event ? event.label : undefined)
