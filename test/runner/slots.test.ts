/** Slots are handed out within the machine's limits, and come back whatever happens. */
import { Effect, Exit, Fiber } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { Slots } from "../../src/runner/Slots.ts"
import { seeded } from "../support/random.ts"
import { VirtualTime } from "./virtualTime.ts"

const capacity = { cpus: 4, memoryMiB: 1000, gpus: ["0", "1", "2"] }

const asking = fc.record({
  cpus: fc.integer({ min: 0, max: 6 }),
  memoryMiB: fc.integer({ min: 0, max: 1500 }),
  gpus: fc.integer({ min: 0, max: 3 }),
  atMs: fc.integer({ min: 0, max: 50 }),
  forMs: fc.integer({ min: 0, max: 50 }),
  /** Interrupted after so many milliseconds, waiting or working. */
  cutMs: fc.option(fc.integer({ min: 0, max: 100 })),
  fails: fc.boolean()
})

describe("Slots", () => {
  it("never exceed the machine, give each device to one at a time, and all come back", () => {
    fc.assert(
      fc.property(fc.array(asking, { maxLength: 25 }), fc.integer(), (asked, seed) => {
        const slots = new Slots(capacity)
        const time = new VirtualTime(seeded(seed))
        const devices = new Set<string>()
        let cpus = 0
        let memoryMiB = 0
        const one = ({ atMs, cutMs, fails, forMs, ...wanted }: (typeof asked)[number]) =>
          Effect.gen(function* () {
            yield* Effect.sleep(atMs)
            const fiber = yield* Effect.forkChild(
              slots.with(wanted, held =>
                Effect.ensuring(
                  Effect.gen(function* () {
                    cpus += held.cpus
                    memoryMiB += held.memoryMiB
                    assert.isAtMost(cpus, capacity.cpus)
                    assert.isAtMost(memoryMiB, capacity.memoryMiB)
                    assert.strictEqual(held.gpus.length, wanted.gpus)
                    for (const name of held.gpus) {
                      assert.isFalse(devices.has(name), `device ${name} is held twice`)
                      devices.add(name)
                    }
                    yield* Effect.sleep(forMs)
                    if (fails) yield* Effect.die("a failure")
                  }),
                  Effect.sync(() => {
                    cpus -= held.cpus
                    memoryMiB -= held.memoryMiB
                    for (const name of held.gpus) devices.delete(name)
                  })
                )
              )
            )
            if (cutMs !== null) yield* Effect.andThen(Effect.sleep(cutMs), Fiber.interrupt(fiber))
            const exit = yield* Fiber.await(fiber)
            if (Exit.isFailure(exit) && cutMs === null && !fails) throw new Error(String(exit.cause))
          })
        time.run(Effect.forEach(asked, one, { concurrency: "unbounded", discard: true }), 10_000)
        assert.deepStrictEqual(slots.used, { cpus: 0, memoryMiB: 0, gpus: [] })
        assert.strictEqual(slots.waiting, 0)
      }),
      { numRuns: 300 }
    )
  })

  it("let a small one pass a large one that has to wait", () => {
    const slots = new Slots(capacity)
    const time = new VirtualTime(seeded(1))
    const order: Array<string> = []
    const use = (name: string, cpus: number) =>
      slots.with({ cpus, memoryMiB: 0, gpus: 0 }, () =>
        Effect.andThen(
          Effect.sync(() => order.push(name)),
          Effect.sleep(10)
        )
      )
    time.run(
      Effect.gen(function* () {
        yield* Effect.forkChild(use("first", 3))
        yield* Effect.sleep(1)
        const large = yield* Effect.forkChild(use("large", 4))
        yield* Effect.sleep(1)
        yield* use("small", 1)
        yield* Fiber.join(large)
      }),
      1000
    )
    assert.deepStrictEqual(order, ["first", "small", "large"])
  })

  it("say what is missing when a machine has too few devices", () => {
    const time = new VirtualTime(seeded(1))
    const error = time.run(
      Effect.flip(new Slots({ ...capacity, gpus: [] }).with({ cpus: 1, memoryMiB: 1, gpus: 2 }, () => Effect.void)),
      1000
    )
    assert.match(error.message, /needs 2 GPUs, and this machine offers 0/)
    assert.isDefined(error.advice)
  })
})
