/** Computes one action: lease, process, publication, retries. Whoever loses the race for the lease waits and reuses. */
import { join } from "node:path"
import { Clock, Effect, Option } from "effect"
import type { Ended, Job } from "../executors/Executor.ts"
import * as Actions from "../ledger/Actions.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import * as Metrics from "../ledger/Metrics.ts"
import * as Runs from "../ledger/Runs.ts"
import { decodeManifest, manifestBytes, manifestDigest } from "../pipeline/Artifact.ts"
import { canonical, type Digest, short } from "../pipeline/Digest.ts"
import type { KeyComponents } from "../pipeline/Key.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import type { Slots } from "../pipeline/StageContext.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"
import type { StorageError } from "../store/StorageError.ts"
import { pollMs, type Ports } from "./Ports.ts"
import { decodeResult, encodeRequest, type Request, requestFile, resultFile, type ResultRecord } from "./Request.ts"
import { removeTree } from "./removeTree.ts"
import { describe } from "./summary.ts"

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

interface Failure {
  readonly _tag: "Failure"
  readonly class: ErrorClass
  readonly message: string
  readonly advice?: string | undefined
  readonly object?: string | undefined
  readonly artifact?: string | undefined
}

/** Another process holds the lease, or took it while we were thought dead. */
interface Busy {
  readonly _tag: "Busy"
  readonly holder: Leases.Holder | undefined
}

type Tried = Settled | Failure | Busy

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
      .with(stage.resources(action.node.parameters), slots =>
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

const recordOf = (action: ReadyAction): Actions.ActionRecord => ({
  key: action.key,
  components: action.components,
  arguments: action.node.parametersText === action.components.parameters ? undefined : action.node.parametersText,
  codeDetail: action.codeDetail
})

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
      stage: { name: stage.name, ...ports.locate(stage) },
      parameters: JSON.parse(action.node.parametersText),
      ...(stage.identity === undefined ? {} : { identity: JSON.parse(action.components.parameters) }),
      inputs: action.components.inputs.map(({ digest, name, port }) => ({
        port,
        digest,
        ...(name === undefined ? {} : { name })
      })),
      candidates,
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
    return { label, directory, log, process: stage.process, slots }
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

const storageFailure = (error: { readonly message: string; readonly advice?: string }): Failure => ({
  _tag: "Failure",
  class: "storage",
  message: error.message,
  advice: error.advice
})

interface Committed {
  readonly _tag: "Executed"
  readonly outputs: ReadonlyArray<Actions.KnownOutput>
  readonly summary: string
  readonly divergences: ReadonlyArray<Actions.Divergence>
}

/** Moves the objects into the store, then makes everything visible with one transaction, which also ends the lease. */
const commit = (
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
