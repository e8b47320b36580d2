/** A machine with its own time: fibers take turns in a seeded order, and sleeping costs nothing. All of it is synchronous. */
import { Clock, Duration, Effect, Exit, type Scheduler } from "effect"
import { below } from "../support/random.ts"

interface Timer {
  readonly at: number
  readonly seq: number
  readonly wake: () => void
}

/** Thrown when nothing can go on, or not within the time allowed, although the main fiber has not ended. */
export class Stuck extends Error {}

export class VirtualTime {
  now = 0
  readonly #random: () => number
  #tasks: Array<() => void> = []
  readonly #timers: Array<Timer> = []
  #seq = 0

  constructor(random: () => number) {
    this.#random = random
  }

  readonly scheduler: Scheduler.Scheduler = {
    executionMode: "sync",
    shouldYield: fiber => fiber.currentOpCount >= 2048,
    makeDispatcher: () => ({ scheduleTask: task => void this.#tasks.push(task), flush: () => this.#drain() })
  }

  readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => this.now,
    currentTimeMillis: Effect.sync(() => this.now),
    currentTimeNanosUnsafe: () => BigInt(this.now) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(this.now) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => BigInt(this.now) * 1_000_000n,
    monotonicTimeNanos: Effect.sync(() => BigInt(this.now) * 1_000_000n),
    sleep: duration =>
      Effect.callback<void>(resume => {
        const timer: Timer = {
          at: this.now + Math.max(0, Math.ceil(Duration.toMillis(duration))),
          seq: this.#seq++,
          wake: () => resume(Effect.void)
        }
        this.#add(timer)
        return Effect.sync(() => {
          const place = this.#timers.indexOf(timer)
          if (place >= 0) this.#timers.splice(place, 1)
        })
      })
  }

  /** Keeps the list sorted, latest first. */
  #add(timer: Timer): void {
    let place = this.#timers.length
    while (
      place > 0 &&
      (this.#timers[place - 1]!.at < timer.at ||
        (this.#timers[place - 1]!.at === timer.at && this.#timers[place - 1]!.seq < timer.seq))
    )
      place--
    this.#timers.splice(place, 0, timer)
  }

  #drain(): void {
    while (this.#tasks.length > 0) {
      const [task] = this.#tasks.splice(below(this.#random, this.#tasks.length), 1)
      task!()
    }
  }

  /** Runs an effect to its end; sleepers wake in order as soon as nobody else can do anything. */
  run<A, E>(effect: Effect.Effect<A, E>, limitMs: number): A {
    const fiber = Effect.runFork(Effect.provideService(effect, Clock.Clock, this.clock), { scheduler: this.scheduler })
    let exit: Exit.Exit<A, E> | undefined
    fiber.addObserver(ended => (exit = ended))
    for (;;) {
      this.#drain()
      if (exit !== undefined) break
      const next = this.#timers.pop()
      if (next === undefined) throw new Stuck("nothing goes on any more")
      if (next.at > limitMs) throw new Stuck(`not at its end after ${limitMs} ms`)
      this.now = Math.max(this.now, next.at)
      next.wake()
    }
    if (Exit.isFailure(exit)) throw Exit.getCause(exit)
    return exit.value
  }
}
