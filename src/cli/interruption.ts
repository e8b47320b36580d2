/** Signals: what can be stopped cleanly is, by the first one; the second kills. Everything else ends at once, as the system does it. */
import { Deferred, Effect, Fiber, type Scope } from "effect"
import { leave } from "./ending.ts"
import { hangupIgnored } from "./hangup.ts"

export interface Work {
  /** Tells the user, where nothing else is drawn over it. */
  readonly announce?: (message: string) => void
  /** At the second signal, before the program ends at once. */
  readonly kill?: () => void
}

/** Exit code of what was interrupted. */
const interruptedCode = 130
/** Ctrl-C may reach us twice at once, by the terminal and by a launcher that passes it on; in milliseconds. */
const sameMs = 150

let interrupted = false

/** Whether the program was asked to stop. */
export const wasInterrupted = (): boolean => interrupted

/** Call first: `nohup` is honoured, which Node forgets when it starts. */
export const honourNohup = (): void => {
  if (hangupIgnored()) process.on("SIGHUP", () => undefined)
}

const signals = (): ReadonlyArray<NodeJS.Signals> =>
  hangupIgnored() ? ["SIGINT", "SIGTERM"] : ["SIGINT", "SIGTERM", "SIGHUP"]

/** Calls `first` at the first signal and `second` at every later one, until the scope closes. */
const onSignals = (first: () => void, second: (signal: NodeJS.Signals) => void) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      let last: number | undefined
      const onSignal = (signal: NodeJS.Signals) => {
        const now = performance.now()
        if (last !== undefined && now - last < sameMs) return
        const isFirst = last === undefined
        last = now
        return isFirst ? first() : second(signal)
      }
      for (const signal of signals()) process.on(signal, onSignal)
      return onSignal
    }),
    onSignal =>
      Effect.sync(() => {
        for (const signal of signals()) process.off(signal, onSignal)
      })
  )

/**
 * For work without an end of its own: goes on when somebody asks it to stop, which is no failure. A second signal ends the program at once, as the system does it: threads may be in the middle of native
 * code, which aborts where Node tears them down.
 */
export const untilStopped: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function* () {
  const asked = yield* Deferred.make<void>()
  yield* onSignals(
    () => void Deferred.doneUnsafe(asked, Effect.void),
    signal => {
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    }
  )
  yield* Deferred.await(asked)
})

/**
 * Runs work that cleans up when it is interrupted. Outside of it no signal is listened to: a program that is in the middle
 * of one long computation could not answer.
 */
export const stoppable =
  (work: Work = {}) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(effect)
      const heard = onSignals(
        () => {
          interrupted = true
          work.announce?.("stopping: running actions end at their next safe point; press Ctrl-C again to kill them")
          Effect.runFork(Fiber.interrupt(fiber))
        },
        () => {
          work.kill?.()
          leave(interruptedCode)
        }
      )
      return yield* Effect.scoped(Effect.andThen(heard, Fiber.join(fiber)))
    })
