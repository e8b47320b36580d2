/** Computes one action: slots, lease, a second look at its key, retries. Whoever loses the race for the lease waits and reuses. */
import { Cause, Clock, Effect, Result } from "effect"
import * as Actions from "../ledger/Actions.ts"
import type { Database } from "../ledger/Database.ts"
import * as Held from "../ledger/Held.ts"
import { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import type * as Runs from "../ledger/Runs.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { type Resources, schedulingOf } from "../pipeline/Scheduling.ts"
import type { Slots } from "../pipeline/StageContext.ts"
import { type ErrorClass, permanent, type StageError } from "../pipeline/StageError.ts"
import {
  defectFailure,
  type Failure,
  failureOf,
  type ReadyAction,
  type RunControl,
  type Settled,
  type Tried
} from "./Action.ts"
import { executeLeased } from "./Execution.ts"
import { loseInputs } from "./Healing.ts"
import { difference } from "./Looks.ts"
import { logPath, note } from "./Logs.ts"
import { pollMs, type Ports } from "./Ports.ts"

/** Pause after failure `n`, in milliseconds: 1 s, 2 s, 4 s … at most a minute. */
const backoffMs = (failures: number) => Math.min(60_000, 1000 * 2 ** (failures - 1))

export const compute = Effect.fn("compute")(function* (
  ports: Ports,
  run: Runs.RunId,
  action: ReadyAction,
  leaseMs: number,
  control: RunControl
): Effect.fn.Return<Settled, LedgerError> {
  const { label, stage } = action.node
  let attempt = action.attempts + 1
  let announced = false
  const failures = new Map<ErrorClass, number>()
  /** Each class has its own patience: a crash is tried again although the network failed before. */
  const isFinal = (failure: Failure) =>
    !(failure.class === "damaged" && failure.artifact !== undefined) &&
    (failures.get(failure.class) ?? 0) >= retriesOf(schedulingOf(stage).retries, failure.class)
  for (;;) {
    const first = attempt === action.attempts + 1
    const tried: Tried = yield* foreseen(
      Effect.flatMap(resourcesOf(action), resources =>
        ports.slots.with(resources, slots =>
          first && control.stopping()
            ? Effect.succeed<Tried>({ _tag: "NotStarted" })
            : Effect.tap(foreseen(attemptOnce(ports, run, action, attempt, slots, leaseMs, control)), tried =>
                Effect.sync(() => {
                  // Said before the slots go to the next.
                  if (tried._tag === "Failure" && isFinal(tried)) control.failed()
                })
              )
        )
      )
    )
    switch (tried._tag) {
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
        const log = logPath(run, label, attempt)
        if (tried.note !== undefined) yield* note(ports, log, tried.note)
        if (tried.class === "damaged" && tried.artifact !== undefined)
          return yield* loseInputs(ports, action, tried, attempt, log)
        const again = !isFinal(tried)
        failures.set(tried.class, (failures.get(tried.class) ?? 0) + 1)
        const pause = backoffMs(attempt - action.attempts)
        yield* ports.emit({
          type: "failed",
          label,
          class: tried.class,
          message: tried.message,
          advice: tried.advice,
          log,
          attempt,
          ...(again ? { retryInMs: pause } : {})
        })
        if (!again) return { _tag: "Failed", class: tried.class, message: tried.message }
        yield* Effect.sleep(pause)
        attempt++
        continue
      }
      case "Changed":
      case "InputLost":
        // An attempt that began has said so in its log.
        if (tried.attempt < attempt)
          yield* note(ports, tried.log, `# ${tried._tag === "Changed" ? tried.what : tried.message}`)
        return tried
      default:
        return tried
    }
  }
})

/**
 * An attempt as its outcome. Exceptions and whatever else nobody foresaw are failures of this action, and end neither the run nor
 * its fiber without a word; only the ledger's failure and an interruption go on.
 */
const foreseen = (tried: Effect.Effect<Tried, LedgerError | StageError>): Effect.Effect<Tried, LedgerError> =>
  Effect.catchCause(tried, (cause): Effect.Effect<Tried, LedgerError> => {
    if (Cause.hasInterrupts(cause)) return Effect.failCause(cause as Cause.Cause<LedgerError>)
    const failed = Cause.findError(cause)
    if (Result.isFailure(failed)) return Effect.succeed(defectFailure(cause))
    return failed.success instanceof LedgerError
      ? Effect.fail(failed.success)
      : Effect.succeed(failureOf(failed.success))
  })

/** What the stage asks for, and a GPU where the engine computes on one. */
const resourcesOf = ({ components, node }: ReadyAction): Effect.Effect<Required<Resources>, StageError> =>
  Effect.map(
    Effect.try({
      try: () => schedulingOf(node.stage).resources(node.parameters),
      catch: cause =>
        permanent(
          `its resources cannot be told: ${cause instanceof Error ? cause.message : String(cause)}`,
          cause instanceof ConfigError ? cause.advice : undefined
        )
    }),
    asked => (components.engine.split("/")[1] === "cuda" ? { ...asked, gpus: Math.max(1, asked.gpus) } : asked)
  )

const retriesOf = (
  retries: { readonly transient: number; readonly crashed: number; readonly timeout: number },
  cause: ErrorClass
) => (cause === "transient" || cause === "crashed" || cause === "timeout" ? retries[cause] : 0)

const isComplete = (known: Actions.KnownAction | undefined, action: ReadyAction): known is Actions.KnownAction =>
  known !== undefined &&
  known.outputs.length === Object.keys(action.node.stage.outputs).length &&
  known.outputs.every(output => output.state === "present")

/** The result of an action that another process has computed; from here on the run counts on it. */
const findResult = (database: Database, run: Runs.RunId, action: ReadyAction) => {
  if (action.anew) return undefined
  const look = () => Actions.lookup(database, [action.key]).get(action.key)
  if (!isComplete(look(), action)) return undefined
  return database.immediate(() => {
    const known = look()
    if (!isComplete(known, action)) return undefined
    Held.hold(
      database,
      run,
      known.outputs.map(({ digest }) => digest)
    )
    return known.outputs
  })
}

const attemptOnce = (
  ports: Ports,
  run: Runs.RunId,
  action: ReadyAction,
  attempt: number,
  slots: Slots,
  leaseMs: number,
  control: RunControl
): Effect.Effect<Tried, LedgerError | StageError> =>
  Effect.uninterruptibleMask(restore =>
    Effect.gen(function* () {
      if (control.outdated(action.node.id)) return { _tag: "Outdated" }
      const clock = yield* Clock.Clock
      const acquired = yield* ports.ledger(database => {
        const known = findResult(database, run, action)
        if (known !== undefined) return { _tag: "Reused", outputs: known } as const
        // The time is taken once the ledger is ours: getting there may have lasted longer than a lease.
        return database.immediate(() => {
          const now = clock.currentTimeMillisUnsafe()
          return Leases.acquire(database, action.key, ports.owner, { now, duration: leaseMs, alive: ports.alive })
        })
      })
      if ("_tag" in acquired) return acquired
      if (!Leases.isLease(acquired)) return { _tag: "Busy", holder: acquired }
      return yield* Effect.ensuring(
        withLease(ports, run, action, attempt, slots, acquired, restore),
        Effect.ignoreCause(Effect.suspend(() => ports.ledger(database => Leases.release(database, acquired))))
      )
    })
  )

const withLease = (
  ports: Ports,
  run: Runs.RunId,
  action: ReadyAction,
  attempt: number,
  slots: Slots,
  lease: Leases.Lease,
  restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Effect.Effect<Tried, LedgerError | StageError> =>
  Effect.gen(function* () {
    yield* ports.faults("action.leased")
    // Between the look and the lease, the previous holder may have published.
    const { gone, known } = yield* ports.ledger(database => ({
      known: findResult(database, run, action),
      gone: Actions.notPresent(
        database,
        action.components.inputs.map(({ digest }) => digest)
      )
    }))
    if (known !== undefined) return { _tag: "Reused", outputs: known }
    const log = logPath(run, action.node.label, attempt)
    if (gone.length > 0)
      return {
        _tag: "InputLost",
        losses: gone.map(artifact => ({ artifact, objects: [artifact] })),
        suspects: [],
        message: "its inputs are gone from the store",
        advice: undefined,
        log,
        attempt: attempt - 1
      }
    const seen = yield* restore(ports.look(action.node))
    const what = difference(action, seen)
    if (what !== undefined) return { _tag: "Changed", what, dropped: false, log, attempt: attempt - 1 }
    return yield* executeLeased(ports, { run, action, attempt, slots, lease, seen, log, restore })
  })
