/** Computes one action: slots, lease, process, retries. Whoever loses the race for the lease waits and reuses. */
import { join } from "node:path"
import { Clock, Effect, Option } from "effect"
import type { Ended, Job } from "../executors/Executor.ts"
import * as Actions from "../ledger/Actions.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import * as Runs from "../ledger/Runs.ts"
import { canonical, type Digest, short } from "../pipeline/Digest.ts"
import type { Resources } from "../pipeline/Stage.ts"
import type { Slots } from "../pipeline/StageContext.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"
import type { StorageError } from "../store/StorageError.ts"
import {
  type Busy,
  type Failure,
  type ReadyAction,
  recordOf,
  type RunControl,
  type Settled,
  storageFailure,
  type Tried
} from "./Action.ts"
import { pollMs, type Ports } from "./Ports.ts"
import { commit } from "./Publication.ts"
import { encodeRequest, type Request, requestFile } from "./Request.ts"
import { removeTree } from "./removeTree.ts"

/** Pause before attempt `n + 1`, in milliseconds: 1 s, 2 s, 4 s … at most a minute. */
const backoffMs = (attempt: number) => Math.min(60_000, 1000 * 2 ** (attempt - 1))

export const compute = Effect.fn("compute")(function* (
  ports: Ports,
  run: Runs.RunId,
  action: ReadyAction,
  leaseMs: number,
  control: RunControl
): Effect.fn.Return<Settled, LedgerError> {
  const { label, stage } = action.node
  let attempt = 1
  const failures = new Map<ErrorClass, number>()
  /** Each class has its own patience: a crash is tried again although the network failed before. */
  const isFinal = (failure: Failure) =>
    !(failure.class === "damaged" && failure.artifact !== undefined) &&
    (failures.get(failure.class) ?? 0) >= retriesOf(stage.retries, failure.class)
  let announced = false
  for (;;) {
    const tried: Tried = yield* ports.slots
      .with(resourcesOf(action), slots =>
        attempt === 1 && control.stopping()
          ? Effect.succeed<Tried>({ _tag: "NotStarted" })
          : Effect.tap(attemptOnce(ports, run, action, attempt, slots, leaseMs), tried =>
              Effect.sync(() => {
                // Said before the slots go to the next.
                if (tried._tag === "Failure" && isFinal(tried)) control.failed()
              })
            )
      )
      .pipe(Effect.catchTag("StageError", error => Effect.succeed(failureOf(error))))
    switch (tried._tag) {
      case "Executed":
      case "Reused":
      case "Failed":
      case "InputLost":
      case "NotStarted":
        return tried
      case "Busy": {
        if (!announced && tried.holder !== undefined) {
          announced = true
          const detail = `process ${tried.holder.pid} on ${tried.holder.host}`
          yield* ports.emit({ type: "waiting", label, for: "another-process", detail })
        }
        yield* Effect.sleep(pollMs)
        continue
      }
      case "Failure": {
        if (tried.class === "damaged" && tried.artifact !== undefined)
          return yield* loseInput(ports, action, tried, attempt, logPath(run, label, attempt))
        const again = !isFinal(tried)
        failures.set(tried.class, (failures.get(tried.class) ?? 0) + 1)
        const pause = backoffMs(attempt)
        yield* ports.emit({
          type: "failed",
          label,
          class: tried.class,
          message: tried.message,
          advice: tried.advice,
          log: logPath(run, label, attempt),
          attempt,
          ...(again ? { retryInMs: pause } : {})
        })
        if (!again) return { _tag: "Failed", class: tried.class, message: tried.message }
        yield* Effect.sleep(pause)
        attempt++
      }
    }
  }
})

/** What the stage asks for, and a GPU where the engine computes on one. */
const resourcesOf = ({ components, node }: ReadyAction): Required<Resources> => {
  const asked = node.stage.resources(node.parameters)
  const device = components.engine.split("/")[1]
  return device === "cuda" ? { ...asked, gpus: Math.max(1, asked.gpus) } : asked
}

const retriesOf = (
  retries: { readonly transient: number; readonly crashed: number; readonly timeout: number },
  cause: ErrorClass
) => (cause === "transient" || cause === "crashed" || cause === "timeout" ? retries[cause] : 0)

const failureOf = (error: {
  readonly class?: ErrorClass
  readonly message: string
  readonly advice?: string
}): Failure => ({
  _tag: "Failure",
  class: error.class ?? "permanent",
  message: error.message,
  advice: error.advice
})

/** Marks a damaged input as lost, after looking at it ourselves. */
const loseInput = (
  ports: Ports,
  action: ReadyAction,
  failure: Failure,
  attempt: number,
  log: string
): Effect.Effect<Settled, LedgerError> =>
  Effect.gen(function* () {
    const artifact = failure.artifact as Digest
    const object = failure.object ?? artifact
    const producer = action.components.inputs.find(input => input.digest === artifact)?.port ?? "an input"
    yield* ports.emit({ type: "damaged", digest: object, label: action.node.label, producer })
    yield* Effect.ignore(ports.check(object as Digest))
    yield* ports.ledger(database => {
      Actions.markObjects(database, [object as Digest], "lost")
      Actions.markArtifacts(database, [artifact], "lost")
    })
    return { _tag: "InputLost", artifact, message: failure.message, advice: failure.advice, log, attempt }
  })

/** Below the cache; the label's slashes would be directories. */
const logPath = (run: Runs.RunId, label: string, attempt: number) =>
  `logs/${run}/${label.replaceAll("/", "__")}.${attempt}.log`

const isComplete = (known: Actions.KnownAction | undefined, action: ReadyAction): known is Actions.KnownAction =>
  known !== undefined &&
  known.outputs.length === Object.keys(action.node.stage.outputs).length &&
  known.outputs.every(output => output.state === "present")

const attemptOnce = (
  ports: Ports,
  run: Runs.RunId,
  action: ReadyAction,
  attempt: number,
  slots: Slots,
  leaseMs: number
): Effect.Effect<Tried, LedgerError> =>
  Effect.uninterruptibleMask(restore =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const acquired = yield* ports.ledger(database => {
        const known = Actions.lookup(database, [action.key]).get(action.key)
        if (isComplete(known, action)) return { _tag: "Reused", outputs: known.outputs } as const
        // The time is taken once the ledger is ours: getting there may have lasted longer than a lease.
        return database.immediate(() => {
          const now = clock.currentTimeMillisUnsafe()
          return Leases.acquire(database, action.key, ports.owner, { now, duration: leaseMs, alive: ports.alive })
        })
      })
      if ("_tag" in acquired) return acquired
      if (!Leases.isLease(acquired)) return { _tag: "Busy", holder: acquired }
      const release = ports.ledger(database => Leases.release(database, acquired))
      yield* ports.faults("action.leased")
      // Between the look and the lease, the previous holder may have published.
      const known = yield* ports.ledger(database => Actions.lookup(database, [action.key]).get(action.key))
      if (isComplete(known, action)) {
        yield* release
        return { _tag: "Reused", outputs: known.outputs }
      }
      return yield* Effect.ensuring(
        executeLeased(ports, run, action, attempt, slots, acquired, restore),
        Effect.ignore(release)
      )
    })
  )

const executeLeased = (
  ports: Ports,
  run: Runs.RunId,
  action: ReadyAction,
  attempt: number,
  slots: Slots,
  lease: Leases.Lease,
  restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Effect.Effect<Tried, LedgerError> =>
  Effect.gen(function* () {
    const { label, stage } = action.node
    const started = yield* Clock.currentTimeMillis
    const log = logPath(run, label, attempt)
    const directory = join(ports.paths.actions, `${action.key.slice(0, 16)}.${lease.token}`)
    const { candidates, execution } = yield* ports.ledger(database =>
      database.immediate(() => {
        const id = Actions.ensureAction(database, recordOf(action), started)
        return {
          candidates: Object.fromEntries(
            Object.entries(action.families).map(([output, family]) => [
              output,
              Actions.setsOfFamily(database, family, candidateSets)
            ])
          ),
          execution: Runs.beginExecution(database, { action: id, run, label, attempt, now: started, log })
        }
      })
    )
    const end = (status: "done" | "failed" | "interrupted", failure?: Failure) =>
      Effect.flatMap(Clock.currentTimeMillis, now =>
        ports.ledger(database =>
          Runs.finishExecution(database, execution, { status, now, class: failure?.class, message: failure?.message })
        )
      )
    const clean = Effect.ignore(removeTree(ports.disk, directory))
    /** Thought dead, we lost the lease: another has begun anew, and may have cleared away what we needed. Then it is that one's word which counts. */
    const failed = (failure: Failure): Effect.Effect<Failure | Busy, LedgerError> =>
      Effect.gen(function* () {
        const ours = yield* ports.ledger(database => Leases.held(database, lease))
        yield* ours ? end("failed", failure) : end("interrupted")
        yield* clean
        return ours ? failure : { _tag: "Busy", holder: undefined }
      })
    const prepared = yield* Effect.result(
      prepare(ports, action, attempt, slots, directory, join(ports.paths.root, log), candidates)
    )
    if (prepared._tag === "Failure") return yield* failed(storageFailure(prepared.failure))
    yield* ports.faults("action.requested")
    yield* ports.emit({
      type: "started",
      label,
      attempt,
      log,
      gpus: slots.gpus,
      estimateMs: action.estimateMs,
      ...(action.remake === undefined ? {} : { remake: action.remake })
    })
    const ended = yield* restore(runJob(ports, stage.timeout, prepared.success, label)).pipe(
      Effect.onInterrupt(() => Effect.andThen(Effect.ignore(end("interrupted")), clean))
    )
    if (ended._tag !== "Done") return yield* failed(failureOfEnd(ended))
    yield* ports.faults("action.executed")
    const committed = yield* commit(ports, action, lease, execution, directory)
    if (committed._tag === "Failure") return yield* failed(committed)
    if (committed._tag === "Busy") yield* end("interrupted")
    yield* clean
    if (committed._tag === "Executed") {
      yield* Effect.ignore(removeTree(ports.disk, join(ports.paths.checkpoints, action.key)))
      yield* ports.faults("action.cleaned")
      const ms = (yield* Clock.currentTimeMillis) - started
      yield* ports.emit({ type: "finished", label, ms, summary: committed.summary })
      for (const { after, before, port } of committed.divergences)
        yield* ports.emit({ type: "diverged", label, port, before, after })
      return { _tag: "Executed", outputs: committed.outputs, ms }
    }
    return committed
  })

/** Earlier sets whose items an action may use again. */
const candidateSets = 8

/** Makes the attempt's private directory, its request and its log, before anything runs. */
const prepare = (
  ports: Ports,
  action: ReadyAction,
  attempt: number,
  slots: Slots,
  directory: string,
  log: string,
  candidates: { readonly [output: string]: ReadonlyArray<Digest> }
): Effect.Effect<Job, StorageError> =>
  Effect.gen(function* () {
    const { disk, paths } = ports
    const { label, stage } = action.node
    const staging = join(directory, "staging")
    const scratch = join(directory, "scratch")
    const checkpoint = join(paths.checkpoints, action.key)
    for (const made of [staging, scratch, checkpoint, join(log, "..")]) yield* disk.mkdir(made)
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
      candidates,
      engine: action.components.engine,
      store: { root: paths.root, layers: ports.layers },
      staging,
      scratch,
      checkpoint,
      slots: { cpus: slots.cpus, memoryMiB: slots.memoryMiB, gpus: slots.gpus }
    }
    yield* disk.write(join(directory, requestFile), encodeRequest(request))
    yield* disk.write(
      log,
      `# ${label}, attempt ${attempt}, key ${short(action.key)}\n# parameters ${canonical(request.parameters)}\n`
    )
    return { label, directory, log, slots }
  })

const runJob = (ports: Ports, timeout: number | undefined, job: Job, label: string): Effect.Effect<Ended> => {
  const report = ports.executor.run(job, progress => Effect.runSync(ports.emit({ type: "progress", label, progress })))
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
    ? { _tag: "Failure", class: "crashed", message: ended.reason, advice: "its log holds what it printed last" }
    : { ...ended, _tag: "Failure" }
