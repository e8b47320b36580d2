/** Actions on their way: what is needed to compute one, and what can come of it. */
import { Cause } from "effect"
import type * as Actions from "../ledger/Actions.ts"
import type * as Leases from "../ledger/Leases.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { KeyComponents } from "../pipeline/Key.ts"
import type { NodeId, PlanNode } from "../pipeline/Plan.ts"
import * as Problem from "../pipeline/Problem.ts"
import type { ErrorClass, StageError } from "../pipeline/StageError.ts"

/** An action that is ready: all its inputs exist. */
export interface ReadyAction {
  readonly node: PlanNode
  readonly key: Digest
  readonly components: KeyComponents
  readonly codeDetail: string
  readonly families: ReadonlyMap<string, Digest>
  /** Computed in this run whatever is known: neither its result nor its items are taken from before. */
  readonly anew: boolean
  /** Why a known result is computed anew. */
  readonly remake: string | undefined
  readonly estimateMs: number | undefined
  /** Attempts that this run made at the node before. */
  readonly attempts: number
  /** What changed, where the node was planned anew. */
  readonly changed: string | undefined
}

/** What an action and the run that it belongs to tell each other. */
export interface RunControl {
  /** Whether nothing new may start any more. */
  readonly stopping: () => boolean
  /** An action has failed for good. */
  readonly failed: () => void
  /** Whether a node's inputs have been replaced since it was handed out: its question is another one now. */
  readonly outdated: (id: NodeId) => boolean
}

/** An input, and which of its objects are missing or damaged. */
export interface Loss {
  readonly artifact: Digest
  readonly objects: ReadonlyArray<Digest>
}

/** What is said of an attempt that did not bring the node forward. */
interface Attempted {
  readonly log: string
  readonly attempt: number
}

/** How the work on an action ended. */
export type Settled =
  | { readonly _tag: "Executed"; readonly outputs: ReadonlyArray<Actions.KnownOutput>; readonly ms: number }
  | { readonly _tag: "Reused"; readonly outputs: ReadonlyArray<Actions.KnownOutput> }
  | { readonly _tag: "Failed"; readonly class: ErrorClass; readonly message: string }
  /** Inputs turned out damaged. All of them are marked as lost; their producers must run before this action can. */
  | ({
      readonly _tag: "InputLost"
      readonly losses: ReadonlyArray<Loss>
      /** Keys of actions whose results were computed from damaged bytes: they are to be made again, too. */
      readonly suspects: ReadonlyArray<Digest>
      readonly message: string
      readonly advice: string | undefined
    } & Attempted)
  /** What its key was made from is something else now: it must be planned anew. If it had run already, its result is dropped. */
  | ({ readonly _tag: "Changed"; readonly what: string; readonly dropped: boolean } & Attempted)
  /** Its inputs were replaced while it waited for its turn. */
  | { readonly _tag: "Outdated" }
  /** The run stopped while the action still waited for its turn. */
  | { readonly _tag: "NotStarted" }

/** An attempt failed; whether another one follows is decided by its class. */
export interface Failure {
  readonly _tag: "Failure"
  readonly class: ErrorClass
  readonly message: string
  readonly advice?: string | undefined
  readonly object?: string | undefined
  readonly artifact?: string | undefined
  /** For the log, where nothing else has written there what went wrong. */
  readonly note?: string | undefined
}

/** Another process holds the lease, or took it while we were thought dead. */
export interface Busy {
  readonly _tag: "Busy"
  readonly holder: Leases.Holder | undefined
}

/** What one attempt came to. */
export type Tried = Settled | Failure | Busy

/** What came of work on an action that ended with an exception, or with what nobody foresaw: it fails, with that as its cause. */
export const defectFailure = (cause: Cause.Cause<unknown>): Failure => {
  const error = Cause.squash(cause)
  const message = Cause.hasInterruptsOnly(cause)
    ? "its work was cut off from within"
    : `unexpected error: ${error instanceof Error ? error.message : Problem.describe(error)}`
  return {
    _tag: "Failure",
    class: "permanent",
    message,
    advice: adviceFor(error),
    note: Cause.pretty(cause)
  }
}

const adviceFor = (error: unknown): string =>
  adviceAgainst(error instanceof Error && "code" in error ? String(error.code) : "") ?? "its log holds the stack"

/** What to do where the system has run out of something, as its code in a text tells. */
export const adviceAgainst = (text: string): string | undefined => {
  if (/\b(EMFILE|ENFILE)\b/.test(text)) return "there are too few file descriptors: raise the limit (`ulimit -n`)"
  if (/\b(EAGAIN|ENOMEM)\b/.test(text)) return "the system has no room for another process: use fewer --jobs"
  return undefined
}

/** The failure that an error of a stage, or of what stands before it, means. */
export const failureOf = (error: StageError): Failure => ({
  _tag: "Failure",
  class: error.class,
  message: error.message,
  advice: error.advice,
  note: error.message
})

/** An action as the ledger records it. */
export const recordOf = (action: ReadyAction): Actions.ActionRecord => ({
  key: action.key,
  components: action.components,
  arguments: action.node.parametersText === action.components.parameters ? undefined : action.node.parametersText,
  codeDetail: action.codeDetail
})

export const storageFailure = (error: { readonly message: string; readonly advice?: string }): Failure => ({
  _tag: "Failure",
  class: "storage",
  message: error.message,
  advice: error.advice
})
