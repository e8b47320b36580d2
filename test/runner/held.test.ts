/** What a live run planned with, found or made is there as long as it lives, whatever collections do beside it. */
import { join } from "node:path"
import { Effect } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import * as Cache from "../../src/runner/Cache.ts"
import { collect } from "../../src/runner/Collect.ts"
import { isAlive, newOwner } from "../../src/runner/Machine.ts"
import { none } from "../../src/store/Faults.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { hooks, readings, type Way } from "./integrityStages.ts"

let directory: ReturnType<typeof temporaryDirectory>
let cache: string
beforeEach(() => {
  directory = temporaryDirectory()
  cache = join(directory.path, "cache")
})
afterEach(() => {
  hooks.reading = undefined
  directory.remove()
})

/** `pipeline gc --keep-runs 0 --apply`, by another opening of the cache. Returns the labels of what went. */
const collectAll = async (): Promise<ReadonlyArray<string | undefined>> => {
  const { database, paths, store } = Cache.open({ root: cache, layers: [] })
  const house = { database, store, paths, disk: nodeDisk, owner: newOwner(), alive: isAlive }
  const options = { keepRuns: 0, finalOnly: false, logs: false, quarantine: false, checkpoints: false }
  const { plan } = await Effect.runPromise(collect(house, options, none, Date.now()))
  database.close()
  return plan.dropped.map(({ label }) => label).sort()
}

const run = (name: string, of: ReadonlyArray<readonly [number, Way]>, afterPlanning?: () => void) =>
  runPipeline(readings(of, false, name), { cache, ...(afterPlanning === undefined ? {} : { afterPlanning }) })

describe("a collection beside a live run", () => {
  it("spares what the run planned with, though no run of that name ever had it", async () => {
    await run("first", [
      [1, "path"],
      [5, "path"]
    ])
    let gone: ReadonlyArray<string | undefined> = []
    hooks.reading = async () => {
      gone = await collectAll()
    }
    const ran = await run("second", [
      [1, "path"],
      [2, "path"]
    ])
    assert.deepStrictEqual(gone, ["collect", "read/path-5"])
    assert.deepStrictEqual(ran.labels, ["collect", "read/path-2"])
    assert.deepStrictEqual(
      await collectAll(),
      ["blob", "collect", "read/path-1", "read/path-2"],
      "afterwards all may go"
    )
  })

  it("spares what it finds later, because something above came out as it was before", async () => {
    await run("first", [
      [1, "path"],
      [5, "path"]
    ])
    await collectAll()
    // Known by its digest, but gone: the blob is made for seed 2, and only then the key of `collect` is known.
    await run("other", [
      [1, "blind"],
      [2, "blind"]
    ])
    hooks.reading = async () => void (await collectAll())
    const ran = await run("second", [
      [2, "path"],
      [1, "blind"]
    ])
    assert.strictEqual(ran.status, "done")
    assert.deepStrictEqual(ran.labels, ["collect", "read/path-2"])
  })

  it("between planning and beginning makes the run plan anew", async () => {
    await run("first", [[1, "path"]])
    let collected: Promise<unknown> = Promise.resolve()
    const ran = await run(
      "second",
      [
        [1, "path"],
        [2, "path"]
      ],
      () => {
        collected = collectAll()
      }
    )
    await collected
    assert.strictEqual(ran.status, "done")
    assert.match(ran.text("collect", "value"), /^1 \d+, 2 \d+$/)
  })
})

describe("runs that did not succeed", () => {
  it("take no places of those that did", async () => {
    await run("it", [[1, "path"]])
    for (const seed of [2, 3]) {
      hooks.reading = () => {
        throw new Error("no luck")
      }
      assert.strictEqual((await run("it", [[seed, "path"]])).status, "failed")
    }
    hooks.reading = undefined
    const { database, paths, store } = Cache.open({ root: cache, layers: [] })
    const house = { database, store, paths, disk: nodeDisk, owner: newOwner(), alive: isAlive }
    const options = { keepRuns: 1, finalOnly: false, logs: false, quarantine: false, checkpoints: false }
    const { plan } = await Effect.runPromise(collect(house, options, none, Date.now()))
    database.close()
    assert.deepStrictEqual(plan.dropped, [])
  })
})
