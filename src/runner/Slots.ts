/** Slots: processors, memory and named GPUs that running actions hold. */
import { Deferred, Effect } from "effect"
import type { Resources } from "../pipeline/Stage.ts"
import type { Slots as Held } from "../pipeline/StageContext.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import type { Capacity } from "./Machine.ts"

interface Waiter {
  readonly wanted: Required<Resources>
  readonly granted: Deferred.Deferred<Held>
  held?: Held
}

/** Hands out slots in the order of asking; one that does not fit yet lets smaller ones pass. */
export class Slots {
  readonly capacity: Capacity
  #cpus: number
  #memoryMiB: number
  #gpus: Array<string>
  readonly #waiters: Array<Waiter> = []

  constructor(capacity: Capacity) {
    this.capacity = capacity
    this.#cpus = capacity.cpus
    this.#memoryMiB = capacity.memoryMiB
    this.#gpus = [...capacity.gpus]
  }

  /** What is in use, for the live display. */
  get used(): Capacity {
    return {
      cpus: this.capacity.cpus - this.#cpus,
      memoryMiB: this.capacity.memoryMiB - this.#memoryMiB,
      gpus: this.capacity.gpus.filter(name => !this.#gpus.includes(name))
    }
  }

  get waiting(): number {
    return this.#waiters.length
  }

  /**
   * Runs an effect while holding slots. More processors or memory than the machine has are cut to what it has, as the
   * action may still succeed; missing GPUs are an error.
   */
  with<A, E, R>(
    wanted: Required<Resources>,
    body: (held: Held) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | StageError, R> {
    const { capacity } = this
    if (wanted.gpus > capacity.gpus.length) {
      return Effect.fail(
        permanent(
          `needs ${wanted.gpus} GPU${wanted.gpus === 1 ? "" : "s"}, and this machine offers ${capacity.gpus.length}`,
          "name the devices with --gpus 0,1 or CUDA_VISIBLE_DEVICES, or choose a profile that needs none"
        )
      )
    }
    const fitted = {
      cpus: Math.min(wanted.cpus, capacity.cpus),
      gpus: wanted.gpus,
      memoryMiB: Math.min(wanted.memoryMiB, capacity.memoryMiB)
    }
    return Effect.uninterruptibleMask(restore =>
      Effect.flatMap(restore(this.#take(fitted)), held =>
        Effect.ensuring(
          restore(Effect.suspend(() => body(held))),
          Effect.sync(() => this.#giveBack(held))
        )
      )
    )
  }

  #take(wanted: Required<Resources>): Effect.Effect<Held> {
    return Effect.suspend(() => {
      const waiter: Waiter = { wanted, granted: Deferred.makeUnsafe<Held>() }
      this.#waiters.push(waiter)
      this.#grant()
      return Effect.onInterrupt(Deferred.await(waiter.granted), () => Effect.sync(() => this.#withdraw(waiter)))
    })
  }

  #grant(): void {
    for (let i = 0; i < this.#waiters.length;) {
      const waiter = this.#waiters[i]!
      const { wanted } = waiter
      if (wanted.cpus > this.#cpus || wanted.memoryMiB > this.#memoryMiB || wanted.gpus > this.#gpus.length) {
        i++
        continue
      }
      this.#waiters.splice(i, 1)
      this.#cpus -= wanted.cpus
      this.#memoryMiB -= wanted.memoryMiB
      waiter.held = { cpus: wanted.cpus, memoryMiB: wanted.memoryMiB, gpus: this.#gpus.splice(0, wanted.gpus) }
      Deferred.doneUnsafe(waiter.granted, Effect.succeed(waiter.held))
    }
  }

  #withdraw(waiter: Waiter): void {
    const place = this.#waiters.indexOf(waiter)
    if (place >= 0) this.#waiters.splice(place, 1)
    // Granted in the very moment of the interruption: nobody else will give it back.
    else if (waiter.held !== undefined) this.#giveBack(waiter.held)
  }

  #giveBack(held: Held): void {
    this.#cpus += held.cpus
    this.#memoryMiB += held.memoryMiB
    this.#gpus = [...this.#gpus, ...held.gpus].sort()
    this.#grant()
  }
}
