/** Everything through which running a plan touches the world. The simulation in test/runner replaces each of them. */
import { Effect } from "effect"
import type { Executor } from "../executors/Executor.ts"
import type { Database } from "../ledger/Database.ts"
import { fromCause, LedgerError } from "../ledger/LedgerError.ts"
import type { Owner } from "../ledger/Leases.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import type { Disk } from "../store/Disk.ts"
import type { Faults } from "../store/Faults.ts"
import type { ObjectDamaged, StagedChanged } from "../store/ObjectError.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { StageLocation } from "./Codes.ts"
import type { RunEvent } from "./Events.ts"
import type { Slots } from "./Slots.ts"

/** Where things lie below the cache root. */
export interface CachePaths {
  readonly root: string
  readonly ledger: string
  /** Private directories of attempts. */
  readonly actions: string
  /** By key; survive attempts. */
  readonly checkpoints: string
  readonly logs: string
}

export interface StagedFile {
  readonly path: string
  readonly sha256: Digest
  readonly size: number
}

export interface Ports {
  readonly ledger: <A>(use: (database: Database) => A) => Effect.Effect<A, LedgerError>
  readonly disk: Disk
  /** Moves files that an action wrote into the store. */
  readonly publish: (
    staged: ReadonlyArray<StagedFile>
  ) => Effect.Effect<unknown, StorageError | ObjectDamaged | StagedChanged>
  /** Checks an object; moves it aside when its bytes are not those of its digest. Tells whether it is sound. */
  readonly check: (digest: Digest) => Effect.Effect<boolean, StorageError>
  readonly executor: Executor
  readonly owner: Owner
  /** Whether a process of this machine lives. */
  readonly alive: (pid: number) => boolean
  readonly slots: Slots
  readonly emit: (event: RunEvent) => Effect.Effect<void>
  readonly faults: Faults
  readonly paths: CachePaths
  /** Directories of the read-only layers, for the processes of actions. */
  readonly layers: ReadonlyArray<string>
  /** How an action's process finds a stage. */
  readonly locate: (node: PlanNode) => StageLocation
}

/** Points between the steps of publishing an action, beside those of the store. */
export const runnerFaultPoints = [
  "action.leased",
  "action.requested",
  "action.executed",
  "action.published",
  "action.recorded",
  "action.cleaned"
] as const

/** Milliseconds after which a lease without heartbeat is free. */
export const leaseMs = 15_000
export const heartbeatMs = 3_000
/** Milliseconds between looks at a key that another process computes. */
export const pollMs = 250

/** Ledger access for real runs: the calls are synchronous and throw LedgerError. */
export const ledgerOf =
  (database: Database): Ports["ledger"] =>
  use =>
    Effect.try({
      try: () => use(database),
      catch: cause => (cause instanceof LedgerError ? cause : fromCause(cause, database.file, "use the ledger"))
    })
