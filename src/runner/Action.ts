/** Actions on their way: what is needed to compute one, and what can come of it. */
import type * as Actions from "../ledger/Actions.ts"
import type * as Leases from "../ledger/Leases.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { KeyComponents } from "../pipeline/Key.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"

/** An action that is ready: all its inputs exist. */
export interface ReadyAction {
  readonly node: PlanNode
  readonly key: Digest
  readonly components: KeyComponents
  readonly codeDetail: string
  readonly families: { readonly [output: string]: Digest }
  /** Why a known result is computed anew. */
  readonly remake: string | undefined
  readonly estimateMs: number | undefined
}

/** What an action and the run that it belongs to tell each other. */
export interface RunControl {
  /** Whether nothing new may start any more. */
  readonly stopping: () => boolean
  /** An action has failed for good. */
  readonly failed: () => void
}

/** How the work on an action ended. */
export type Settled =
  | { readonly _tag: "Executed"; readonly outputs: ReadonlyArray<Actions.KnownOutput>; readonly ms: number }
  | { readonly _tag: "Reused"; readonly outputs: ReadonlyArray<Actions.KnownOutput> }
  | { readonly _tag: "Failed"; readonly class: ErrorClass; readonly message: string }
  /** An input turned out damaged. It is marked as lost; its producer must run before this action can. */
  | {
      readonly _tag: "InputLost"
      readonly artifact: Digest
      readonly message: string
      readonly advice: string | undefined
      readonly log: string
      readonly attempt: number
    }
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
}

/** Another process holds the lease, or took it while we were thought dead. */
export interface Busy {
  readonly _tag: "Busy"
  readonly holder: Leases.Holder | undefined
}

/** What one attempt came to. */
export type Tried = Settled | Failure | Busy

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
