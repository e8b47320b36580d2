import { chmodSync, existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { Database } from "../../src/ledger/Database.ts"
import { fromBytes } from "../../src/pipeline/Digest.ts"
import { collectFaultPoints } from "../../src/runner/Collect.ts"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"
import { program } from "../support/program.ts"

interface GcJson {
  readonly applied: boolean
  readonly before: number
  readonly after: number
  readonly artifacts: ReadonlyArray<{ readonly label: string; readonly bytes: number; readonly recomputeMs: number }>
  readonly leftovers: ReadonlyArray<{ readonly kind: string; readonly kept: boolean }>
  readonly orphans: { readonly objects: number }
  readonly excess: number
}

let house: MaintenanceFolder
beforeAll(() => {
  house = new MaintenanceFolder()
})
beforeEach(() => house.clear())
afterAll(() => house.remove())

const newer = ["--set", "summary.title=newer"] as const

const everything = ["bag", "noise", "source/t0", "source/t1", "source/t2", "summary"]

describe("pipeline gc", () => {
  it("keeps what the last runs consist of, and changes nothing when it only plans", async () => {
    await house.begin()
    const before = house.snapshot()
    const plan = await house.json<GcJson>("gc")
    assert.deepStrictEqual(plan.artifacts, [])
    assert.isFalse(plan.applied)
    const final = await house.json<GcJson>("gc", "--final-only")
    assert.deepStrictEqual(final.artifacts.map(({ label }) => label).sort(), everything.slice(0, 5))
    assert.isTrue(final.artifacts.every(({ recomputeMs }) => recomputeMs >= 0))
    assert.strictEqual(
      final.before - final.after,
      final.artifacts.reduce((sum, { bytes }) => sum + bytes, 0)
    )
    assert.match(await house.text("gc", "--final-only"), /nothing was changed/)
    assert.deepStrictEqual(house.snapshot(), before)
  })

  it("after it has dropped all intermediates, a run that needs nothing executes nothing", async () => {
    await house.begin()
    const { after } = await house.json<GcJson>("gc", "--final-only", "--apply")
    const sizes = await house.json<{ objects: { bytes: number } }>("cache", "usage")
    assert.strictEqual(sizes.objects.bytes, after)
    assert.deepStrictEqual((await house.run()).labels, [])
    assert.deepStrictEqual((await house.run()).labels, [], "nor from the snapshot that the run before has left")
    assert.match(await house.text("cache", "verify"), /everything is sound/)
  })

  it("a run that needs collected bytes makes exactly those again, and says which came out differently", async () => {
    await house.begin()
    await house.text("gc", "--final-only", "--apply")
    const bagOnly = await house.run("--only", "bag", "--set", "bag.repeat=2001")
    assert.deepStrictEqual(bagOnly.labels, ["bag", "source/t0", "source/t1", "source/t2"])
    const titled = await house.run("--set", "summary.title=again")
    assert.deepStrictEqual(titled.labels, ["bag", "noise", "summary"], "the texts are there again")
    assert.match(titled.said, /bag, about .*made again: its bytes are collected/)
    assert.match(titled.said, /noise {2}output text is not reproducible: it was [0-9a-f]{12}, now it is [0-9a-f]{12}/)
    assert.notMatch(titled.said, /bag {2}output/, "what came out the same is not reported")
  })

  it("keeps pins beyond the last runs", async () => {
    await house.begin(newer)
    await house.text("pin", "1", "--note", "the first")
    const plan = await house.json<GcJson>("gc", "--keep-runs", "1")
    assert.deepStrictEqual(plan.artifacts, [], "what only run 1 had is pinned, the rest is part of run 2")
    await house.text("pin", "--remove", "1")
    const without = await house.json<GcJson>("gc", "--keep-runs", "1")
    assert.deepStrictEqual(
      without.artifacts.map(({ label }) => label),
      ["summary"]
    )
  })

  it("drops only what is old enough, and only as much as it takes", async () => {
    await house.begin()
    const { before } = await house.json<GcJson>("gc", "--keep-runs", "0", "--older-than", "1h")
    assert.deepStrictEqual((await house.json<GcJson>("gc", "--keep-runs", "0", "--older-than", "1h")).artifacts, [])
    const fits = await house.json<GcJson>("gc", "--keep-runs", "0", "--max-size", `${before}B`)
    assert.deepStrictEqual(fits.artifacts, [])
    const one = await house.json<GcJson>("gc", "--keep-runs", "0", "--max-size", `${before - 1}B`)
    assert.lengthOf(one.artifacts, 1)
    const all = await house.json<GcJson>("gc", "--keep-runs", "0", "--max-size", "0B")
    assert.deepStrictEqual(all.artifacts.map(({ label }) => label).sort(), everything)
    assert.strictEqual(all.after, 0)
    const kept = await house.call("gc", "--max-size", "1B")
    assert.match(kept.stdout, /warning what must be kept exceeds --max-size/)
  })

  it("moves to the trash, from which everything can be restored until that is emptied", async () => {
    await house.begin()
    const before = house.objects()
    const bag = await house.json<{ artifacts: ReadonlyArray<{ digest: string; label: string }> }>(
      "gc",
      "--keep-runs",
      "0",
      "--apply"
    )
    assert.deepStrictEqual(house.objects(), [])
    for (const { digest } of bag.artifacts) await house.text("cache", "trash", "--restore", digest)
    assert.deepStrictEqual(house.objects(), before)
    assert.match(await house.text("cache", "verify"), /everything is sound/)
    assert.deepStrictEqual((await house.run()).labels, [])

    await house.text("gc", "--keep-runs", "0", "--apply")
    const planned = await house.json<{ applied: boolean; objects: number }>("gc", "--empty-trash")
    assert.deepStrictEqual([planned.applied, planned.objects], [false, before.length])
    const young = await house.json<{ objects: number }>("gc", "--empty-trash", "--older-than", "1h", "--apply")
    assert.strictEqual(young.objects, 0)
    const emptied = await house.json<{ objects: number }>("gc", "--empty-trash", "--apply")
    assert.strictEqual(emptied.objects, before.length)
    assert.deepStrictEqual(readdirSync(join(house.cache, "trash")), [])
    assert.deepStrictEqual((await house.run()).labels, everything, "what is gone is made again")
  })

  it("sweeps up after the dead, and leaves logs and quarantine unless they are asked for", async () => {
    await house.begin(newer)
    const attempt = join(house.cache, "actions", "0123456789abcdef.77")
    mkdirSync(join(attempt, "staging"), { recursive: true })
    writeFileSync(join(attempt, "staging", "half"), "half of a result")
    const database = Database.openReadonly(join(house.cache, "ledger.db"))!
    const key = fromBytes(database.column<Buffer>("SELECT key FROM action LIMIT 1")[0]!)
    database.close()
    const published = join(house.cache, "checkpoints", key)
    const unfinished = join(house.cache, "checkpoints", "f".repeat(64))
    for (const directory of [published, unfinished]) {
      mkdirSync(directory, { recursive: true })
      writeFileSync(join(directory, "state"), "step 5")
    }
    const object = house.objects()[0]!
    chmodSync(object, 0o644)
    writeFileSync(object, "damage")
    assert.strictEqual((await house.call("cache", "verify")).code, 1)

    const told = await house.json<GcJson>("gc", "--keep-runs", "1")
    const kinds = (kept: boolean) => told.leftovers.filter(each => each.kept === kept).map(({ kind }) => kind)
    assert.deepStrictEqual(kinds(false), ["attempt", "checkpoint"])
    assert.deepStrictEqual(kinds(true), ["checkpoint", "log", "quarantine", "quarantine"])
    await house.text("gc", "--keep-runs", "1", "--apply")
    assert.deepStrictEqual([attempt, published, unfinished].map(existsSync), [false, false, true])
    assert.isTrue(existsSync(join(house.cache, "logs", "1")))

    await house.text("gc", "--keep-runs", "1", "--checkpoints", "--apply")
    assert.isFalse(existsSync(unfinished))

    mkdirSync(unfinished)
    writeFileSync(join(unfinished, "state"), "step 5")
    const old = new Date(Date.now() - 40 * 86_400_000)
    for (const path of [join(unfinished, "state"), unfinished]) utimesSync(path, old, old)
    await house.text("gc", "--keep-runs", "1", "--logs", "--quarantine", "--apply")
    assert.isFalse(existsSync(unfinished))
    assert.deepStrictEqual(
      readdirSync(join(house.cache, "logs")).filter(name => /^\d/.test(name)),
      ["2"]
    )
    assert.deepStrictEqual(readdirSync(join(house.cache, "quarantine")), [])
  })

  it("collects what a crash left: objects of no artifact, once they are old enough", async () => {
    await house.begin()
    const kept = house.objects()
    const stray = join(house.cache, "objects", "ab", "c".repeat(62))
    mkdirSync(join(stray, ".."), { recursive: true })
    writeFileSync(stray, "stray")
    assert.strictEqual((await house.json<GcJson>("gc")).orphans.objects, 0, "it may be about to be listed")
    const old = new Date(Date.now() - 3 * 86_400_000)
    utimesSync(stray, old, old)
    assert.strictEqual((await house.json<GcJson>("gc", "--apply")).orphans.objects, 1)
    assert.deepStrictEqual(house.objects(), kept)
  })

  it("says kindly that there is nothing yet, and makes nothing", async () => {
    const before = house.snapshot()
    for (const args of [
      ["gc"],
      ["gc", "--apply"],
      ["cache", "usage"],
      ["cache", "verify"],
      ["pin", "--list"],
      ["cache", "trash"]
    ])
      assert.match(await house.text(...args), /nothing was ever run|the trash is empty/)
    assert.deepStrictEqual(house.snapshot(), before)
  })

  it("refuses amounts that it does not understand, with the exit code of wrong usage", async () => {
    for (const args of [
      ["--older-than", "7"],
      ["--older-than", "soon"],
      ["--max-size", "5 parsecs"],
      ["--keep-runs", "-1"],
      ["--keep-runs", "many"]
    ]) {
      const { code, stderr } = await house.call("gc", ...args)
      assert.strictEqual(code, 2, stderr)
      assert.include(stderr, args[0]!.slice(2))
    }
  })
})

describe("collections beside runs", () => {
  it("never make a run fail, whatever they take away under it", async () => {
    await house.begin()
    const runs = { left: 5 }
    const collecting = (async () => {
      let collections = 0
      while (runs.left > 0) {
        await house.text("gc", "--keep-runs", "0", "--apply")
        collections++
      }
      return collections
    })()
    try {
      for (; runs.left > 0; runs.left--) await house.run("--set", `bag.repeat=${2000 + runs.left}`)
    } finally {
      runs.left = 0
    }
    assert.isAbove(await collecting, 1)
    const verified = await house.call("cache", "verify")
    assert.match(verified.stdout, /everything is sound/)
    await house.run()
    assert.match(await house.text("cache", "verify"), /everything is sound/)
  })
})

describe("a collection that is killed", () => {
  const points = [...collectFaultPoints, "trash.before-rename:3", "trash.after-rename:2", "trash.after-directory-sync"]
  const killed: Array<string> = []
  for (const point of points) {
    it(`at ${point} leaves a sound cache: the next run and the next collection complete`, async () => {
      await house.begin(newer)
      const ended = await program(["gc", "--final-only", "--keep-runs", "1", "--apply"], {
        cwd: house.path,
        environment: { PIPELINE_FAULT: point }
      })
      assert.strictEqual(ended.signal, "SIGKILL", ended.stderr)
      killed.push(point)
      assert.match(await house.text("cache", "verify"), /everything is sound/)
      assert.deepStrictEqual((await house.run(...newer)).labels, [], "the kept run is still there")
      assert.include((await house.run("--set", "summary.title=third")).labels, "bag")
      await house.text("gc", "--keep-runs", "1", "--apply")
      assert.match(await house.text("cache", "verify"), /everything is sound/)
      assert.deepStrictEqual((await house.run("--set", "summary.title=third")).labels, [])
    })
  }
  afterAll(() => assert.deepStrictEqual(killed, points))
})
