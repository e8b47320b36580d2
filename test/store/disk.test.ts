import * as fs from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import type { Disk } from "../../src/store/Disk.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { fromCause, StorageError } from "../../src/store/StorageError.ts"
import { memoryDisk } from "../support/memoryDisk.ts"
import { temporaryFolder } from "../support/storeSetup.ts"

type Step = readonly [name: string, from: string, to: string, size: number]

/** A few names, so that operations meet: files where folders are wanted, sources that are targets, folders in themselves. */
const path = fc.constantFrom("a", "b", "d", "d/a", "d/e", "d/e/f")

const names = [
  "write",
  "append",
  "read",
  "readRange",
  "hash",
  "stat",
  "readdir",
  "mkdir",
  "rename",
  "link",
  "copy",
  "unlink",
  "rmdir",
  "chmod",
  "syncFile",
  "syncDirectory"
]

const step: fc.Arbitrary<Step> = fc.tuple(fc.constantFrom(...names), path, path, fc.nat({ max: 9 }))

/** Runs one operation and tells, in a form that two disks can agree on, what came of it. */
const outcome = Effect.fnUntraced(function* (disk: Disk, folder: string, [name, from, to, size]: Step) {
  const a = join(folder, from)
  const b = join(folder, to)
  const operation = Effect.gen(function* (): Effect.fn.Return<unknown, StorageError> {
    switch (name) {
      case "write":
        return yield* disk.write(a, "x".repeat(size))
      case "append": {
        const file = yield* disk.append(a, { exclusive: size === 0 })
        yield* file.write(Buffer.from("y".repeat(size)))
        yield* file.sync
        return yield* file.close
      }
      case "read":
        return Buffer.from(yield* disk.read(a)).toString()
      case "readRange":
        return Buffer.from(yield* disk.readRange(a, 2, size + 1)).toString()
      case "hash":
        return yield* disk.hash(a)
      case "stat": {
        const stat = yield* disk.stat(a)
        return stat.kind === "file" ? [stat.kind, stat.size, stat.mode] : [stat.kind]
      }
      case "readdir":
        return (yield* disk.readdir(a)).map(entry => `${entry.kind} ${entry.name}`).sort()
      case "mkdir":
        return (yield* disk.mkdir(a))?.slice(folder.length)
      case "rename":
        return yield* disk.rename(a, b)
      case "link":
        return yield* disk.link(a, b)
      case "copy":
        return yield* disk.copy(a, b)
      case "unlink":
        return yield* disk.unlink(a)
      case "rmdir":
        return yield* disk.rmdir(a)
      case "chmod":
        return (yield* disk.stat(a)).kind === "file" ? yield* disk.chmod(a, 0o640) : undefined
      case "syncFile":
        return (yield* disk.stat(a)).kind === "file" ? yield* disk.syncFile(a) : undefined
      default:
        return (yield* disk.stat(a)).kind === "directory" ? yield* disk.syncDirectory(a) : undefined
    }
  })
  return yield* Effect.match(operation, {
    onSuccess: value => ({ value: JSON.stringify(value) ?? "nothing" }),
    // Which of several wrong things is named first is the kernel's affair; whether it is "not there" matters to the store.
    onFailure: error => ({ missing: ["ENOENT", "ENOTDIR"].includes(error.code) })
  })
})

describe("the simulated disk", () => {
  it.effect(
    "does what the real one does",
    () =>
      Effect.gen(function* () {
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(fc.array(step, { maxLength: 40 }), steps =>
              Effect.runPromise(
                Effect.gen(function* () {
                  const folder = yield* temporaryFolder
                  const memory = memoryDisk()
                  yield* memory.mkdir("/simulated")
                  for (const [i, one] of steps.entries()) {
                    const real = yield* outcome(nodeDisk, folder, one)
                    assert.deepStrictEqual(
                      yield* outcome(memory, "/simulated", one),
                      real,
                      `step ${i}: ${one.join(" ")}`
                    )
                  }
                }).pipe(Effect.scoped)
              )
            ),
            {
              numRuns: 150,
              examples: [
                [
                  [
                    ["mkdir", "b", "a", 0],
                    ["copy", "b", "d/e/f", 0]
                  ]
                ]
              ]
            }
          )
        )
      }),
    60_000
  )
})

describe("the real disk", () => {
  it.effect("appends, reads ranges and hashes files of any size around its buffers", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      for (const size of [0, 1, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 3_000_000]) {
        const file = join(folder, String(size))
        const bytes = Buffer.alloc(size, "the quick brown fox ")
        const half = Math.floor(size / 2)
        const appender = yield* nodeDisk.append(file)
        yield* appender.write(bytes.subarray(0, half))
        yield* appender.write(bytes.subarray(half))
        yield* appender.sync
        yield* appender.close
        assert.isTrue(fs.readFileSync(file).equals(bytes))
        const { createHash } = yield* Effect.promise(() => import("node:crypto"))
        assert.deepStrictEqual(yield* nodeDisk.hash(file), {
          sha256: createHash("sha256").update(bytes).digest("hex"),
          size
        })
        assert.isTrue(Buffer.from(yield* nodeDisk.readRange(file, half, 100)).equals(bytes.subarray(half, half + 100)))
      }
      assert.isAbove(yield* nodeDisk.free(folder), 0)
    })
  )

  it.effect("follows symbolic links only when asked", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      fs.writeFileSync(join(folder, "file"), "12345")
      fs.symlinkSync("file", join(folder, "link"))
      assert.strictEqual((yield* nodeDisk.stat(join(folder, "link"))).kind, "other")
      const followed = yield* nodeDisk.stat(join(folder, "link"), { follow: true })
      assert.deepStrictEqual([followed.kind, followed.size], ["file", 5])
    })
  )

  it.effect("leaves no file open, whatever fails", () =>
    Effect.gen(function* () {
      if (process.platform !== "linux") return
      const folder = yield* temporaryFolder
      const open = () => fs.readdirSync("/proc/self/fd").length
      const before = open()
      for (let i = 0; i < 50; i++) {
        yield* Effect.ignore(nodeDisk.hash(folder))
        yield* Effect.ignore(nodeDisk.readRange(folder, 0, 10))
        yield* Effect.ignore(nodeDisk.syncFile(join(folder, "absent")))
        yield* nodeDisk.syncDirectory(folder)
      }
      assert.isAtMost(open(), before + 5)
    })
  )
})

describe("StorageError", () => {
  it.effect("names the system's code, also where Node has no name for it", () =>
    Effect.sync(() => {
      const quota = fromCause(
        "write",
        "/data/x",
        Object.assign(new Error("Unknown system error -122"), { errno: -122 })
      )
      assert.strictEqual(quota.code, "EDQUOT")
      assert.include(quota.message, "quota")
      assert.strictEqual(fromCause("read", "/x", new Error("odd")).code, "UNKNOWN")
      assert.include(fromCause("read", "/x", new Error("odd")).message, "cannot read /x: odd")
      assert.strictEqual(fromCause("read", "/x", null).code, "UNKNOWN")
    })
  )

  it.effect("tells in its advice when a full disk is not full of bytes", () =>
    Effect.sync(() => {
      const fields = { code: "ENOSPC", path: "/x", operation: "write", detail: "" }
      assert.include(new StorageError({ ...fields, free: 5e9, needed: 100 }).advice, "inodes")
      assert.notInclude(new StorageError({ ...fields, free: 5, needed: 100 }).advice, "inodes")
      assert.include(
        new StorageError({ ...fields, free: 5_300_000_000, needed: 999 }).message,
        "5.3 GB free, 999 B needed"
      )
    })
  )
})
