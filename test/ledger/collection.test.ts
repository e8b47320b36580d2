import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Candidate, choose, type CollectionOptions, type Holdings } from "../../src/ledger/Collection.ts"
import { Database } from "../../src/ledger/Database.ts"
import { liveLeases, liveRuns } from "../../src/ledger/Liveness.ts"
import { Counted, Needs } from "../../src/ledger/Needs.ts"
import * as Pins from "../../src/ledger/Pins.ts"
import type { Protection } from "../../src/ledger/Protection.ts"
import { type Digest, sha256, toBytes } from "../../src/pipeline/Digest.ts"

const now = 1_000_000_000
const day = 86_400_000

const objectName = (i: number) => sha256(`object ${i}`)

interface Artifact {
  readonly objects: ReadonlyArray<number>
  readonly age: number
  readonly cost: number | undefined
  readonly protection: Protection | undefined
}

interface World {
  readonly artifacts: ReadonlyArray<Artifact>
  /** By object: what it lists, where it is a page. */
  readonly parts: ReadonlyArray<ReadonlyArray<number>>
  /** By object: size and age where the store has it. */
  readonly stored: ReadonlyArray<{ readonly size: number; readonly age: number } | undefined>
}

const universe = 9
const someObjects = fc.uniqueArray(fc.integer({ min: 0, max: universe - 1 }), { maxLength: 4 })

const worlds: fc.Arbitrary<World> = fc.record({
  artifacts: fc.array(
    fc.record({
      objects: someObjects,
      age: fc.integer({ min: 0, max: 10 }),
      cost: fc.option(fc.integer({ min: 0, max: 5000 }), { nil: undefined }),
      protection: fc.option(fc.constantFrom<Protection>("pinned", "in-use", "last-runs"), { nil: undefined, freq: 2 })
    }),
    { maxLength: 8 }
  ),
  parts: fc
    .array(someObjects, { minLength: universe, maxLength: universe })
    .map(all => all.map((list, i) => (i < 3 ? list : []))),
  stored: fc.array(
    fc.option(fc.record({ size: fc.integer({ min: 0, max: 1000 }), age: fc.integer({ min: 0, max: 3 }) }), {
      nil: undefined,
      freq: 5
    }),
    { minLength: universe, maxLength: universe }
  )
})

const optionsOf: fc.Arbitrary<CollectionOptions> = fc.record({
  now: fc.constant(now),
  olderThanMs: fc.option(
    fc.integer({ min: 0, max: 10 }).map(days => days * day),
    { nil: undefined }
  ),
  maxBytes: fc.option(fc.integer({ min: 0, max: 6000 }), { nil: undefined }),
  orphanGraceMs: fc.constant(2 * day),
  orphans: fc.boolean()
})

const candidateOf = (artifact: Artifact, id: number): Candidate => ({
  id,
  digest: sha256(`artifact ${id}`),
  kind: "thing",
  label: undefined,
  lastUsedMs: now - artifact.age * day,
  lastRun: undefined,
  costMs: artifact.cost
})

const holdingsOf = (world: World): Holdings => ({
  candidates: world.artifacts.map(candidateOf),
  protections: new Map(
    world.artifacts.flatMap(({ protection }, id) => (protection === undefined ? [] : [[id, protection]]))
  ),
  objectsOf: ({ id }) => world.artifacts[id]!.objects.map(objectName),
  partsOf: object => (world.parts[indexOf(object)] ?? []).map(objectName),
  stored: new Map(
    world.stored.flatMap((object, i) =>
      object === undefined ? [] : [[objectName(i), { size: object.size, modifiedMs: now - object.age * day }] as const]
    )
  )
})

const names = new Map(Array.from({ length: universe }, (_, i) => [objectName(i), i]))
const indexOf = (digest: Digest) => names.get(digest)!

/** The rules once more, as sets, with no counting. */
const closure = (world: World, id: number): ReadonlySet<number> =>
  new Set(world.artifacts[id]!.objects.flatMap(object => [object, ...world.parts[object]!]))

const union = (sets: Iterable<ReadonlySet<number>>): Set<number> => {
  const all = new Set<number>()
  for (const set of sets) for (const each of set) all.add(each)
  return all
}

const reference = (world: World, options: CollectionOptions) => {
  const ids = world.artifacts.map((_, id) => id)
  const isProtected = (id: number) => world.artifacts[id]!.protection !== undefined
  const needs = (of: ReadonlyArray<number>) => union(of.map(id => closure(world, id)))
  const inStore = new Set(world.stored.flatMap((object, i) => (object === undefined ? [] : [i])))
  const sizes = (of: Iterable<number>) => [...of].reduce((sum, i) => sum + (world.stored[i]?.size ?? 0), 0)
  const safe = needs(ids.filter(isProtected))
  const needed = needs(ids)
  const orphans = options.orphans
    ? [...inStore].filter(i => !needed.has(i) && world.stored[i]!.age * day >= options.orphanGraceMs)
    : []
  /** Bytes that it alone would give back, were all the unprotected ones gone; a shared page's items count with each page. */
  const worth = (id: number) => {
    const { age, cost, objects } = world.artifacts[id]!
    if (cost === undefined) return 0
    const groups = objects.map(object => union([new Set([object, ...world.parts[object]!])]))
    const expanded = new Set(ids.filter(isProtected).flatMap(other => world.artifacts[other]!.objects))
    const bytes = groups.reduce(
      (sum, group, i) => sum + (expanded.has(objects[i]!) ? 0 : sizes([...group].filter(each => !safe.has(each)))),
      0
    )
    return (bytes * Math.max(1, age * day)) / Math.max(50, cost)
  }
  const open = ids
    .filter(id => !isProtected(id) && world.artifacts[id]!.age * day >= (options.olderThanMs ?? 0))
    .filter(id => [...closure(world, id)].some(object => inStore.has(object) && !safe.has(object)))
    .sort((a, b) => worth(b) - worth(a) || a - b)
  const after = (dropped: ReadonlyArray<number>) => {
    const kept = needs(ids.filter(id => !dropped.includes(id)))
    return [...inStore].filter(i => kept.has(i) || (!needed.has(i) && !orphans.includes(i)))
  }
  let dropped: ReadonlyArray<number> = []
  if (options.maxBytes === undefined) dropped = open
  else
    while (dropped.length < open.length && sizes(after(dropped)) > options.maxBytes)
      dropped = open.slice(0, dropped.length + 1)
  return { dropped, orphans, remaining: after(dropped), safe, sizes, inStore }
}

describe("what a collection chooses", () => {
  it("is what the rules say, for any artifacts, shared objects, pages and options", () => {
    fc.assert(
      fc.property(worlds, optionsOf, (world, options) => {
        const plan = choose(holdingsOf(world), options)
        const expected = reference(world, options)
        assert.deepStrictEqual(
          plan.dropped.map(({ id }) => id),
          [...expected.dropped]
        )
        assert.deepStrictEqual(plan.orphans.map(({ digest }) => indexOf(digest)).sort(), [...expected.orphans].sort())
        const gone = new Set(plan.objects.map(indexOf))
        assert.strictEqual(gone.size, plan.objects.length, "no object is dropped twice")
        assert.deepStrictEqual(
          [...expected.inStore].filter(i => !gone.has(i)),
          expected.remaining
        )
        assert.strictEqual(plan.before, expected.sizes(expected.inStore))
        assert.strictEqual(plan.after, expected.sizes(expected.remaining))
        const freed = plan.dropped.reduce((sum, { bytes }) => sum + bytes, 0)
        assert.strictEqual(plan.before - plan.after, freed + expected.sizes(expected.orphans))
        const { "in-use": used, "last-runs": recent, pinned } = plan.kept
        assert.strictEqual(pinned.bytes + used.bytes + recent.bytes, expected.sizes(expected.safe))
        assert.strictEqual(
          plan.excess,
          options.maxBytes === undefined ? 0 : Math.max(0, expected.sizes(expected.safe) - options.maxBytes)
        )
      }),
      { numRuns: 3000 }
    )
  })

  it("takes what is large, old and cheap to make again before what is small, new or dear", () => {
    const make = (id: number, size: number, age: number, cost: number | undefined): Artifact & { size: number } => ({
      objects: [id + 3],
      age,
      cost,
      protection: undefined,
      size
    })
    const artifacts = [
      make(0, 10, 5, 1000),
      make(1, 1000, 5, 1000),
      make(2, 1000, 9, 1000),
      make(3, 1000, 9, 100_000),
      make(4, 9000, 9, undefined)
    ]
    const world: World = {
      artifacts,
      parts: Array.from({ length: universe }, () => []),
      stored: Array.from({ length: universe }, (_, i) => {
        const artifact = artifacts[i - 3]
        return artifact === undefined ? undefined : { size: artifact.size, age: 0 }
      })
    }
    const order = (maxBytes: number) =>
      choose(holdingsOf(world), { now, maxBytes, orphanGraceMs: day, orphans: true }).dropped.map(({ id }) => id)
    assert.deepStrictEqual(order(0), [2, 1, 3, 0, 4], "what nobody knows how to make again goes last")
    assert.deepStrictEqual(order(10_500), [2, 1], "no more goes than it takes")
  })

  it("leaves an artifact alone whose bytes would not be freed", () => {
    const world: World = {
      artifacts: [
        { objects: [4], age: 9, cost: 1, protection: "pinned" },
        { objects: [4], age: 9, cost: 1, protection: undefined },
        { objects: [5], age: 9, cost: 1, protection: undefined }
      ],
      parts: Array.from({ length: universe }, () => []),
      stored: Array.from({ length: universe }, (_, i) => (i === 4 ? { size: 10, age: 9 } : undefined))
    }
    const plan = choose(holdingsOf(world), { now, orphanGraceMs: day, orphans: true })
    assert.deepStrictEqual(plan.dropped, [], "one shares its object with a pinned one, the other's lies in a layer")
  })
})

describe("counting needs", () => {
  it("frees an object exactly when the last artifact that needs it goes, in any order", () => {
    fc.assert(
      fc.property(worlds, fc.infiniteStream(fc.nat()), (world, numbers) => {
        const holdings = holdingsOf(world)
        const needs = new Needs(holdings)
        for (const candidate of holdings.candidates) needs.add(candidate)
        const left = world.artifacts.map((_, id) => id)
        const freed = new Set<number>()
        while (left.length > 0) {
          const [id] = left.splice(numbers.next().value! % left.length, 1)
          for (const digest of needs.drop(holdings.candidates[id!]!)) {
            assert.isFalse(freed.has(indexOf(digest)))
            freed.add(indexOf(digest))
          }
          const still = union(left.map(each => closure(world, each)))
          const all = union(world.artifacts.map((_, each) => closure(world, each)))
          for (const object of all)
            if (world.stored[object] !== undefined) assert.strictEqual(freed.has(object), !still.has(object))
        }
      }),
      { numRuns: 500 }
    )
  })

  it("counts shared bytes once", () => {
    fc.assert(
      fc.property(worlds, world => {
        const holdings = holdingsOf(world)
        const counted = new Counted(holdings)
        const total = holdings.candidates.reduce((sum, candidate) => sum + counted.add(candidate), 0)
        const all = union(world.artifacts.map((_, id) => closure(world, id)))
        assert.strictEqual(
          total,
          [...all].reduce((sum, i) => sum + (world.stored[i]?.size ?? 0), 0)
        )
      })
    )
  })
})

describe("who counts as alive", () => {
  const here = { host: "here", boot: "b2", alive: (pid: number) => pid === 7, now }
  const lease = (database: Database, key: string, host: string, boot: string, pid: number, expires: number) =>
    database.run(
      "INSERT INTO lease (key, owner, host, boot, pid, token, acquired_ms, expires_ms) VALUES (?, 'o', ?, ?, ?, 1, 0, ?)",
      toBytes(sha256(key)),
      host,
      boot,
      pid,
      expires
    )

  it("is, for leases, a process that lives here, whatever the expiry, or one elsewhere that has not expired for long", () => {
    const database = Database.open(":memory:")
    lease(database, "lives, suspended", "here", "b2", 7, now - day)
    lease(database, "dead", "here", "b2", 8, now + day)
    lease(database, "before the restart", "here", "b1", 7, now + day)
    lease(database, "elsewhere", "there", "x", 8, now - 60_000)
    lease(database, "elsewhere, given up", "there", "x", 8, now - day)
    assert.sameMembers(
      liveLeases(database, here).map(({ key }) => key),
      ["lives, suspended", "elsewhere"].map(sha256)
    )
  })

  it("is, for runs, a process that lives here, or one elsewhere that gave a sign of life within a day", () => {
    const database = Database.open(":memory:")
    const run = (id: number, host: string, boot: string, pid: number, started: number, status = "running") =>
      database.run(
        "INSERT INTO run (id, pipeline, profile, status, started_ms, command, program, host, boot, pid) VALUES (?, 'p', 'q', ?, ?, '', '', ?, ?, ?)",
        id,
        status,
        started,
        host,
        boot,
        pid
      )
    run(1, "here", "b2", 7, now - 9 * day)
    run(2, "here", "b2", 8, now)
    run(3, "there", "x", 8, now - day / 2)
    run(4, "there", "x", 8, now - 9 * day)
    run(5, "there", "x", 8, now - 9 * day)
    run(6, "here", "b2", 7, now, "done")
    database.run("INSERT INTO event (run, at_ms, type, data) VALUES (5, ?, 'started', '{}')", now - 1000)
    assert.deepStrictEqual(
      liveRuns(database, here).map(({ id }) => id),
      [1, 3, 5]
    )
  })
})

describe("pins", () => {
  it("keep their first time and take a new note unless it is empty; removing tells how many there were", () => {
    const database = Database.open(":memory:")
    for (const name of ["a", "b"])
      database.run(
        "INSERT INTO artifact (digest, kind, bytes, metadata, created_ms) VALUES (?, 'thing', 5, '{}', 0)",
        toBytes(sha256(name))
      )
    Pins.add(database, [1, 2], "first", 10)
    Pins.add(database, [1], "", 20)
    Pins.add(database, [2], "second", 20)
    assert.deepStrictEqual(
      Pins.list(database).map(({ artifact, createdMs, note, present }) => [artifact, createdMs, note, present]),
      [
        [1, 10, "first", true],
        [2, 10, "second", true]
      ]
    )
    assert.strictEqual(Pins.remove(database, [1, 2]), 2)
    assert.strictEqual(Pins.remove(database, [1, 2]), 0)
    assert.deepStrictEqual(Pins.list(database), [])
  })
})
