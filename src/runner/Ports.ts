/** Everything through which running a plan touches the world. The simulation in test/runner replaces each of them. */
import { Effect } from "effect"
import type { Executor } from "../executors/Executor.ts"
import type { Database } from "../ledger/Database.ts"
import { fromCause, LedgerError } from "../ledger/LedgerError.ts"
import type { Owner } from "../ledger/Leases.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import type { StageError } from "../pipeline/StageError.ts"
import type { Disk } from "../store/Disk.ts"
import type { Faults } from "../store/Faults.ts"
import type { ObjectDamaged, StagedChanged } from "../store/ObjectError.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { StageLocation } from "./Codes.ts"
import type { RunEvent } from "./Events.ts"
import type { CodeOf } from "./Resolver.ts"
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
  /** The identity of the file from whose bytes the digest was taken, where it tells whether they are still the same; else the runner hashes it again. */
  readonly file?: string
}

/** An object as a manifest lists it. */
export interface Sized {
  readonly sha256: Digest
  readonly size: number
}

/** What a node's key is made from, besides its inputs. */
export interface Seen {
  readonly code: CodeOf
  /** Canonical JSON; undefined where the stage has no identity. */
  readonly identity: string | undefined
  /** The files that the identity was made from, and those that the stage declares, with their stat: an action reads them whenever it likes. */
  readonly files: ReadonlyArray<readonly [path: string, stat: string]>
}

export interface Ports {
  readonly ledger: <A>(use: (database: Database) => A) => Effect.Effect<A, LedgerError>
  readonly disk: Disk
  /** Moves files that an action wrote into the store. */
  readonly publish: (
    staged: ReadonlyArray<StagedFile>
  ) => Effect.Effect<unknown, StorageError | ObjectDamaged | StagedChanged>
  /** The objects of an artifact that are missing or have other bytes than their digest, looked at in full; what is damaged is moved aside. */
  readonly ailing: (artifact: Digest) => Effect.Effect<ReadonlyArray<Digest>, StorageError>
  /** Which of these objects the store does not have, or not with this size. */
  readonly lacking: (objects: ReadonlyArray<Sized>) => Effect.Effect<ReadonlyArray<Sized>, { readonly message: string }>
  /** Looks again at what a node's key is made from besides its inputs. From then on its key is derived from what was found. */
  readonly look: (node: PlanNode) => Effect.Effect<Seen, StageError>
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

/** Ledger access for real runs: the calls are synchronous and throw LedgerError, also where the ledger's file is not ours any more. */
export const ledgerOf =
  (database: Database): Ports["ledger"] =>
  use =>
    Effect.try({
      try: () => {
        database.mustBeThere()
        return use(database)
      },
      catch: cause => (cause instanceof LedgerError ? cause : fromCause(cause, database.file, "use the ledger"))
    })
