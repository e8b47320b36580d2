/** The rules of a run: retries, limits, failures, interruptions. */
import { Effect, Exit } from "effect"
import { assert, describe, it } from "vitest"
import type { Ended } from "../../src/executors/Executor.ts"
import * as Actions from "../../src/ledger/Actions.ts"
import * as Plans from "../../src/ledger/Plans.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import type { Plan, PlanNode } from "../../src/pipeline/Plan.ts"
import { Resolver } from "../../src/runner/Resolver.ts"
import { schedule } from "../../src/runner/Schedule.ts"
import { labelsOf, newWorld, obey, play, type Script } from "./scripted.ts"
import { mix, part, planOf } from "./simulatedStages.ts"

/** source -> mix -> mix/2, and source/2 -> mix/3 beside it. */
const twoChains = planOf(
  "chains",
  [part("source", 0), part("mix", 0, [0]), part("mix", 1, [1]), part("source", 1), part("mix", 3, [3])],
  5
)

const failed = (kind: "transient" | "permanent" | "crashed"): Ended =>
  kind === "crashed"
    ? { _tag: "Died", reason: "killed" }
    : { _tag: "Failed", class: kind, message: "no luck", advice: "none" }

/** Attempts at `source` fail one after the other with these classes, then succeed. */
const failing =
  (...kinds: ReadonlyArray<"transient" | "permanent" | "crashed">): Script =>
  (job, work, nth) =>
    job.label === "source" && kinds[nth - 1] !== undefined ? Effect.succeed(failed(kinds[nth - 1]!)) : work

const lone = planOf("lone", [part("source", 0)], 1)

describe("an attempt that fails is tried again", () => {
  it("after the network failed: three times, after 1, 2 and 4 s", () => {
    const { attempts, events, process } = play(
      newWorld(),
      lone,
      failing("transient", "transient", "transient", "transient")
    )
    assert.deepStrictEqual(
      attempts.map(({ startedMs }) => startedMs),
      [0, 1000, 3000, 7000]
    )
    assert.deepStrictEqual(
      events.flatMap(event => (event.type === "failed" ? [event.retryInMs] : [])),
      [1000, 2000, 4000, undefined]
    )
    assert.isTrue(Exit.isSuccess(process.exit!) && process.exit.value.status === "failed")
  })

  it("after a crash: once", () => {
    assert.strictEqual(play(newWorld(), lone, failing("crashed")).process.exit?._tag, "Success")
    assert.strictEqual(play(newWorld(), lone, failing("crashed", "crashed")).attempts.length, 2)
  })

  it("for each class of failure by itself", () => {
    const { attempts, process } = play(newWorld(), lone, failing("transient", "crashed", "transient"))
    assert.strictEqual(attempts.length, 4)
    assert.isTrue(Exit.isSuccess(process.exit!) && process.exit.value.status === "done")
  })

  it("not when it is wrong", () => {
    assert.strictEqual(play(newWorld(), lone, failing("permanent")).attempts.length, 1)
  })

  it("not when it exceeds its time", () => {
    const plan = planOf("slow", [part("source", 0), part("mix", 0, [0])], 1)
    const { attempts, events } = play(newWorld(), plan, (job, work) => (job.label === "mix" ? Effect.never : work))
    assert.strictEqual(attempts.filter(({ label }) => label === "mix").length, 1)
    const last = events.filter(event => event.type === "failed")
    assert.deepStrictEqual(
      last.map(event => event.class),
      ["timeout"]
    )
    assert.match(last[0]!.message, /60 s/)
  })
})

describe("after a failure", () => {
  it("with --keep-going all runs that does not need what failed, and the rest is reported as skipped, once", () => {
    const played = play(newWorld(), twoChains, failing("permanent"), { keepGoing: true })
    assert.deepStrictEqual(labelsOf(played), ["mix/3", "source", "source/2"])
    const skipped = played.events.flatMap(event =>
      event.type === "skipped" ? [`${event.label}: ${event.because}`] : []
    )
    assert.deepStrictEqual(skipped, ["mix: source", "mix/2: source"])
  })

  it("without it nothing new starts, not even what waits for its turn already", () => {
    // More than the machine can run at a time, all of them ready from the beginning.
    const plan = planOf("many", [part("source", 9), ...[1, 2, 3, 4, 5, 6, 7, 8].map(n => part("source", n))], 9)
    const fail: Script = () => Effect.delay(Effect.succeed(failed("permanent")), 10)
    const played = play(newWorld(), plan, fail, { keepGoing: false })
    const { cpus } = played.process.slots.capacity
    assert.strictEqual(played.attempts.length, cpus, "only what had a slot when the first one failed")
    const count = (type: "failed" | "skipped") => played.events.filter(event => event.type === type).length
    assert.strictEqual(count("failed"), cpus)
    assert.strictEqual(count("skipped"), plan.nodes.length - cpus)
  })
})

describe("one action that stands in a plan twice", () => {
  it("is computed once", () => {
    const plan = planOf("twins", [part("source", 0), part("source", 0), part("mix", 0, [0]), part("mix", 0, [1])], 4)
    assert.deepStrictEqual(labelsOf(play(newWorld(), plan, obey)), ["mix", "source"])
  })
})

describe("an interruption", () => {
  it("stops what runs, and only then gives up its leases and writes down the end", () => {
    const world = newWorld()
    let stoppedMs = 0
    const played = play(
      world,
      lone,
      () =>
        Effect.onInterrupt(Effect.never, () =>
          Effect.andThen(
            Effect.sleep(9000),
            Effect.sync(() => {
              stoppedMs = world.time.now
              assert.strictEqual(world.database.all("SELECT * FROM lease").length, 1, "still held while it stops")
            })
          )
        ),
      {
        meanwhile: process =>
          Effect.andThen(
            Effect.sleep(20_000),
            Effect.sync(() => process.interrupt())
          )
      }
    )
    assert.strictEqual(stoppedMs, 29_000)
    assert.deepStrictEqual(world.violations, [])
    assert.deepStrictEqual(world.database.all("SELECT * FROM lease"), [])
    assert.deepStrictEqual(world.database.column("SELECT status FROM run"), ["interrupted"])
    assert.deepStrictEqual(world.database.column("SELECT status FROM execution"), ["interrupted"])
    assert.strictEqual(played.process.slots.used.cpus, 0)
  })

  it("counts what the run found as reused, not what it never reached", () => {
    const world = newWorld()
    play(world, planOf("first", [part("source", 0)], 1), obey)
    const chain = planOf(
      "second",
      [part("source", 0), part("mix", 0, [0]), part("mix", 1, [1]), part("mix", 2, [2])],
      4
    )
    const { events } = play(
      world,
      chain,
      ({ label }, work) => (label === chain.nodes[1]!.label ? work : Effect.never),
      {
        meanwhile: process =>
          Effect.andThen(
            Effect.sleep(60_000),
            Effect.sync(() => process.interrupt())
          )
      }
    )
    const counts = { status: "interrupted" as const, executed: 1, reused: 1, failed: 0, skipped: 0 }
    assert.deepInclude(events.at(-1), { type: "run-ended", ...counts })
    const recorded = "SELECT status, executed, reused, failed, skipped FROM run ORDER BY id DESC LIMIT 1"
    assert.deepStrictEqual({ ...world.database.get<typeof counts>(recorded)! }, counts)
  })
})

describe("a runner that was thought dead", () => {
  it("reports no failure of work that another has taken over", () => {
    const world = newWorld()
    const played = play(world, lone, (_, work, nth) =>
      nth > 1
        ? work
        : Effect.sync(() => {
            // Another process took the lease, and gave it back.
            world.database.run("DELETE FROM lease")
            return failed("permanent")
          })
    )
    assert.deepStrictEqual(
      played.events.filter(event => event.type === "failed"),
      []
    )
    assert.strictEqual(played.attempts.length, 2)
    assert.isTrue(Exit.isSuccess(played.process.exit!) && played.process.exit.value.status === "done")
  })
})

describe("what a run remembers for the next", () => {
  it("is out of date when bytes were lost while it ran", () => {
    const world = newWorld()
    play(world, lone, obey)
    const lose = () => {
      const digest = world.database.column<Buffer>("SELECT digest FROM artifact")[0]!
      Actions.markArtifacts(world.database, [Buffer.from(digest).toString("hex") as never], "lost")
    }
    // It has seen its hit already when that is lost.
    play(world, planOf("lone", [part("source", 0), part("source", 1)], 2), (_, work) =>
      Effect.tap(work, () => Effect.sync(lose))
    )
    assert.isUndefined(Plans.latestSnapshot(world.database, "lone", "only"))
    assert.deepStrictEqual(labelsOf(play(world, lone, obey)), ["source"])
  })
})

describe("100,000 stages", () => {
  const size = 100_000
  const bigPlan = (producerOf: (id: number) => number | undefined): Plan => ({
    pipeline: "big",
    profile: "only",
    nodes: Array.from({ length: size }, (_, id): PlanNode => {
      const producer = producerOf(id)
      return {
        id,
        label: `source/${id}`,
        stage: mix,
        parameters: { n: id, noise: false },
        parametersText: `{"n":${id},"noise":false}`,
        wires: producer === undefined ? [] : [{ port: "texts", name: undefined, node: producer, output: "text" }]
      }
    }),
    targets: [{ name: "last", node: size - 1, output: "text" }]
  })
  const shapes = {
    chain: bigPlan(id => (id === 0 ? undefined : id - 1)),
    fan: bigPlan(id => (id === 0 ? undefined : 0))
  }

  for (const [shape, plan] of Object.entries(shapes)) {
    it(
      `as a ${shape} of hits: looked up in as few steps as can be, and nothing is started`,
      { timeout: 120_000 },
      () => {
        let asked = 0
        let keys = 0
        const make = (snapshot: Plans.Snapshot | undefined) => {
          const resolver = new Resolver({
            plan,
            codeOf: () => ({ digest: sha256("code"), detail: "{}" }),
            identityOf: () => undefined,
            engine: "none",
            generation: 0,
            snapshot,
            lookup: wanted => {
              asked++
              keys += wanted.length
              return new Map(
                wanted.map(key => [
                  key,
                  { id: 1, outputs: [{ port: "text", digest: sha256(`of ${key}`), state: "present" }] }
                ])
              )
            }
          })
          resolver.resolveAll()
          return resolver
        }
        const resolver = make(undefined)
        assert.strictEqual(keys, size, "every key is asked for once")
        assert.strictEqual(asked, shape === "chain" ? size : 2)
        assert.isTrue(resolver.states.every(state => state._tag === "known"))

        const bytes = Buffer.from(
          resolver.states.map(state => (state._tag === "known" ? state.key + state.outputs[0]!.digest : "")).join(""),
          "hex"
        )
        asked = 0
        const remembered = make(new Plans.Snapshot(1, sha256("plan"), bytes))
        assert.strictEqual(asked, 0, "the last run's answer is enough")
        assert.isTrue(remembered.states.every(state => state._tag === "known"))

        const world = newWorld()
        const summary = world.time.run(
          schedule({
            run: 1,
            ports: {} as never,
            resolver: remembered,
            keepGoing: true,
            leaseMs: 15_000,
            estimate: () => undefined,
            observe: () => undefined
          }),
          1000
        )
        assert.deepStrictEqual(
          { executed: summary.executed, failed: summary.failed, skipped: summary.skipped },
          { executed: [], failed: [], skipped: [] }
        )
      }
    )
  }
})
