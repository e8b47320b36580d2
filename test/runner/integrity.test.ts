/** Wrong bytes of a large object influence no result that counts; what was computed from some before anybody knew is made again. */
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync
} from "node:fs"
import { dirname, join } from "node:path"
import { Effect } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import * as Suspects from "../../src/ledger/Suspects.ts"
import * as Cache from "../../src/runner/Cache.ts"
import { identity } from "../../src/store/Disk.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { objectAt } from "../support/storeSetup.ts"
import { digestOfBlob, hooks, lists, readings, rightValue, size, type Way } from "./integrityStages.ts"

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

const run = (of: ReadonlyArray<readonly [number, Way]>, stumble = false) =>
  runPipeline(readings(of, stumble), { cache })
const right = (seed: number) => `${seed} ${rightValue}`
const blobPath = () => objectAt(cache, digestOfBlob)

/** Zeros half a megabyte in the middle, and puts the time back. */
const damage = (path = blobPath()) => {
  const { atime, mtime } = statSync(path)
  chmodSync(path, 0o644)
  const file = openSync(path, "r+")
  writeSync(file, new Uint8Array(size / 6), 0, size / 6, size / 3)
  closeSync(file)
  utimesSync(path, atime, mtime)
}

const inLedger = <A>(use: (cache: Cache.Cache) => A): A => {
  const opened = Cache.open({ root: cache, layers: [] })
  try {
    return use(opened)
  } finally {
    opened.database.close()
  }
}

/** Makes the ledger believe that the file as it is was checked at that time: as if the disk had lost bytes since, and kept the rest. */
const forgeCheck = (atMs: number) =>
  Effect.runPromise(nodeDisk.stat(blobPath())).then(stat =>
    inLedger(({ database }) =>
      database.run(
        "INSERT OR REPLACE INTO checked (object, file, at_ms) VALUES (?, ?, ?)",
        Buffer.from(digestOfBlob, "hex"),
        identity(stat),
        atMs
      )
    )
  )

/** What `pipeline cache verify` does with the store. */
const verifyAll = async () => {
  const opened = Cache.open({ root: cache, layers: [] })
  const found = await Effect.runPromise(opened.store.verifyAll())
  opened.database.close()
  return found.damaged.length
}

describe("an object with wrong bytes in its middle", () => {
  for (const way of ["path", "bytes"] as const) {
    it(`is not believed by an action that reads its ${way}: it is made again first`, async () => {
      assert.strictEqual((await run([[1, way]])).text("collect", "value"), right(1))
      damage()
      const ran = await run([
        [1, way],
        [7, way]
      ])
      assert.strictEqual(ran.text("collect", "value"), `${right(1)}, ${right(7)}`)
      assert.include(ran.labels, "blob")
      assert.include(ran.labels, `read/${way}-7`)
      assert.notInclude(ran.labels, `read/${way}-1`, "what was read before the damage is as good as ever")
      assert.strictEqual(readdirSync(join(cache, "quarantine")).length, 2)
    })
  }

  it("is hashed once as long as its file stays the same", async () => {
    await run([[1, "path"]])
    const seen = () =>
      inLedger(({ database }) => database.get<{ file: string; at_ms: number }>("SELECT file, at_ms FROM checked"))
    // A file that was written a moment ago is not remembered.
    await new Promise(resolve => setTimeout(resolve, 150))
    await run([[2, "path"]])
    const first = seen()
    assert.match(first!.file, /^\d+\.\d+\./)
    await run([[3, "path"]])
    assert.deepStrictEqual(seen(), first, "nobody checked it again")
  })
})

describe("results that were computed from damaged bytes before anybody knew", () => {
  it("are made again by the next run; those from before are not, nor those that do not change", async () => {
    await run([[1, "path"]])
    damage()
    await forgeCheck(Date.now())
    const wrong = await run([
      [1, "path"],
      [2, "path"],
      [3, "blind"]
    ])
    assert.notStrictEqual(wrong.text("read/path-2", "value"), right(2), "the disk did lose bytes")
    assert.strictEqual(await verifyAll(), 1)
    assert.deepStrictEqual(
      inLedger(({ database }) => Suspects.labels(database)),
      ["read/blind-3", "read/path-2"]
    )
    const ran = await run([
      [1, "path"],
      [2, "path"],
      [3, "blind"]
    ])
    assert.strictEqual(ran.text("collect", "value"), `${right(1)}, ${right(2)}, blind`)
    assert.deepStrictEqual(ran.labels, ["blob", "collect", "read/blind-3", "read/path-2"])
    assert.deepStrictEqual(
      inLedger(({ database }) => Suspects.labels(database)),
      []
    )
    assert.strictEqual((await run([[3, "blind"]])).executed, 1, "of collect, which is of fewer")
  })

  it("are made again by the very run that finds out", async () => {
    await run([[1, "path"]])
    damage()
    await forgeCheck(Date.now())
    await run([[2, "path"]])
    // Now the file is touched, so that the next one looks.
    damage()
    const ran = await run([
      [2, "path"],
      [4, "path"]
    ])
    assert.strictEqual(ran.text("collect", "value"), `${right(2)}, ${right(4)}`)
    assert.include(ran.labels, "read/path-2")
  })

  it("are all those that ever were, where nobody knows since when", async () => {
    await run([
      [1, "path"],
      [2, "bytes"]
    ])
    inLedger(({ database }) => database.run("DELETE FROM checked"))
    damage()
    assert.strictEqual(await verifyAll(), 1)
    const ran = await run([
      [1, "path"],
      [2, "bytes"]
    ])
    assert.deepStrictEqual(ran.labels, ["blob", "read/bytes-2", "read/path-1"], "the same bytes came out: no more")
  })

  it("lend no items to later sets", async () => {
    const texts = async (counts: ReadonlyArray<number>) => runPipeline(lists(counts), { cache })
    const rightOf = (count: number) => Array.from({ length: count }, (_, i) => `${i} ${rightValue}`).join(", ")
    assert.strictEqual((await texts([2])).text("recite/to-2", "value"), rightOf(2))
    damage()
    await forgeCheck(Date.now())
    const wrong = await texts([2, 3])
    assert.notStrictEqual(wrong.text("recite/to-3", "value"), rightOf(3))
    // This one takes over what it can.
    await texts([4])
    await verifyAll()
    const ran = await texts([2, 3, 4])
    assert.strictEqual(ran.text("recite/to-3", "value"), rightOf(3))
    assert.strictEqual(ran.text("recite/to-4", "value"), rightOf(4))
    assert.notInclude(ran.labels, "list/to-2")
  })

  it("include what an action kept for its next attempt", async () => {
    await run([[1, "path"]])
    damage()
    await forgeCheck(Date.now())
    assert.strictEqual((await run([[2, "path"]], true)).status, "failed")
    const kept = readdirSync(cache, { recursive: true, encoding: "utf8" }).find(path =>
      /^checkpoints.*value$/.test(path)
    )!
    const wrong = readFileSync(join(cache, kept))
    await verifyAll()
    const again = await run([[2, "path"]], true)
    assert.strictEqual(again.status, "failed", "it begins anew, and stumbles again")
    // A process that lost its lease, and not the bytes that it had read, goes on writing.
    mkdirSync(dirname(join(cache, kept)), { recursive: true })
    writeFileSync(join(cache, kept), wrong)
    assert.strictEqual((await run([[2, "path"]], true)).text("collect", "value"), right(2))
  })
})

describe("a file that is touched while an action reads it", () => {
  it("makes the attempt fail, and the next one looks again", async () => {
    await run([[1, "path"]])
    // It is known to be sound, so that nothing but the touch itself tells.
    await forgeCheck(Date.now())
    let times = 0
    hooks.reading = path => {
      if (times++ === 0) damage(path)
    }
    const ran = await run([[2, "path"]])
    assert.strictEqual(ran.text("collect", "value"), right(2))
    assert.deepStrictEqual(
      ran.failures.map(({ class: kind }) => kind),
      ["transient"]
    )
    assert.include(ran.labels, "blob")
  })

  it("does so also when its bytes are right again in the end", async () => {
    await run([[1, "path"]])
    await forgeCheck(Date.now())
    let times = 0
    hooks.reading = path => {
      if (times++ > 0) return
      const bytes = readFileSync(path)
      damage(path)
      writeFileSync(path, bytes)
    }
    const ran = await run([[2, "path"]])
    assert.strictEqual(ran.text("collect", "value"), right(2))
    assert.deepStrictEqual([ran.failures.length, ran.labels], [1, ["collect", "read/path-2"]])
  })
})
