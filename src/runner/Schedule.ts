/** Runs what a plan needs: starts actions whose inputs exist, and carries what they return to their consumers. */
import { Effect, Fiber, Queue } from "effect"
import type { LedgerError } from "../ledger/LedgerError.ts"
import type { RunId } from "../ledger/Runs.ts"
import type { NodeId } from "../pipeline/Plan.ts"
import type { Settled } from "./Action.ts"
import { compute } from "./Attempt.ts"
import { Board, type BoardOptions, type ScheduleSummary } from "./Board.ts"
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
    const settled = yield* Queue.unbounded<readonly [NodeId, Settled | LedgerError]>()
    const control = {
      stopping: () => board.stopping,
      failed: () => {
        if (!options.keepGoing) board.stopping = true
      }
    }
    const working = new Set<Fiber.Fiber<unknown>>()
    const work = Effect.gen(function* () {
      for (;;) {
        while (board.running < ahead && !board.stopping) {
          const action = board.next()
          if (action === undefined) break
          const fiber = yield* Effect.forkChild(
            Effect.matchEffect(compute(options.ports, options.run, action, options.leaseMs, control), {
              onSuccess: result => Queue.offer(settled, [action.node.id, result] as const),
              onFailure: error => Queue.offer(settled, [action.node.id, error] as const)
            })
          )
          working.add(fiber)
          fiber.addObserver(() => working.delete(fiber))
        }
        for (const event of board.takeEvents()) yield* options.ports.emit(event)
        if (board.running === 0) return
        const [id, result] = yield* Queue.take(settled)
        if (result._tag === "LedgerError") return yield* result
        board.settle(id, result)
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
