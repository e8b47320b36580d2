import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { Database } from "../../src/ledger/Database.ts"
import { fromBytes, sha256 } from "../../src/pipeline/Digest.ts"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"

interface VerifyJson {
  readonly checked: number
  readonly damaged: ReadonlyArray<{ readonly digest: string; readonly moved?: string }>
  readonly missing: ReadonlyArray<string>
  readonly lost: ReadonlyArray<{ readonly label: string }>
}

let house: MaintenanceFolder
beforeAll(() => {
  house = new MaintenanceFolder()
})
beforeEach(() => house.begin())
afterAll(() => house.remove())

const objectPath = (digest: string) => join(house.cache, "objects", digest.slice(0, 2), digest.slice(2))

const overwrite = (path: string, change: (bytes: Buffer) => Buffer) => {
  chmodSync(path, 0o644)
  writeFileSync(path, change(readFileSync(path)))
  chmodSync(path, 0o444)
}

const flip = (bytes: Buffer) => {
  bytes[0] = bytes[0]! ^ 1
  return bytes
}

const verify = async (...args: ReadonlyArray<string>) => {
  const { code, stdout } = await house.call("cache", "verify", "--json", ...args)
  return { code, ...(JSON.parse(stdout) as VerifyJson) }
}

const artifactOf = (label: string): string => {
  const database = Database.openReadonly(join(house.cache, "ledger.db"))!
  try {
    return fromBytes(
      database.get<{ digest: Buffer }>(
        `SELECT digest FROM artifact JOIN output ON output.artifact = artifact.id
         JOIN execution ON execution.action = output.action WHERE label = ?`,
        label
      )!.digest
    )
  } finally {
    database.close()
  }
}

/** An item of the bag: `one` 2,000 times. */
const item = sha256("one".repeat(2000))

describe("pipeline cache verify", () => {
  it("finds nothing wrong with a sound cache, and counts the data that ship with the program", async () => {
    const { checked, code, damaged, missing } = await verify()
    assert.deepStrictEqual([code, damaged, missing], [0, [], []])
    assert.isAbove(checked, house.objects().length)
  })

  it("finds a flipped byte in a file, moves it aside, and the next run makes again what needs it", async () => {
    const file = sha256("Three".toLowerCase())
    overwrite(objectPath(file), flip)
    const found = await verify()
    assert.strictEqual(found.code, 1)
    assert.deepStrictEqual(
      found.damaged.map(({ digest }) => digest),
      [file]
    )
    assert.isTrue(existsSync(found.damaged[0]!.moved!))
    assert.isFalse(existsSync(objectPath(file)))
    assert.deepStrictEqual(
      found.lost.map(({ label }) => label),
      ["source/t2"]
    )
    assert.deepStrictEqual((await house.run()).labels, [], "nothing needs its bytes")
    assert.include((await house.run("--set", "bag.repeat=2001")).labels, "source/t2")
    assert.strictEqual((await verify()).code, 0)
    assert.strictEqual(readFileSync(objectPath(file), "utf8"), "three")
  })

  it("traces a damaged item to its chunk set, which is made again with that item", async () => {
    overwrite(objectPath(item), flip)
    const found = await verify()
    assert.deepStrictEqual(
      found.lost.map(({ label }) => label),
      ["bag"]
    )
    assert.include((await house.run("--set", "summary.title=new")).labels, "bag")
    assert.strictEqual(readFileSync(objectPath(item), "utf8").length, 6000)
    assert.strictEqual((await verify()).code, 0)
  })

  it("finds damaged pages, objects that were cut short, and objects that are gone", async () => {
    const database = Database.openReadonly(join(house.cache, "ledger.db"))!
    const page = fromBytes(
      database.column<Buffer>(
        "SELECT digest FROM object JOIN artifact_object ON object.id = object WHERE path LIKE '#%'"
      )[0]!
    )
    database.close()
    overwrite(objectPath(page), flip)
    overwrite(objectPath(sha256("one")), bytes => bytes.subarray(1))
    const gone = sha256("summary: 3\n")
    rmSync(objectPath(gone), { force: true })
    const found = await verify()
    assert.sameMembers(
      found.damaged.map(({ digest }) => digest),
      [page, sha256("one")]
    )
    assert.deepStrictEqual(found.missing, [gone])
    assert.sameMembers(
      found.lost.map(({ label }) => label),
      ["bag", "source/t0", "summary"]
    )
    assert.deepStrictEqual((await house.run()).labels, ["bag", "source/t0", "summary"])
    assert.strictEqual((await verify()).code, 0)
  })

  it("marks an artifact as lost whose manifest is damaged", async () => {
    overwrite(objectPath(artifactOf("source/t1")), flip)
    assert.deepStrictEqual(
      (await verify()).lost.map(({ label }) => label),
      ["source/t1"]
    )
  })

  it("hashes a sample only, and none for 0", async () => {
    overwrite(objectPath(item), flip)
    const none = await verify("--sample", "0")
    assert.deepStrictEqual([none.code, none.checked], [0, 0])
    assert.strictEqual((await verify("--sample", "1", "--jobs", "1")).code, 1)
    for (const sample of ["2", "-1", "half"]) {
      const { code, stderr } = await house.call("cache", "verify", "--sample", sample)
      assert.strictEqual(code, 2, stderr)
    }
  })
})

describe("pipeline cache restore", () => {
  it("writes an artifact's files, and the items of a chunk set by their keys", async () => {
    const told = await house.json<{ files: ReadonlyArray<string>; bytes: number }>(
      "cache",
      "restore",
      "1",
      "--to",
      "out"
    )
    assert.deepStrictEqual([told.files, told.bytes], [["summary.txt"], 11])
    assert.strictEqual(readFileSync(join(house.path, "out", "summary.txt"), "utf8"), "summary: 3\n")
    const bag = await house.json<{ items: number; bytes: number }>("cache", "restore", "house/bag", "--to", "bag")
    assert.deepStrictEqual([bag.items, bag.bytes], [3, 22_000])
  })

  it("links only when asked to, and then read-only", async () => {
    const digest = artifactOf("source/t0")
    await house.text("cache", "restore", digest, "--to", "copy")
    await house.text("cache", "restore", digest, "--to", "link", "--hardlink")
    const [object, copy, link] = [
      objectPath(sha256("one")),
      join(house.path, "copy", "text.txt"),
      join(house.path, "link", "text.txt")
    ].map(path => statSync(path))
    assert.notStrictEqual(copy!.ino, object!.ino)
    assert.strictEqual(link!.ino, object!.ino)
    assert.strictEqual(link!.mode & 0o222, 0)
    assert.strictEqual(copy!.mode & 0o200, 0o200)
  })

  it("replaces nothing, and hands nothing out that is damaged or collected", async () => {
    writeFileSync(join(house.path, "summary.txt"), "mine")
    const taken = await house.call("cache", "restore", "1", "--to", ".")
    assert.strictEqual(taken.code, 2)
    assert.strictEqual(readFileSync(join(house.path, "summary.txt"), "utf8"), "mine")
    overwrite(objectPath(sha256("one")), flip)
    const damaged = await house.call("cache", "restore", artifactOf("source/t0"), "--to", "out")
    assert.strictEqual(damaged.code, 1)
    assert.isFalse(existsSync(join(house.path, "out", "text.txt")))
    await house.text("gc", "--final-only", "--apply")
    const collected = await house.call("cache", "restore", artifactOf("source/t2"), "--to", "out")
    assert.strictEqual(collected.code, 2)
    assert.match(collected.stderr, /were collected[\s\S]*cache trash --restore/)
  })

  it("restores what ships with the program, also without a cache", async () => {
    const empty = new MaintenanceFolder()
    try {
      const told = await empty.json<{ files: ReadonlyArray<string> }>(
        "cache",
        "restore",
        "embedded:tokenizer",
        "--to",
        "tok"
      )
      for (const file of told.files) assert.isTrue(existsSync(join(empty.path, "tok", file)))
      assert.isFalse(existsSync(empty.cache))
      const { code, stderr } = await empty.call("cache", "restore", "embedded:nothing", "--to", "x")
      assert.strictEqual(code, 2)
      assert.match(stderr, /list --assets/)
    } finally {
      empty.remove()
    }
  })
})

describe("pipeline cache usage, trash and path", () => {
  it("tell sizes that add up to what is on the disk", async () => {
    const told = await house.json<{
      objects: { count: number; bytes: number }
      kinds: ReadonlyArray<{ name: string; artifacts: number; bytes: number }>
      pipelines: ReadonlyArray<{ name: string; bytes: number }>
      artifacts: { present: number }
    }>("cache", "usage")
    const files = house.objects()
    assert.strictEqual(told.objects.count, files.length)
    assert.strictEqual(
      told.objects.bytes,
      files.reduce((sum, path) => sum + statSync(path).size, 0)
    )
    assert.strictEqual(
      told.kinds.reduce((sum, { bytes }) => sum + bytes, 0),
      told.objects.bytes,
      "no object is shared between the kinds of this pipeline"
    )
    assert.deepStrictEqual(told.pipelines, [{ name: "house", artifacts: 6, bytes: told.objects.bytes }] as never)
    assert.match(await house.text("cache", "usage"), /by kind\n[\s\S]*bag {3}1 {2}22\.\d kB/)
  })

  it("show the trash, restore one artifact from it by any of its names, and empty it", async () => {
    assert.match(await house.text("cache", "trash"), /empty/)
    await house.text("gc", "--final-only", "--apply")
    const [folder] = await house.json<ReadonlyArray<{ objects: number; path: string }>>("cache", "trash")
    assert.isAbove(folder!.objects, 0)
    assert.match(await house.text("cache", "trash"), /objects {2}(just now|\d+ seconds ago)/)
    await house.text("cache", "trash", "--restore", "house/bag")
    assert.isTrue(existsSync(objectPath(item)))
    assert.deepStrictEqual((await house.run("--set", "summary.title=x")).labels, ["noise", "source/t0", "summary"])
    await house.text("cache", "trash", "--empty")
    assert.isFalse(existsSync(folder!.path))
    const gone = await house.call("cache", "trash", "--restore", artifactOf("source/t1"))
    assert.strictEqual(gone.code, 1)
    assert.match(gone.stderr, /not in the store[\s\S]*run the pipeline again/)
  })

  it("print the cache's directory wherever it comes from", async () => {
    assert.strictEqual(await house.text("cache", "path"), `${house.cache}\n`)
    assert.strictEqual(await house.text("cache", "path", "--cache", "/elsewhere"), "/elsewhere\n")
  })
})
