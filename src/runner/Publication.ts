/** Publishes what an action's process left: objects into the store, then one transaction that makes the result visible. */
import { join } from "node:path"
import { Clock, Effect } from "effect"
import * as Actions from "../ledger/Actions.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import * as Metrics from "../ledger/Metrics.ts"
import * as Runs from "../ledger/Runs.ts"
import { decodeManifest, manifestBytes, manifestDigest } from "../pipeline/Artifact.ts"
import { canonical, type Digest, short } from "../pipeline/Digest.ts"
import type { StorageError } from "../store/StorageError.ts"
import { type Busy, type Failure, type ReadyAction, recordOf, storageFailure } from "./Action.ts"
import type { Ports } from "./Ports.ts"
import { decodeResult, resultFile, type ResultRecord } from "./Request.ts"
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
    if (read._tag === "Failure") return storageFailure(read.failure)
    const { outputs, result } = read.success
    const published = yield* Effect.result(
      ports.publish(result.staged as ReadonlyArray<{ path: string; sha256: Digest; size: number }>)
    )
    if (published._tag === "Failure") return storageFailure(published.failure)
    yield* ports.faults("action.published")
    const now = yield* Clock.currentTimeMillis
    const recorded = yield* ports.ledger(database =>
      database.immediate(() => {
        // Thought dead, we lost the lease: whoever has it publishes, and we reuse that.
        if (!Leases.held(database, lease)) return undefined
        const id = Actions.ensureAction(database, recordOf(action), now)
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

/** Reads what the process left. It is somebody else's code that wrote it: nothing is taken on trust. */
const readResult = (
  ports: Ports,
  action: ReadyAction,
  directory: string
): Effect.Effect<
  { readonly result: ResultRecord; readonly outputs: ReadonlyArray<Actions.OutputRecord> },
  StorageError | { readonly message: string }
> =>
  Effect.gen(function* () {
    const bytes = yield* ports.disk.read(join(directory, resultFile))
    return yield* Effect.try({
      try: () => {
        const result = decodeResult(Buffer.from(bytes).toString("utf8"))
        if (result.key !== action.key) throw new Error(`its result is for key ${short(result.key)}`)
        const outputs = Object.entries(action.node.stage.outputs).map(([port, kind]): Actions.OutputRecord => {
          const output = result.outputs.find(candidate => candidate.port === port)
          if (output === undefined) throw new Error(`its result lacks output ${port}`)
          const manifest = decodeManifest(canonical(output.manifest))
          if (manifestDigest(manifest) !== output.digest)
            throw new Error(`the manifest of output ${port} does not have its digest`)
          if (manifest.kind !== kind.name)
            throw new Error(`output ${port} is of kind ${manifest.kind} instead of ${kind.name}`)
          return { port, digest: output.digest as Digest, manifest, family: action.families[port] }
        })
        return { result, outputs }
      },
      catch: cause => ({
        message: `${join(directory, resultFile)}: ${cause instanceof Error ? cause.message : String(cause)}`
      })
    })
  })
