/** One run: plan, schedule, and a record in the ledger from its first moment to its last. */
import { Cause, Clock, Effect, Exit } from "effect"
import * as Actions from "../ledger/Actions.ts"
import type { Database } from "../ledger/Database.ts"
import * as Held from "../ledger/Held.ts"
import { history } from "../ledger/History.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import type { ResolvedNode } from "../ledger/Plans.ts"
import * as Runs from "../ledger/Runs.ts"
import type { Plan } from "../pipeline/Plan.ts"
import { isLasting, labelOf, type RunEvent } from "./Events.ts"
import { heartbeatMs, leaseMs, type Ports } from "./Ports.ts"
import type { Resolver } from "./Resolver.ts"
import { describe } from "./summary.ts"
import type { ScheduleSummary } from "./Board.ts"
import { schedule } from "./Schedule.ts"

export interface RunOptions {
  readonly ports: Ports
  readonly resolver: Resolver
  readonly keepGoing: boolean
  /** The command line as typed, and the version of this program. */
  readonly command: string
  readonly program: string
  /** What people call it, and say of it. */
  readonly tag?: string | undefined
  readonly note?: string | undefined
  /** Whether it was cut off by an error, not by a person. */
  readonly broken?: () => boolean
}

export interface RunResult extends Runs.RunCounts {
  readonly run: Runs.RunId
  readonly status: "done" | "failed"
  readonly ms: number
}

/** Hits are announced one by one in plans up to this size. */
export const announced = 60

export const run = (options: RunOptions): Effect.Effect<RunResult, LedgerError> =>
  // From its record on, a run ends with an entry there, whenever it is interrupted.
  Effect.uninterruptibleMask(restore =>
    Effect.gen(function* () {
      const { command, note, program, resolver, tag } = options
      const { plan } = resolver
      const started = yield* Clock.currentTimeMillis
      const { owner } = options.ports
      const id = yield* options.ports.ledger(database => {
        Runs.markCrashed(database, owner, options.ports.alive)
        return database.immediate(() => {
          const run = Runs.begin(database, {
            pipeline: plan.pipeline,
            profile: plan.profile,
            command,
            program,
            tag,
            note,
            owner,
            now: started
          })
          keepFound(database, run, resolver)
          return run
        })
      })
      const journal = eventJournal(options.ports, id)
      const ports = { ...options.ports, emit: journal.emit }
      const clock = yield* Clock.Clock
      const beat = Effect.suspend(() =>
        ports.ledger(database =>
          database.immediate(() => Leases.heartbeat(database, owner.id, clock.currentTimeMillisUnsafe() + leaseMs))
        )
      )
      let soFar: () => ScheduleSummary | undefined = () => undefined
      return yield* restore(
        Effect.scoped(
          Effect.gen(function* () {
            const estimate = yield* ports.ledger(database => estimator(resolver, history(database, resolver.plan)))
            yield* announce(ports, id, resolver, estimate)
            yield* Effect.forkScoped(
              Effect.forever(Effect.delay(Effect.andThen(Effect.ignoreCause(beat), journal.flush), heartbeatMs))
            )
            return yield* schedule({
              run: id,
              ports,
              resolver,
              keepGoing: options.keepGoing,
              leaseMs,
              estimate,
              observe: summary => {
                soFar = summary
              }
            })
          })
        )
      ).pipe(
        Effect.onExit(exit =>
          Exit.isSuccess(exit)
            ? Effect.void
            : Effect.ignoreCause(
                conclude(ports, id, resolver, started, soFar(), options.broken?.() === true ? "failed" : "interrupted")
              )
        ),
        Effect.flatMap(summary => conclude(ports, id, resolver, started, summary, undefined)),
        Effect.ensuring(Effect.ignoreCause(journal.flush)),
        Effect.ensuring(
          Effect.ignoreCause(Effect.suspend(() => ports.ledger(database => Leases.releaseAll(database, owner.id))))
        )
      )
    })
  )

/**
 * Tells collection what the run counts on: what it was planned with, and, from now on, what it finds, in the same moment in which it finds it.
 * What was collected or lost since it was planned is looked up anew before.
 */
const keepFound = (database: Database, run: Runs.RunId, resolver: Resolver): void => {
  const generation = Actions.generation(database)
  if (generation !== resolver.generation) resolver.again(generation)
  Held.hold(database, run, resolver.found())
  resolver.lookUpBy(keys =>
    database.immediate(() => {
      const found = Actions.lookup(database, keys)
      const outputs = [...found.values()].flatMap(action => action.outputs)
      Held.hold(
        database,
        run,
        outputs.flatMap(({ digest, state }) => (state === "present" ? [digest] : []))
      )
      return found
    })
  )
}

/** Expected milliseconds of a node; asked for once, as all that is said of one run should come from one past. */
const estimator = (resolver: Resolver, past: ReturnType<typeof history>) => {
  const known = new Map<number, number | undefined>()
  return (id: number) => {
    if (!known.has(id)) {
      const node = resolver.plan.nodes[id]!
      known.set(id, past(node.label, node.stage.name)?.ms)
    }
    return known.get(id)
  }
}

const announce = (
  ports: Ports,
  run: Runs.RunId,
  resolver: Resolver,
  estimate: (id: number) => number | undefined
): Effect.Effect<void, LedgerError> =>
  Effect.gen(function* () {
    const { nodes, pipeline, profile } = resolver.plan
    const missing = resolver.states.flatMap((state, id) => (state._tag === "known" ? [] : [id]))
    const estimates = missing.slice(0, 10_000).map(estimate)
    yield* ports.emit({
      type: "run-started",
      run,
      pipeline,
      profile,
      nodes: nodes.length,
      reused: nodes.length - missing.length,
      toRun: resolver.states.filter(state => state._tag === "miss").length,
      unknown: resolver.states.filter(state => state._tag === "unknown").length,
      estimateMs: estimates.includes(undefined) ? undefined : estimates.reduce<number>((sum, ms) => sum + ms!, 0)
    })
    if (nodes.length > announced) return
    for (const { id, label, stage } of nodes) {
      const state = resolver.states[id]!
      if (state._tag !== "known") continue
      const summary = yield* ports.ledger(database =>
        state.outputs
          .map(({ digest, port }) => {
            const known = Actions.artifactOf(database, digest)
            return known === undefined ? "" : describe(stage.outputs[port]!, known.metadata, known.bytes)
          })
          .join("; ")
      )
      yield* ports.emit({ type: "reused", label, summary, by: "cache" })
    }
  })

/**
 * Passes events on, and keeps the lasting ones for the ledger; written in batches, as a transaction each would cost more than the
 * work. A display that fails, or an event that cannot be written, is no reason for the work to end.
 */
const eventJournal = (ports: Ports, run: Runs.RunId) => {
  let pending: Array<Runs.EventRow> = []
  const emit = (event: RunEvent) =>
    Effect.flatMap(Clock.currentTimeMillis, atMs =>
      Effect.suspend(() => {
        // That something was reused is the absence of an execution; a row for each hit would dwarf the rest.
        if (isLasting(event) && event.type !== "reused")
          pending.push({ atMs, type: event.type, label: labelOf(event), data: JSON.stringify(event) })
        return ports.emit(event)
      })
    ).pipe(
      Effect.catchCause(cause =>
        Cause.hasInterrupts(cause) ? Effect.failCause(cause as Cause.Cause<never>) : Effect.void
      )
    )
  const flush = Effect.suspend(() => {
    const events = pending
    pending = []
    return events.length === 0 ? Effect.void : ports.ledger(database => Runs.recordEvents(database, run, events))
  }).pipe(Effect.ignoreCause)
  return { emit, flush }
}

/** Writes the end of a run; what it had done counts also when it was interrupted, or the ledger failed. */
const conclude = (
  ports: Ports,
  run: Runs.RunId,
  resolver: Resolver,
  started: number,
  summary: ScheduleSummary | undefined,
  ended: "interrupted" | "failed" | undefined
): Effect.Effect<RunResult, LedgerError> =>
  Effect.gen(function* () {
    const { plan } = resolver
    const now = yield* Clock.currentTimeMillis
    const nodes = resolvedNodes(plan, resolver)
    const count = (of: "executed" | "reused" | "failed" | "skipped") => summary?.[of].length ?? 0
    // What an interrupted run never reached is none of these.
    const counts = {
      executed: count("executed"),
      reused: count("reused"),
      failed: count("failed"),
      skipped: count("skipped")
    }
    const status = ended ?? (counts.failed > 0 || counts.skipped > 0 ? "failed" : "done")
    const savedMs = yield* ports.ledger(database =>
      Runs.finish(database, run, {
        ...counts,
        status,
        now,
        nodes,
        generation: resolver.generation,
        pipeline: plan.pipeline,
        profile: plan.profile,
        targets: targetsOf(plan, resolver),
        executedMs: summary?.executedMs ?? 0
      })
    )
    const came = { ...counts, ms: now - started, savedMs }
    yield* ports.emit({ type: "run-ended", run, status, ...came })
    return { run, status: status === "done" ? "done" : "failed", ...came }
  })

const resolvedNodes = (plan: Plan, resolver: Resolver): ReadonlyArray<ResolvedNode> =>
  plan.nodes.map(({ id, label, stage }) => {
    const state = resolver.states[id]!
    if (state._tag === "unknown") return { label, key: undefined, outputs: [] }
    if (state._tag === "miss" || state.outputs.some(output => output.state !== "present"))
      return { label, key: state.key, outputs: [] }
    // Most stages have one output; looking it up by name would dominate a run over 100,000 hits.
    const outputs =
      state.outputs.length === 1
        ? [state.outputs[0]!.digest]
        : Object.keys(stage.outputs).map(port => state.outputs.find(output => output.port === port)!.digest)
    return { label, key: state.key, outputs }
  })

const targetsOf = (plan: Plan, resolver: Resolver) =>
  plan.targets.flatMap(({ name, node, output }) => {
    const state = resolver.states[node]!
    const found = state._tag === "known" ? state.outputs.find(({ port }) => port === output) : undefined
    return found === undefined ? [] : [{ name, digest: found.digest }]
  })
