import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { sha256 } from "../../src/pipeline/Digest.ts"
import { make, type Store } from "../../src/store/Store.ts"
import { StorageError } from "../../src/store/StorageError.ts"
import { memoryDisk, type MemoryDisk, type Operation } from "../support/memoryDisk.ts"
import { bytesOf, objectAt, root, stagedAs } from "../support/storeSetup.ts"

/** Operations that need room, or the right to change something. */
const changing = new Set([
  "write",
  "append",
  "append.write",
  "append.sync",
  "mkdir",
  "rename",
  "link",
  "copy",
  "unlink",
  "rmdir",
  "chmod",
  "syncFile",
  "syncDirectory"
])

const contents = Array.from({ length: 5 }, (_, i) => bytesOf(50, i + 1))
const earlier = bytesOf(60, 99)
const twice = bytesOf(70, 77)

const staged = [...contents, contents[0]!, earlier].map((bytes, i) => stagedAs(`/private/${i}`, bytes))

const prepared = Effect.gen(function* () {
  const disk = memoryDisk()
  yield* make({ root, disk }).put(earlier)
  yield* disk.mkdir("/private")
  for (const [i, bytes] of [...contents, contents[0]!, earlier].entries()) yield* disk.write(`/private/${i}`, bytes)
  return disk
})

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes.subarray(0, 10)
  yield bytes.subarray(10)
}

/** Each way of writing to the store. */
const writes: Readonly<Record<string, (store: Store) => Effect.Effect<unknown, { readonly _tag: string }>>> = {
  "put of bytes": store => store.put(twice),
  "put of an iterable": store => store.put(pieces(twice)),
  publish: store => store.publish(staged),
  materialise: store => store.materialise(sha256(earlier), "/home/out"),
  "materialise by hard link": store => store.materialise(sha256(earlier), "/home/out", { mode: "hardlink" }),
  trash: store => store.trash([sha256(earlier)])
}

const soundObjects = (disk: MemoryDisk) => {
  for (const [path, bytes] of disk.files()) {
    if (path.startsWith(`${root}/objects/`)) assert.strictEqual(objectAt(root, sha256(bytes)), path)
  }
}

const nothingLost = (disk: MemoryDisk) => {
  const all = [...disk.files().values()].map(bytes => sha256(bytes))
  for (const bytes of [...contents, earlier]) assert.include(all, sha256(bytes))
}

const noLeftovers = (disk: MemoryDisk) => {
  for (const path of disk.files().keys()) {
    assert.isFalse(path.startsWith(`${root}/tmp/`), path)
    assert.isFalse(path.startsWith("/home/."), path)
  }
}

describe("an operation that the disk refuses", () => {
  for (const [name, write] of Object.entries(writes)) {
    for (const code of ["ENOSPC", "EIO", "EACCES"]) {
      it.effect(
        `${name}: ${code} at any one operation is a clear error, loses nothing, and the next try completes`,
        () =>
          Effect.gen(function* () {
            const dry = yield* prepared
            const start = dry.log.length
            yield* write(make({ root, disk: dry }))
            const operations = dry.log.length - start
            assert.isAbove(operations, 3)
            let refused = 0
            for (let at = 0; at < operations; at++) {
              const disk = yield* prepared
              let hit: Operation | undefined
              disk.failWith = operation => {
                if (operation.index !== start + at || !changing.has(operation.name)) return undefined
                hit = operation
                return code
              }
              const exit = yield* Effect.exit(write(make({ root, disk })))
              disk.failWith = undefined
              soundObjects(disk)
              nothingLost(disk)
              if (hit === undefined) {
                assert.isTrue(Exit.isSuccess(exit))
                continue
              }
              // Cleaning up may fail without harm; everything else must be reported.
              if (Exit.isSuccess(exit)) {
                assert.isTrue(
                  hit.name === "unlink" ||
                    (code === "EACCES" && hit.name === "syncDirectory" && !hit.path.startsWith(`${root}/`)),
                  `${hit.name} ${hit.path}`
                )
              } else {
                refused++
                const reason = exit.cause.reasons[0]
                const error = reason?._tag === "Fail" ? reason.error : undefined
                if (!(error instanceof StorageError)) assert.fail(`${hit.name} ${hit.path}: ${String(exit.cause)}`)
                assert.strictEqual(error.code, code)
                assert.include(error.message, hit.path)
                assert.isNotEmpty(error.advice)
                if (hit.name !== "unlink") noLeftovers(disk)
              }
              yield* write(make({ root, disk }))
              soundObjects(disk)
              nothingLost(disk)
            }
            assert.isAbove(refused, 3)
          })
      )
    }
  }

  it.effect("EIO while looking whether something is there is an error, never taken for absence", () =>
    Effect.gen(function* () {
      const disk = yield* prepared
      const path = objectAt(root, sha256(earlier))
      disk.failWith = operation => (operation.name === "stat" && operation.path === path ? "EIO" : undefined)
      const store = make({ root, disk })
      for (const effect of [store.put(earlier), store.has([sha256(earlier)]), store.locate(sha256(earlier))]) {
        const error = yield* Effect.flip<unknown, StorageError | { readonly _tag: string }, never>(effect)
        assert.strictEqual(error instanceof StorageError ? error.code : error._tag, "EIO")
      }
    })
  )
})

describe("a full disk", () => {
  it.effect("stays full: everything stored before is readable, staged files wait, and room lets the work go on", () =>
    Effect.gen(function* () {
      for (let capacity = 60; capacity < 600; capacity += 20) {
        const options = { capacity: 1e9 }
        const disk = memoryDisk(options)
        const store = make({ root, disk })
        yield* store.put(earlier)
        options.capacity = capacity
        const stored = yield* Effect.result(store.put(bytesOf(300)))
        assert.strictEqual(stored._tag, capacity < 360 ? "Failure" : "Success")
        if (stored._tag === "Failure") {
          assert.strictEqual(stored.failure.code, "ENOSPC")
          assert.strictEqual(stored.failure.needed, 300)
          // Half of the bytes may have been on the disk when it filled up; they are gone when it is asked how much is left.
          assert.strictEqual(stored.failure.free, capacity - 60)
          assert.include(stored.failure.message, `${capacity - 60} B free, 300 B needed`)
          assert.include(stored.failure.advice, "pipeline gc")
        }
        noLeftovers(disk)
        assert.deepStrictEqual(yield* store.read(sha256(earlier)), earlier)
        options.capacity = 1e9
        yield* store.put(bytesOf(300))
        assert.deepStrictEqual(yield* store.read(sha256(bytesOf(300))), bytesOf(300))
      }
    })
  )
})
