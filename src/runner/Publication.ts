/** Publishes what an action's process left: objects into the store, then one transaction that makes the result visible. */
import { Clock, Effect } from "effect"
import * as Actions from "../ledger/Actions.ts"
import * as Checked from "../ledger/Checked.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import * as Metrics from "../ledger/Metrics.ts"
import * as Runs from "../ledger/Runs.ts"
import * as Suspects from "../ledger/Suspects.ts"
import { manifestBytes } from "../pipeline/Artifact.ts"
import { type Busy, type Failure, type ReadyAction, recordOf, storageFailure } from "./Action.ts"
import type { Ports } from "./Ports.ts"
import { readResult } from "./Result.ts"
import { describe } from "./summary.ts"

/** A result that is there for everyone. */
export interface Committed {
  readonly _tag: "Executed"
  readonly outputs: ReadonlyArray<Actions.KnownOutput>
  readonly summary: string
  readonly divergences: ReadonlyArray<Actions.Divergence>
}

/** Moves the objects into the store, then makes everything visible with one transaction, which also ends the lease. */
export const commit = (
  ports: Ports,
  action: ReadyAction,
  lease: Leases.Lease,
  execution: Runs.ExecutionId,
  directory: string
): Effect.Effect<Committed | Failure | Busy, LedgerError> =>
  Effect.gen(function* () {
    const read = yield* Effect.result(readResult(ports, action, directory))
    if (read._tag === "Failure") return read.failure
    const { outputs, result, staged } = read.success
    // Objects that no ledger will know are not worth moving.
    yield* ports.ledger(() => undefined)
    const published = yield* Effect.result(ports.publish(staged))
    if (published._tag === "Failure") return storageFailure(published.failure)
    yield* ports.faults("action.published")
    const now = yield* Clock.currentTimeMillis
    const recorded = yield* ports.ledger(database =>
      database.immediate(() => {
        // Thought dead, we lost the lease: whoever has it publishes, and we reuse that.
        if (!Leases.held(database, lease)) return undefined
        // It read what has turned out damaged since; the action is begun anew.
        if (Suspects.taints(database, action.key, execution)) {
          Runs.finishExecution(database, execution, { status: "interrupted", now })
          Leases.release(database, lease)
          return undefined
        }
        const id = Actions.ensureAction(database, recordOf(action), now)
        Checked.record(database, result.checked)
        Suspects.trust(database, id)
        const divergences = Actions.recordOutputs(database, id, execution, outputs, now)
        Metrics.record(
          database,
          id,
          result.metrics.map(metric => ({ ...metric, value: metric.value ?? Number.NaN }))
        )
        Runs.finishExecution(database, execution, { status: "done", now, cpuMs: result.cpuMs, peakKib: result.peakKib })
        Leases.release(database, lease)
        return divergences
      })
    )
    if (recorded === undefined) return { _tag: "Busy", holder: undefined }
    yield* ports.faults("action.recorded")
    return {
      _tag: "Executed",
      outputs: outputs.map(({ digest, port }) => ({ port, digest, state: "present" })),
      summary: outputs
        .map(({ manifest, port }) =>
          describe(action.node.stage.outputs[port]!, manifest.metadata, manifestBytes(manifest))
        )
        .join("; "),
      divergences: recorded
    }
  })
