/** One attempt under its lease: a private directory, a process, another look at the key, and what it left is published or dropped. */
import { basename, dirname, join } from "node:path"
import { Cause, Clock, Effect, Option } from "effect"
import type { Ended, Job } from "../executors/Executor.ts"
import * as Actions from "../ledger/Actions.ts"
import * as Checked from "../ledger/Checked.ts"
import type { Database } from "../ledger/Database.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import * as Remembered from "../ledger/Remembered.ts"
import * as Runs from "../ledger/Runs.ts"
import * as Suspects from "../ledger/Suspects.ts"
import { fromDamaged } from "../ledger/Why.ts"
import { canonical, type Digest, short } from "../pipeline/Digest.ts"
import { schedulingOf } from "../pipeline/Scheduling.ts"
import type { Slots } from "../pipeline/StageContext.ts"
import type { StorageError } from "../store/StorageError.ts"
import {
  adviceAgainst,
  type Busy,
  defectFailure,
  type Failure,
  failureOf,
  type ReadyAction,
  recordOf,
  storageFailure,
  type Tried
} from "./Action.ts"
import { beginLog, note } from "./Logs.ts"
import { checkpointName, difference, droppedName } from "./Looks.ts"
import type { Ports, Seen } from "./Ports.ts"
import { commit } from "./Publication.ts"
import { encodeRequest, type Request, requestFile } from "./Request.ts"
import { removeTree } from "./removeTree.ts"

/** An attempt that has its slots and its lease. */
export interface Leased {
  readonly run: Runs.RunId
  readonly action: ReadyAction
  readonly attempt: number
  readonly slots: Slots
  readonly lease: Leases.Lease
  /** What its key was made from, as it was seen a moment ago. */
  readonly seen: Seen
  readonly log: string
  /** Makes interruptible again what may be cut off. */
  readonly restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const executeLeased = (ports: Ports, leased: Leased): Effect.Effect<Tried, LedgerError> =>
  Effect.gen(function* () {
    const { action, attempt, lease, log, run } = leased
    const { label } = action.node
    const started = yield* Clock.currentTimeMillis
    const directory = join(ports.paths.actions, `${action.key.slice(0, 16)}.${lease.token}`)
    const { candidates, checked, dropped, execution, suspect } = yield* ports.ledger(database =>
      database.immediate(() => {
        const id = Actions.ensureAction(database, recordOf(action), started)
        if (Suspects.taintsCheckpoint(database, action.key)) {
          rememberDropped(database, lease, started)
          Suspects.checkpointDropped(database, action.key)
        }
        return {
          dropped: Remembered.name(database, droppedName(action.key)),
          suspect: Suspects.keys(database).includes(action.key),
          checked: Checked.ofArtifacts(
            database,
            action.components.inputs.map(({ digest }) => digest)
          ),
          candidates: Object.fromEntries(
            [...action.families].map(([output, family]) => [
              output,
              action.anew ? [] : Actions.setsOfFamily(database, family, candidateSets)
            ])
          ),
          execution: Runs.beginExecution(database, { action: id, run, label, attempt, now: started, log })
        }
      })
    )
    const checkpoint = join(ports.paths.checkpoints, action.key, checkpointName(leased.seen, dropped))
    const end = (status: "done" | "failed" | "interrupted", failure?: Pick<Failure, "class" | "message">) =>
      Effect.flatMap(Clock.currentTimeMillis, now =>
        ports.ledger(database =>
          Runs.finishExecution(database, execution, { status, now, class: failure?.class, message: failure?.message })
        )
      )
    const clean = Effect.andThen(Effect.ignoreCause(removeTree(ports.disk, directory)), removeEarlier(ports, directory))
    /** Thought dead, we lost the lease: another has begun anew, and may have cleared away what we needed. Then it is that one's word which counts. */
    const failed = <T extends Tried>(tried: T, failure: Pick<Failure, "class" | "message">) =>
      Effect.gen(function* (): Effect.fn.Return<T | Busy, LedgerError> {
        const ours = yield* ports.ledger(database => Leases.held(database, lease))
        yield* ours ? end("failed", failure) : end("interrupted")
        yield* clean
        return ours ? tried : { _tag: "Busy", holder: undefined }
      })
    const fails = (failure: Failure) => failed(failure, failure)
    const changes = (what: string) =>
      Effect.gen(function* (): Effect.fn.Return<Tried, LedgerError> {
        yield* note(ports, log, `# ${what} while it ran: its result is dropped`)
        // What it left for another attempt was made from the same things.
        const ours = yield* ports.ledger(database =>
          database.immediate(() => {
            const held = Leases.held(database, lease)
            if (held) rememberDropped(database, lease, started)
            return held
          })
        )
        const changed: Tried = { _tag: "Changed", what, dropped: true, log, attempt }
        const tried = yield* failed(changed, { class: "stale", message: `${what} while it ran` })
        if (ours) yield* forgetDropped(ports, action.key)
        return tried
      })

    const body = Effect.gen(function* (): Effect.fn.Return<Tried, LedgerError> {
      const prepared = yield* Effect.result(prepare(ports, leased, directory, checkpoint, { candidates, checked }))
      if (prepared._tag === "Failure") return yield* fails(storageFailure(prepared.failure))
      yield* ports.faults("action.requested")
      const remake = action.remake ?? (suspect ? fromDamaged : undefined)
      yield* ports.emit({
        type: "started",
        label,
        attempt,
        log,
        gpus: leased.slots.gpus,
        estimateMs: action.estimateMs,
        ...(remake === undefined ? {} : { remake })
      })
      const ended = yield* leased.restore(
        runJob(ports, schedulingOf(action.node.stage).timeout, prepared.success, label)
      )
      if (ended._tag !== "Done" && !(ended._tag === "Failed" && ended.class === "stale"))
        return yield* fails(failureOfEnd(ended))
      yield* ports.faults("action.executed")
      const again = yield* leased.restore(Effect.result(ports.look(action.node)))
      if (again._tag === "Failure") return yield* fails(failureOf(again.failure))
      const what = ended._tag === "Done" ? difference(action, again.success, leased.seen) : ended.message
      if (what !== undefined) return yield* changes(what)
      const committed = yield* commit(ports, action, lease, execution, directory)
      if (committed._tag === "Failure") return yield* fails(committed)
      if (committed._tag === "Busy") yield* end("interrupted")
      yield* clean
      if (committed._tag === "Busy") return committed
      if (dropped !== undefined) yield* forgetDropped(ports, action.key)
      else yield* Effect.ignoreCause(removeTree(ports.disk, join(ports.paths.checkpoints, action.key)))
      yield* ports.faults("action.cleaned")
      const ms = (yield* Clock.currentTimeMillis) - started
      yield* ports.emit({ type: "finished", label, ms, summary: committed.summary })
      for (const { after, before, port } of committed.divergences)
        yield* ports.emit({ type: "diverged", label, port, before, after })
      return { _tag: "Executed", outputs: committed.outputs, ms }
    })
    return yield* Effect.catchCause(body, (cause): Effect.Effect<Tried, LedgerError> => {
      if (Cause.hasInterrupts(cause))
        return Effect.andThen(Effect.andThen(Effect.ignoreCause(end("interrupted")), clean), Effect.failCause(cause))
      const failure = defectFailure(cause)
      if (!Cause.hasFails(cause)) return fails(failure)
      return Effect.andThen(Effect.andThen(Effect.ignoreCause(end("failed", failure)), clean), Effect.failCause(cause))
    })
  })

/** Earlier sets whose items an action may use again. */
const candidateSets = 8

/** From now on no attempt at the key goes on from what earlier ones kept. */
const rememberDropped = (database: Database, { key, token }: Leases.Lease, now: number): void =>
  Remembered.rememberName(database, droppedName(key), String(token), now)

/** That can be forgotten once the checkpoints are gone so that not even a power cut brings them back. */
const forgetDropped = ({ disk, ledger, paths }: Ports, key: Digest): Effect.Effect<void> =>
  removeTree(disk, join(paths.checkpoints, key)).pipe(
    Effect.andThen(disk.syncDirectory(paths.checkpoints)),
    Effect.andThen(ledger(database => Remembered.forgetName(database, droppedName(key)))),
    Effect.ignoreCause
  )

/** Makes the attempt's private directory, its request and its log, before anything runs. */
const prepare = (
  ports: Ports,
  { action, attempt, log: logName, slots }: Leased,
  directory: string,
  checkpoint: string,
  known: Pick<Request, "candidates" | "checked">
): Effect.Effect<Job, StorageError> =>
  Effect.gen(function* () {
    const { disk, paths } = ports
    const { label, stage } = action.node
    const staging = join(directory, "staging")
    const scratch = join(directory, "scratch")
    for (const made of [staging, scratch, checkpoint]) yield* disk.mkdir(made)
    // Without it there is no log, which is told below.
    yield* Effect.ignore(disk.mkdir(dirname(join(paths.root, logName))))
    const request: Request = {
      version: 1,
      key: action.key,
      label,
      attempt,
      stage: { name: stage.name, ...ports.locate(action.node) },
      parameters: JSON.parse(action.node.parametersText),
      ...(stage.identity === undefined ? {} : { identity: JSON.parse(action.components.parameters) }),
      inputs: action.components.inputs.map(({ digest, name, port }) => ({
        port,
        digest,
        ...(name === undefined ? {} : { name })
      })),
      ...known,
      engine: action.components.engine,
      store: { root: paths.root, layers: ports.layers },
      staging,
      scratch,
      checkpoint,
      slots: { cpus: slots.cpus, memoryMiB: slots.memoryMiB, gpus: slots.gpus }
    }
    yield* disk.write(join(directory, requestFile), encodeRequest(request))
    const log = yield* beginLog(ports, logName, [
      `# ${label}, attempt ${attempt}, key ${short(action.key)}`,
      ...(action.changed === undefined ? [] : [`# planned anew: ${action.changed}`]),
      `# parameters ${canonical(request.parameters)}`
    ])
    return { label, directory, log, slots }
  })

/** What attempts at the same key left whose runner was killed: nobody goes on from it, and the executor has ended their processes. */
const removeEarlier = ({ disk, paths }: Ports, directory: string): Effect.Effect<void> => {
  const [key, token] = basename(directory).split(".")
  const isEarlier = (name: string) => name.startsWith(`${key}.`) && Number(name.slice(key!.length + 1)) < Number(token)
  return Effect.suspend(() => disk.readdir(paths.actions)).pipe(
    Effect.flatMap(
      Effect.forEach(({ name }) => (isEarlier(name) ? removeTree(disk, join(paths.actions, name)) : Effect.void))
    ),
    Effect.ignoreCause
  )
}

const runJob = (ports: Ports, timeout: number | undefined, job: Job, label: string): Effect.Effect<Ended> => {
  // A display that fails must not end the process that reports to it.
  const report = ports.executor.run(
    job,
    progress => void Effect.runSyncExit(ports.emit({ type: "progress", label, progress }))
  )
  if (timeout === undefined) return report
  return Effect.map(
    Effect.timeoutOption(report, timeout * 1000),
    Option.getOrElse((): Ended => ({
      _tag: "Failed",
      class: "timeout",
      message: `took longer than its limit of ${timeout} s`
    }))
  )
}

const failureOfEnd = (ended: Exclude<Ended, { readonly _tag: "Done" }>): Failure =>
  ended._tag === "Died"
    ? {
        _tag: "Failure",
        class: "crashed",
        message: ended.reason,
        advice: adviceAgainst(ended.reason) ?? "its log holds what it printed last"
      }
    : { ...ended, _tag: "Failure" }
