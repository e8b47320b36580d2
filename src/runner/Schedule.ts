/** Runs what a plan needs: starts actions whose inputs exist, and carries what they return to their consumers. */
import { Cause, Effect, Exit, Fiber, Queue, Result } from "effect"
import { LedgerError } from "../ledger/LedgerError.ts"
import type { RunId } from "../ledger/Runs.ts"
import type { NodeId } from "../pipeline/Plan.ts"
import { defectFailure, type ReadyAction, type Settled } from "./Action.ts"
import { compute } from "./Attempt.ts"
import { Board, type BoardOptions, type ScheduleSummary } from "./Board.ts"
import { logPath, note } from "./Logs.ts"
import type { Ports } from "./Ports.ts"

export interface ScheduleOptions extends BoardOptions {
  readonly run: RunId
  readonly ports: Ports
  readonly leaseMs: number
  /** Is handed a way to ask how far things are; an interrupted run reports what it had done. */
  readonly observe: (summary: () => ScheduleSummary) => void
}

/** Fibers started ahead of the slots that they wait for. */
const ahead = 64

export const schedule = (options: ScheduleOptions): Effect.Effect<ScheduleSummary, LedgerError> =>
  Effect.gen(function* () {
    const board = new Board(options)
    options.observe(() => board.summary())
    board.survey()
    const settled = yield* Queue.unbounded<readonly [ReadyAction, Exit.Exit<Settled, LedgerError>]>()
    const control = {
      stopping: () => board.stopping,
      failed: () => {
        if (!options.keepGoing) board.stopping = true
      },
      outdated: (id: NodeId) => board.isOutdated(id)
    }
    const working = new Set<Fiber.Fiber<unknown, unknown>>()
    const work = Effect.gen(function* () {
      for (;;) {
        while (board.running < ahead && !board.stopping) {
          const action = yield* asking(() => board.next())
          if (action === undefined) break
          const fiber = yield* Effect.forkChild(compute(options.ports, options.run, action, options.leaseMs, control))
          working.add(fiber)
          // However it ends, it is heard of: nobody waits for a fiber that is gone.
          fiber.addObserver(exit => {
            working.delete(fiber)
            Queue.offerUnsafe(settled, [action, exit] as const)
          })
        }
        for (const event of board.takeEvents()) yield* options.ports.emit(event)
        if (board.running === 0) return
        const [action, exit] = yield* Queue.take(settled)
        const result = Exit.isSuccess(exit) ? exit.value : yield* gone(options, action, exit.cause)
        yield* asking(() => board.settle(action.node.id, result))
      }
    })
    // A run that is cut off gives up its leases next: by then, what it had started must have stopped, all at the same time.
    yield* Effect.ensuring(
      work,
      Effect.suspend(() => Fiber.interruptAll([...working]))
    )
    board.skipRest()
    for (const event of board.takeEvents()) yield* options.ports.emit(event)
    return board.summary()
  })

/** What the board does, which asks the ledger: that this fails is the ledger's error, not a defect. */
const asking = <A>(ask: () => A): Effect.Effect<A, LedgerError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(ask())
    } catch (cause) {
      return cause instanceof LedgerError ? Effect.fail(cause) : Effect.die(cause)
    }
  })

/** An action whose fiber ended without a result: with the ledger's error, which ends the run, or for a reason that is the action's failure. */
const gone = (
  { ports, run }: ScheduleOptions,
  { attempts, node }: ReadyAction,
  cause: Cause.Cause<LedgerError>
): Effect.Effect<Settled, LedgerError> =>
  Effect.gen(function* () {
    const error = Cause.findError(cause)
    if (Result.isSuccess(error)) return yield* error.success
    const { advice, class: kind, message, note: text } = defectFailure(cause)
    const log = logPath(run, node.label, attempts + 1)
    yield* note(ports, log, text ?? message)
    yield* ports.emit({ type: "failed", label: node.label, class: kind, message, advice, log, attempt: attempts + 1 })
    return { _tag: "Failed", class: kind, message }
  })
