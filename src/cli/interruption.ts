/** Signals: what can be stopped cleanly is, by the first one; the second kills. Everything else ends at once, as the system does it. */
import { Effect, Fiber } from "effect"
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

/**
 * Runs work that cleans up when it is interrupted. Outside of it no signal is listened to: a program that is in the middle
 * of one long computation could not answer.
 */
export const stoppable =
  (work: Work = {}) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(effect)
      let last = 0
      const onSignal = () => {
        const now = performance.now()
        if (interrupted && now - last < sameMs) return
        last = now
        if (interrupted) {
          work.kill?.()
          leave(interruptedCode)
        }
        interrupted = true
        work.announce?.("stopping: running actions end at their next safe point; press Ctrl-C again to kill them")
        Effect.runFork(Fiber.interrupt(fiber))
      }
      const signals = hangupIgnored() ? (["SIGINT", "SIGTERM"] as const) : (["SIGINT", "SIGTERM", "SIGHUP"] as const)
      for (const signal of signals) process.on(signal, onSignal)
      return yield* Effect.ensuring(
        Fiber.join(fiber),
        Effect.sync(() => {
          for (const signal of signals) process.off(signal, onSignal)
        })
      )
    })
