import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Actions from "../../src/ledger/Actions.ts"
import * as Runs from "../../src/ledger/Runs.ts"
import { type Digest, fromBytes } from "../../src/pipeline/Digest.ts"
import { collect, type CollectOptions, survey } from "../../src/runner/Collect.ts"
import { encodeResult, resultFile } from "../../src/runner/Request.ts"
import { decodePage } from "../../src/store/Pages.ts"
import { none } from "../../src/store/Faults.ts"
import { fill, type MaintenanceWorld, type ModelAction } from "../support/maintenanceWorld.ts"
import { below, seeded } from "../support/random.ts"

const day = 86_400_000

const defaults: CollectOptions = { keepRuns: 5, finalOnly: false, logs: false, quarantine: false, checkpoints: false }

/** The rules of protection once more, over the model; without those of --final-only. */
const protectedBy = (world: MaintenanceWorld, options: CollectOptions): ReadonlySet<Digest> => {
  const kept = new Set<Digest>(world.pinned)
  const keepAll = (actions: ReadonlyArray<ModelAction>) => {
    for (const { inputs, outputs } of actions) for (const digest of [...inputs, ...outputs]) kept.add(digest)
  }
  keepAll(world.leased)
  const all = world.runs.flatMap(run => run.actions)
  if (world.leased.some(({ chunked }) => chunked))
    for (const { chunked, outputs } of all) if (chunked) kept.add(outputs[0]!)
  for (const run of world.runs.filter(({ status }) => status === "running")) {
    for (const { outputs } of run.actions) for (const digest of outputs) kept.add(digest)
    const last = world.runs.findLast(
      ({ pipeline, status }) => pipeline === run.pipeline && status !== "running" && status !== "crashed"
    )
    if (last !== undefined) keepAll(last.actions)
  }
  for (const pipeline of ["p0", "p1"]) {
    if (options.keepRuns <= 0) break
    const ours = world.runs.filter(run => run.pipeline === pipeline)
    const done = ours.filter(({ status }) => status === "done")
    const others = ours.filter(({ status }) => status !== "done")
    for (const run of [...done.slice(-options.keepRuns), ...others.slice(-options.keepRuns)]) {
      for (const digest of run.targets) kept.add(digest)
      if (run.status === "running" || run.status === "crashed") {
        for (const { outputs } of run.actions) for (const digest of outputs) kept.add(digest)
      } else keepAll(run.actions)
    }
  }
  return kept
}

const revealStepsOf = ({ house }: MaintenanceWorld) =>
  new Map(
    house.database
      .all<{ digest: Buffer; state: number }>("SELECT digest, state FROM artifact")
      .map(({ digest, state }) => [fromBytes(digest), state])
  )

const readAll = Effect.fnUntraced(function* ({ store }: MaintenanceWorld, digest: Digest) {
  const manifest = yield* store.readManifest(digest)
  for (const file of manifest.files) yield* store.read(file.sha256, { size: file.size })
  for (const page of manifest.items?.pages ?? []) {
    for (const item of yield* Effect.flatMap(store.read(page.sha256), decodePage))
      if (item.sha256 !== undefined) yield* store.read(item.sha256, { size: item.size })
  }
})

const objectsIn = (world: MaintenanceWorld) =>
  Effect.map(Stream.runCollect(world.store.list), all => new Set([...all].map(({ sha256 }) => sha256)))

describe("a collection", () => {
  it("drops everything that may go and nothing that may not, over random houses and options", async () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = seeded(seed)
      await Effect.runPromise(
        Effect.gen(function* () {
          const world = yield* fill(random)
          const options: CollectOptions = {
            ...defaults,
            keepRuns: below(random, 4),
            olderThanMs: random() < 0.3 ? below(random, 60) * 60_000 : undefined
          }
          const say = `seed ${seed}`
          const kept = protectedBy(world, options)
          // Far enough in the future for every stray object to be old; processes are alive by name, not by time.
          const later = world.now + 2 * day
          const limit =
            options.olderThanMs === undefined ? undefined : { ...options, olderThanMs: options.olderThanMs + 2 * day }
          const asked = limit ?? options
          const planned = yield* survey(world.house, asked, later)
          assert.deepStrictEqual(
            [...revealStepsOf(world).values()].filter(state => state !== 0),
            [],
            `${say}: a plan changes nothing`
          )
          const done = yield* collect(world.house, asked, none, later)
          assert.deepStrictEqual(
            planned.plan.dropped.map(({ digest }) => digest),
            done.plan.dropped.map(({ digest }) => digest),
            say
          )
          const states = revealStepsOf(world)
          const objects = yield* objectsIn(world)
          const needed = new Set<Digest>()
          for (const [digest, state] of states) {
            if (state === 0) for (const object of world.artifacts.get(digest)!.objects) needed.add(object)
            if (kept.has(digest)) assert.strictEqual(state, 0, `${say}: ${digest} is protected`)
            else if (options.olderThanMs === undefined) assert.strictEqual(state, 1, `${say}: ${digest} may go`)
          }
          for (const object of needed) assert.isTrue(objects.has(object), `${say}: ${object} is needed`)
          for (const [digest, state] of states) if (state === 0) yield* readAll(world, digest)
          const orphansStay = world.leased.length > 0
          for (const object of objects)
            assert.isTrue(
              needed.has(object) || (orphansStay && world.strays.has(object)),
              `${say}: ${object} is left over`
            )
          const again = yield* collect(world.house, asked, none, later)
          assert.deepStrictEqual(
            [again.plan.dropped, again.plan.objects],
            [[], []],
            `${say}: a second one finds nothing`
          )
        })
      )
    }
  })

  it("with --final-only keeps at least the targets and whatever no other action of the run consumed", async () => {
    for (let seed = 1; seed <= 150; seed++) {
      await Effect.runPromise(
        Effect.gen(function* () {
          const world = yield* fill(seeded(seed))
          const options = { ...defaults, keepRuns: 2, finalOnly: true }
          const kept = new Set<Digest>()
          for (const pipeline of ["p0", "p1"]) {
            for (const run of world.runs.filter(each => each.pipeline === pipeline).slice(-2)) {
              const consumed = new Set(run.actions.flatMap(({ inputs }) => inputs))
              for (const digest of run.targets) kept.add(digest)
              for (const { outputs } of run.actions)
                if (outputs.every(digest => !consumed.has(digest))) for (const digest of outputs) kept.add(digest)
            }
          }
          yield* collect(world.house, options, none, world.now)
          const states = revealStepsOf(world)
          for (const digest of kept) assert.strictEqual(states.get(digest), 0, `seed ${seed}`)
          for (const [digest, state] of states) if (state === 0) yield* readAll(world, digest)
          // It never keeps what the same collection without the flag would drop.
          const wide = protectedBy(world, { ...options, finalOnly: false })
          for (const [digest, state] of states) if (state === 0) assert.isTrue(wide.has(digest), `seed ${seed}`)
        })
      )
    }
  })

  it("with a cap, stops as soon as the store fits and still harms nothing that is kept", async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = seeded(seed)
      await Effect.runPromise(
        Effect.gen(function* () {
          const world = yield* fill(random)
          const maxBytes = below(random, 20_000)
          const options = { ...defaults, keepRuns: 1, maxBytes }
          const kept = protectedBy(world, options)
          const { plan } = yield* collect(world.house, options, none, world.now)
          const states = revealStepsOf(world)
          for (const digest of kept) assert.strictEqual(states.get(digest), 0, `seed ${seed}`)
          for (const [digest, state] of states) if (state === 0) yield* readAll(world, digest)
          const { objects } = yield* world.store.usage
          assert.strictEqual(objects.bytes, plan.after, `seed ${seed}: the plan tells the size that comes of it`)
          if (plan.after > maxBytes)
            for (const [digest, state] of states) assert.strictEqual(state, kept.has(digest) ? 0 : 1, `seed ${seed}`)
          else if (plan.dropped.length > 0)
            assert.isAbove(plan.after + plan.dropped.at(-1)!.bytes, maxBytes, `seed ${seed}: the last one had to go`)
        })
      )
    }
  })
})

/** A world with an artifact that a collection drops. */
const worldWithDropped = Effect.gen(function* () {
  for (let seed = 1; ; seed++) {
    const world = yield* fill(seeded(seed))
    const { plan } = yield* survey(world.house, { ...defaults, keepRuns: 0 }, world.now)
    const dropped = plan.dropped.find(({ digest, kind }) => {
      const action = world.runs.flatMap(run => run.actions).find(({ outputs }) => outputs.includes(digest))
      return kind === "bag" && action !== undefined && world.artifacts.get(digest)!.objects.size > 3
    })
    if (dropped !== undefined && world.leased.length === 0) return { world, dropped }
  }
})

describe("what an action comes to need while a collection is under way", () => {
  it("is brought back when its result is recorded between the decision and the move", async () => {
    await Effect.runPromise(
      Effect.gen(function* () {
        const { dropped, world } = yield* worldWithDropped
        const { database } = world.house
        const faults = (point: string) =>
          Effect.sync(() => {
            // Another process made the same artifact again: its bytes were there, so it wrote none of them.
            if (point === "collect.marked") database.run("UPDATE artifact SET state = 0 WHERE id = ?", dropped.id)
          })
        const done = yield* collect(world.house, { ...defaults, keepRuns: 0 }, faults, world.now)
        assert.isAbove(done.broughtBack, 0)
        assert.strictEqual(revealStepsOf(world).get(dropped.digest), 0)
        yield* readAll(world, dropped.digest)
      })
    )
  })

  it("is brought back when it was computed and published, but not recorded yet", async () => {
    await Effect.runPromise(
      Effect.gen(function* () {
        const { dropped, world } = yield* worldWithDropped
        const manifest = yield* world.store.readManifest(dropped.digest)
        const directory = `${world.house.paths.actions}/0123456789abcdef.99`
        const faults = (point: string) =>
          point !== "collect.marked"
            ? Effect.void
            : Effect.gen(function* () {
                yield* world.house.disk.mkdir(directory)
                yield* world.house.disk.write(
                  `${directory}/${resultFile}`,
                  encodeResult({
                    version: 1,
                    key: dropped.digest,
                    outputs: [{ port: "out", digest: dropped.digest, manifest }],
                    staged: [],
                    metrics: [],
                    checked: [],
                    cpuMs: 0,
                    peakKib: 0
                  })
                )
              }).pipe(Effect.orDie)
        yield* collect(world.house, { ...defaults, keepRuns: 0 }, faults, world.now)
        assert.strictEqual(
          revealStepsOf(world).get(dropped.digest),
          1,
          "the ledger says so until the action records its result"
        )
        yield* readAll(world, dropped.digest)
      })
    )
  })

  it("is not dropped at all when it is recorded before the decision", async () => {
    await Effect.runPromise(
      Effect.gen(function* () {
        const { dropped, world } = yield* worldWithDropped
        const { database } = world.house
        yield* survey(world.house, { ...defaults, keepRuns: 0 }, world.now)
        database.run("INSERT INTO pin (artifact, note, created_ms) VALUES (?, '', 0)", dropped.id)
        const { plan } = yield* collect(world.house, { ...defaults, keepRuns: 0 }, none, world.now)
        assert.notInclude(
          plan.dropped.map(({ id }) => id),
          dropped.id
        )
      })
    )
  })
})

describe("objects of no artifact", () => {
  it("stay while they are young, and while pages are unreadable that may list them", async () => {
    await Effect.runPromise(
      Effect.gen(function* () {
        const { dropped, world } = yield* worldWithDropped
        const stray = yield* world.store.put("a stray object")
        const young = yield* survey(world.house, defaults, world.now)
        assert.deepStrictEqual(young.plan.orphans, [])
        const old = yield* survey(world.house, defaults, world.now + 2 * day)
        assert.include(
          old.plan.orphans.map(({ digest }) => digest),
          stray.sha256
        )
        const page = (yield* world.store.readManifest(dropped.digest)).items!.pages[0]!
        yield* world.store.quarantine(page.sha256, "test")
        const blind = yield* survey(world.house, defaults, world.now + 2 * day)
        assert.deepStrictEqual(blind.plan.orphans, [])
        assert.match(blind.orphansKept ?? "", /damaged/)
      })
    )
  })
})

describe("marking", () => {
  it("makes a collected artifact no hit for what must read it, and keeps what it was", async () => {
    await Effect.runPromise(
      Effect.gen(function* () {
        const { dropped, world } = yield* worldWithDropped
        const { database } = world.house
        const before = Actions.generation(database)
        yield* collect(world.house, { ...defaults, keepRuns: 0 }, none, world.now)
        assert.isAbove(Actions.generation(database), before, "snapshots of plans are out of date")
        const action = world.runs.flatMap(run => run.actions).find(({ outputs }) => outputs.includes(dropped.digest))!
        const known = Actions.lookup(database, [action.key]).get(action.key)!
        assert.deepStrictEqual(
          known.outputs.filter(({ digest }) => digest === dropped.digest).map(({ state }) => state),
          ["collected"]
        )
        assert.isNumber(dropped.costMs)
      })
    )
  })
})

describe("directories of attempts", () => {
  it("go with their process, but not while a run is at work that may have lost a lease and still be writing", async () => {
    await Effect.runPromise(
      Effect.gen(function* () {
        const { world } = yield* worldWithDropped
        const { database, disk, owner, paths } = world.house
        const directory = `${paths.actions}/0123456789abcdef.99`
        yield* disk.mkdir(directory)
        yield* disk.write(`${directory}/half`, "half of a result")
        database.run("UPDATE run SET status = 'done' WHERE status = 'running'")
        const listed = (now: number) =>
          Effect.map(survey(world.house, defaults, now), ({ leftovers }) =>
            leftovers.filter(({ kind }) => kind === "attempt").map(({ path }) => path)
          )
        assert.deepStrictEqual(yield* listed(world.now), [directory])
        const start = { pipeline: "p0", profile: "small", command: "", program: "", owner, now: world.now }
        Runs.begin(database, start)
        assert.deepStrictEqual(yield* listed(world.now), [])
        assert.deepStrictEqual(yield* listed(world.now + day), [directory])
      })
    )
  })
})
