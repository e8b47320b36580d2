import * as fs from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { manifestDigest } from "../../src/pipeline/Artifact.ts"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import { readOnly } from "../../src/store/Disk.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { make, type Store } from "../../src/store/Store.ts"
import { bytesOf, inMemory, objectAt, onDisk, root, stagedAs } from "../support/storeSetup.ts"

const mebibyte = 1024 * 1024

const flip = (bytes: Uint8Array, at = 0): Uint8Array => {
  const flipped = bytes.slice()
  flipped[at] = flipped[at]! ^ 1
  return flipped
}

/** Replaces an object's bytes on the real disk, read-only as it is. */
const overwrite = (path: string, bytes: Uint8Array) => {
  fs.chmodSync(path, 0o644)
  fs.writeFileSync(path, bytes)
  fs.chmodSync(path, 0o444)
}

async function* pieces(...parts: ReadonlyArray<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* parts
}

describe("put", () => {
  it.effect("returns the SHA-256 and the size, and read gives the same bytes back", () =>
    Effect.gen(function* () {
      const { store } = inMemory()
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.uint8Array({ maxLength: 5000 }), bytes =>
            Effect.runPromise(
              Effect.gen(function* () {
                const stored = yield* store.put(bytes)
                assert.deepStrictEqual(stored, { sha256: sha256(bytes), size: bytes.length })
                assert.deepStrictEqual(Buffer.from(yield* store.read(stored.sha256)), Buffer.from(bytes))
              })
            )
          ),
          { numRuns: 50 }
        )
      )
    })
  )

  it.effect("takes strings, bytes and iterables of bytes for the same object", () =>
    Effect.gen(function* () {
      const { store } = yield* onDisk
      const text = "naïve ".repeat(300_000)
      const bytes = Buffer.from(text)
      const fromText = yield* store.put(text)
      const fromBytes = yield* store.put(bytes)
      const fromPieces = yield* store.put(
        pieces(bytes.subarray(0, 7), bytes.subarray(7, 1_500_000), bytes.subarray(1_500_000))
      )
      assert.deepStrictEqual(fromBytes, fromText)
      assert.deepStrictEqual(fromPieces, fromText)
      assert.strictEqual(fromText.sha256, sha256(text))
      assert.deepStrictEqual(Buffer.from(yield* store.read(fromText.sha256)), bytes)
      const empty = yield* store.put(pieces())
      assert.deepStrictEqual(empty, { sha256: sha256(""), size: 0 })
      assert.strictEqual((yield* store.read(empty.sha256)).length, 0)
    })
  )

  it.effect("makes objects read-only files at objects/ab/…, and leaves nothing in tmp", () =>
    Effect.gen(function* () {
      const { store } = yield* onDisk
      for (const content of ["bytes", pieces(Buffer.from("pieces"))]) {
        const { sha256: digest } = yield* store.put(content)
        const path = objectAt(store.root, digest)
        assert.strictEqual(yield* store.locate(digest), path)
        assert.strictEqual(fs.statSync(path).mode & 0o777, 0o444)
      }
      assert.deepStrictEqual(fs.readdirSync(join(store.root, "tmp")), [])
    })
  )

  it.effect("writes bytes that exist no second time", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      yield* store.put("once")
      const before = disk.log.length
      yield* store.put("once")
      const names = disk.log.slice(before).map(operation => operation.name)
      assert.deepStrictEqual(
        names.filter(name => !["stat", "hash", "syncDirectory"].includes(name)),
        [],
        "it is looked at, and nothing is written"
      )
      assert.include(names, "syncDirectory", "a name that another process put there may not be durable yet")
    })
  )

  for (const size of [4, mebibyte + 4]) {
    it.effect(`replaces an object of ${size} bytes that has rotted, and keeps the rotted bytes aside`, () =>
      Effect.gen(function* () {
        const { disk, store } = inMemory()
        const bytes = bytesOf(size)
        const { sha256: digest } = yield* store.put(bytes)
        yield* disk.mkdir("/private")
        const ways = [
          store.put(bytes),
          store.put(pieces(bytes)),
          Effect.andThen(disk.write("/private/a", bytes), store.publish([stagedAs("/private/a", bytes)]))
        ]
        for (const [i, way] of ways.entries()) {
          disk.corrupt(objectAt(root, digest), sound => flip(sound, i))
          yield* way
          assert.strictEqual(sha256(disk.files().get(objectAt(root, digest))!), digest)
          assert.strictEqual((yield* store.usage).quarantine.count, 2 * (i + 1), "the object and its note")
        }
      })
    )
  }

  it.effect("replaces an object that cannot be read", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const { sha256: digest } = yield* store.put("once")
      const bad = yield* disk.stat(objectAt(root, digest))
      disk.failWith = operation => (operation.name === "hash" ? "EIO" : undefined)
      yield* store.put("once")
      disk.failWith = undefined
      assert.notStrictEqual((yield* disk.stat(objectAt(root, digest))).ino, bad.ino)
      assert.strictEqual(Buffer.from(yield* store.read(digest)).toString(), "once")
    })
  )

  it.effect("lets two fibers store the same bytes at once", () =>
    Effect.gen(function* () {
      for (let seed = 0; seed < 50; seed++) {
        const { disk, store } = inMemory({ interleave: seed })
        const other = make({ root, disk })
        const bytes = bytesOf(3000)
        const all = yield* Effect.all(
          [store.put(bytes), other.put(bytes), store.put(pieces(bytes)), other.put(pieces(bytes))],
          { concurrency: "unbounded" }
        )
        for (const stored of all) assert.deepStrictEqual(stored, { sha256: sha256(bytes), size: 3000 })
        assert.deepStrictEqual([...disk.files().keys()], [objectAt(root, sha256(bytes))])
        assert.deepStrictEqual(disk.files().get(objectAt(root, sha256(bytes))), bytes)
      }
    })
  )

  it.effect("reports an iterable that fails, keeps nothing of it, and tells it to stop after a full disk", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory({ capacity: 1000 })
      const failing = async function* () {
        yield bytesOf(10)
        throw new Error("the connection was reset")
      }
      const error = yield* Effect.flip(store.put(failing()))
      assert.strictEqual(error._tag, "ContentFailed")
      assert.include(error.message, "the connection was reset")

      let ended = false
      const endless = async function* () {
        try {
          for (;;) yield bytesOf(300)
        } finally {
          ended = true
        }
      }
      const full = yield* Effect.flip(store.put(endless()))
      assert.strictEqual(full._tag === "StorageError" ? full.code : full._tag, "ENOSPC")
      yield* Effect.promise(() => new Promise(resolve => setImmediate(resolve)))
      assert.isTrue(ended)
      assert.strictEqual(disk.files().size, 0)
    })
  )

  it.effect("can be interrupted while it waits for an iterable that never answers, and keeps nothing of it", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const stalled = async function* () {
        yield bytesOf(10)
        await new Promise(() => {})
      }
      const fiber = yield* Effect.forkChild(store.put(stalled()))
      while (!disk.log.some(operation => operation.name === "append.write")) yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(disk.files().size, 0)
    })
  )

  it.effect("replaces an object that has another size, and keeps the damaged one aside", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const bytes = bytesOf(500)
      const { sha256: digest } = yield* store.put(bytes)
      disk.corrupt(objectAt(root, digest), old => old.subarray(0, 100))
      yield* store.put(bytes)
      assert.deepStrictEqual(Buffer.from(yield* store.read(digest)), Buffer.from(bytes))
      const aside = [...disk.files().keys()].filter(path => path.startsWith("/cache/quarantine/"))
      assert.strictEqual(aside.length, 2, "the damaged bytes and a note")
    })
  )
})

describe("publish", () => {
  it.effect("moves staged files into the store and is idempotent", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const contents = Array.from({ length: 40 }, (_, i) => `content ${i % 30}`)
      const staged = contents.map((content, i) => {
        const path = join(folder, `staged-${i}`)
        fs.writeFileSync(path, content)
        return stagedAs(path, content)
      })
      const first = yield* store.publish(staged)
      assert.deepStrictEqual(first, {
        added: 30,
        addedBytes: contents.slice(0, 30).reduce((sum, content) => sum + content.length, 0),
        kept: 10
      })
      for (const content of contents) {
        assert.strictEqual(Buffer.from(yield* store.read(sha256(content))).toString(), content)
        assert.strictEqual(fs.statSync(objectAt(store.root, sha256(content))).mode & 0o777, 0o444)
      }
      assert.deepStrictEqual(fs.readdirSync(folder), ["cache"], "staged files are gone")

      assert.deepStrictEqual(yield* store.publish(staged), { added: 0, addedBytes: 0, kept: 40 })
      for (const file of staged.slice(0, 3)) fs.writeFileSync(file.path, contents[staged.indexOf(file)]!)
      assert.deepStrictEqual(yield* store.publish(staged), { added: 0, addedBytes: 0, kept: 40 })
      assert.deepStrictEqual(fs.readdirSync(folder), ["cache"])
      assert.deepStrictEqual(yield* store.publish([]), { added: 0, addedBytes: 0, kept: 0 })
    })
  )

  it.effect("moves nothing if any file is missing, of another size, or no regular file", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const good = stagedAs(join(folder, "good"), "good")
      const bad = stagedAs(join(folder, "bad"), "promised")
      fs.writeFileSync(good.path, "good")

      const missing = yield* Effect.flip(store.publish([good, bad]))
      assert.strictEqual(missing._tag, "StagedChanged")
      assert.include(missing.message, "no regular file any more")

      fs.writeFileSync(bad.path, "promised and more")
      const longer = yield* Effect.flip(store.publish([good, bad]))
      assert.include(longer.message, "17 bytes instead of 8")

      fs.rmSync(bad.path)
      fs.writeFileSync(join(folder, "elsewhere"), "promised")
      fs.symlinkSync(join(folder, "elsewhere"), bad.path)
      const linked = yield* Effect.flip(store.publish([good, bad]))
      assert.strictEqual(linked._tag, "StagedChanged", "a link could be changed after it was published")

      assert.strictEqual(fs.readFileSync(good.path, "utf8"), "good")
      assert.strictEqual((yield* store.has([good.sha256, bad.sha256])).size, 0)
    })
  )

  it.effect("copies where the staged files are on another file system", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory({ device: path => (path.startsWith("/scratch/") ? 2 : 1) })
      yield* disk.mkdir("/scratch")
      yield* disk.write("/scratch/a", "from afar")
      assert.deepStrictEqual(yield* store.publish([stagedAs("/scratch/a", "from afar")]), {
        added: 1,
        addedBytes: 9,
        kept: 0
      })
      assert.deepStrictEqual([...disk.files().keys()], [objectAt(root, sha256("from afar"))])
      disk.powerCut(1)
      assert.strictEqual(Buffer.from(yield* store.read(sha256("from afar"))).toString(), "from afar")
    })
  )

  it.effect("hashes nothing and reads no staged byte", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      yield* disk.mkdir("/private")
      yield* disk.write("/private/a", "text")
      yield* store.publish([stagedAs("/private/a", "text")])
      assert.notInclude(
        disk.log.map(operation => operation.name),
        "hash"
      )
      assert.notInclude(
        disk.log.map(operation => operation.name),
        "read"
      )
    })
  )

  it.effect("syncs each touched directory once, after the last rename into it", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      yield* disk.mkdir("/private")
      const staged = Array.from({ length: 400 }, (_, i) => stagedAs(`/private/${i}`, `content ${i}`))
      yield* Effect.forEach(staged, (file, i) => disk.write(file.path, `content ${i}`))
      yield* store.publish(staged)
      const shards = new Set(staged.map(file => `/cache/objects/${file.sha256.slice(0, 2)}`))
      for (const shard of shards) {
        const syncs = disk.log.filter(operation => operation.name === "syncDirectory" && operation.path === shard)
        const renames = disk.log.filter(
          operation => operation.name === "rename" && operation.path.startsWith(`${shard}/`)
        )
        assert.strictEqual(syncs.length, 1)
        assert.isAbove(syncs[0]!.index, Math.max(...renames.map(operation => operation.index)))
      }
      assert.strictEqual(
        disk.log.filter(operation => operation.path === "/cache/objects" && operation.name === "syncDirectory").length,
        1
      )
    })
  )
})

describe("damage", () => {
  it.effect(
    "a flipped byte in a small object is found by every way of reading it, and the object can be made again",
    () =>
      Effect.gen(function* () {
        const { folder, store } = yield* onDisk
        const bytes = bytesOf(70_000)
        const digest = sha256(bytes)
        const ways: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
          store.read(digest),
          store.readRange(digest, 0, 10),
          store.openVerified(digest),
          store.verify(digest),
          store.materialise(digest, join(folder, "out"))
        ]
        for (const way of ways) {
          yield* store.put(bytes)
          overwrite(objectAt(store.root, digest), flip(bytes, 69_999))
          const error = yield* Effect.flip(way)
          assert.strictEqual(error._tag, "ObjectDamaged")
          assert.strictEqual((yield* Effect.flip(way))._tag, "ObjectMissing", "it was moved aside")
          yield* store.put(bytes)
          assert.deepStrictEqual(Buffer.from(yield* store.read(digest)), Buffer.from(bytes))
        }
        assert.isFalse(fs.existsSync(join(folder, "out")))
        const aside = fs.readdirSync(join(store.root, "quarantine"))
        assert.strictEqual(aside.length, 2 * ways.length)
        const note: unknown = JSON.parse(
          fs.readFileSync(
            join(
              store.root,
              "quarantine",
              aside.find(name => name.endsWith(".json"))!
            ),
            "utf8"
          )
        )
        assert.containsAllKeys(note, ["digest", "reason", "size", "at", "file"])
      }),
    20_000
  )

  it.effect("one byte of a large object is found by every way out of the store, whichever byte it is", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const bytes = bytesOf(mebibyte + 1)
      const { sha256: digest } = yield* store.put(bytes)
      const path = objectAt(root, digest)
      for (const place of [0, 1000, mebibyte >> 1, mebibyte]) {
        for (const way of [
          store.read(digest),
          store.readRange(digest, 5, 10),
          store.openVerified(digest),
          Effect.flatMap(store.openEarly(digest), ({ pending = Effect.void }) => pending),
          store.materialise(digest, "/out/file"),
          store.materialise(digest, "/out/file", { mode: "hardlink" })
        ]) {
          disk.corrupt(path, () => flip(bytes, place))
          assert.strictEqual((yield* Effect.flip(way))._tag, "ObjectDamaged")
          assert.isFalse(disk.files().has("/out/file"))
          yield* store.put(bytes)
        }
      }
      disk.corrupt(path, () => bytes.slice(0, mebibyte))
      const short = yield* Effect.flip(store.read(digest, { size: bytes.length }))
      assert.strictEqual(short._tag === "ObjectDamaged" ? short.reason : short._tag, "size")
      assert.include(short.message, `${mebibyte} bytes instead of ${mebibyte + 1}`)
    })
  )

  it.effect("a large object is hashed once as long as its file stays the same, and by all who are told of that", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const bytes = bytesOf(2 * mebibyte)
      const { sha256: digest } = yield* store.put(bytes)
      const hashes = (by: Store) =>
        Effect.gen(function* () {
          const before = disk.log.length
          assert.strictEqual(yield* by.openVerified(digest), objectAt(root, digest))
          return disk.log.slice(before).filter(({ name }) => name === "hash").length
        })
      assert.deepStrictEqual([yield* hashes(store), yield* hashes(store)], [1, 1], "it has only just been written")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([yield* hashes(store), yield* hashes(store)], [1, 0])
      const other = make({ root, disk, checked: store.checks() })
      assert.deepStrictEqual([yield* hashes(other), other.checks().length], [0, 0])
      // The same bytes at the same place, but not the same file any more.
      yield* disk.write(objectAt(root, digest), bytes)
      assert.strictEqual(yield* hashes(other), 1)
      const range = yield* store.readRange(digest, mebibyte, 10)
      assert.deepStrictEqual(Buffer.from(range), Buffer.from(bytes.subarray(mebibyte, mebibyte + 10)))
      assert.strictEqual((yield* store.readRange(digest, 2 * mebibyte - 3, 10)).length, 3)
    })
  )

  it.effect("what is opened early says whether its file was touched since", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      for (const size of [10, 2 * mebibyte]) {
        const bytes = bytesOf(size)
        const { sha256: digest } = yield* store.put(bytes)
        const { path, pending = Effect.void, unchanged } = yield* store.openEarly(digest)
        yield* pending
        yield* unchanged
        yield* disk.write(path, bytes)
        const error = yield* Effect.flip(unchanged)
        assert.strictEqual(error._tag === "ObjectDamaged" ? error.reason : error._tag, "changed")
        assert.isTrue(disk.files().has(path), "its bytes may be right: it stays")
        yield* disk.unlink(path)
        assert.strictEqual((yield* Effect.flip(unchanged))._tag, "ObjectDamaged")
      }
    })
  )

  it.effect("a block that the disk cannot read counts as damage", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const { sha256: digest } = yield* store.put("on a bad sector")
      disk.failWith = ({ name, path }) =>
        ["read", "hash"].includes(name) && path === objectAt(root, digest) ? "EIO" : undefined
      const error = yield* Effect.flip(store.read(digest))
      assert.strictEqual(error._tag === "ObjectDamaged" ? error.reason : error._tag, "unreadable")
      assert.isUndefined(disk.files().get(objectAt(root, digest)))
    })
  )

  it.effect("quarantine moves only the file that was found damaged, not one put there since", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const bytes = bytesOf(100)
      const { sha256: digest } = yield* store.put(bytes)
      const path = objectAt(root, digest)
      disk.corrupt(path, old => flip(old))
      // Between the reading and the move another process replaces the object.
      let replaced = false
      const racing = make({
        root,
        disk: {
          ...disk,
          read: asked =>
            Effect.tap(disk.read(asked), () => {
              if (asked !== path || replaced) return Effect.void
              replaced = true
              return disk.unlink(path).pipe(Effect.andThen(make({ root, disk }).put(bytes)), Effect.orDie)
            })
        }
      })
      assert.strictEqual((yield* Effect.flip(racing.read(digest)))._tag, "ObjectDamaged")
      assert.deepStrictEqual(Buffer.from(yield* store.read(digest)), Buffer.from(bytes))
    })
  )

  it.effect("a store that may not write reports damage and changes nothing", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const { sha256: digest } = yield* store.put("text")
      disk.corrupt(objectAt(root, digest), old => flip(old))
      const before = [...disk.files()]
      const looking = make({ root, disk: readOnly(disk) })
      const error = yield* Effect.flip(looking.read(digest))
      assert.strictEqual(error._tag, "ObjectDamaged")
      assert.isUndefined(error._tag === "ObjectDamaged" ? error.quarantined : "")
      const refused = yield* Effect.flip(looking.put("other"))
      assert.strictEqual(refused.code, "EROFS")
      assert.deepStrictEqual([...disk.files()], before)
    })
  )
})

describe("verifyAll", () => {
  it.effect("finds every flipped, cut and missing object, and only those", () =>
    Effect.gen(function* () {
      const { store } = yield* onDisk
      const stored = yield* Effect.forEach(
        Array.from({ length: 60 }, (_, i) => bytesOf(i === 7 ? 3 * mebibyte : 100 * (i + 1), i + 1)),
        bytes => store.put(bytes)
      )
      const pathOf = (i: number) => objectAt(store.root, stored[i]!.sha256)
      overwrite(pathOf(7), flip(fs.readFileSync(pathOf(7)), 2 * mebibyte))
      overwrite(pathOf(20), fs.readFileSync(pathOf(20)).subarray(0, 5))
      fs.rmSync(pathOf(30), { force: true })
      fs.writeFileSync(join(store.root, "objects", "README"), "not ours")
      let last = 0
      const summary = yield* store.verifyAll({
        concurrency: 3,
        expected: stored,
        onProgress: ({ count }) =>
          Effect.sync(() => {
            assert.isAbove(count, last)
            last = count
          })
      })
      assert.strictEqual(summary.checked, 59)
      assert.strictEqual(last, 59)
      assert.deepStrictEqual(
        new Set(summary.damaged.map(error => error.digest)),
        new Set([stored[7]!.sha256, stored[20]!.sha256])
      )
      assert.deepStrictEqual(summary.missing, [stored[30]!.sha256])

      const again = yield* store.verifyAll()
      assert.strictEqual(again.checked, 57)
      assert.deepStrictEqual(again.damaged, [])
    })
  )

  it.effect("of an empty store creates nothing", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      assert.deepStrictEqual(yield* store.verifyAll(), { checked: 0, bytes: 0, damaged: [], missing: [], odd: [] })
      assert.deepStrictEqual(yield* Stream.runCollect(store.list), [])
      assert.strictEqual((yield* store.usage).objects.count, 0)
      assert.strictEqual((yield* store.has([sha256("a")])).size, 0)
      assert.strictEqual((yield* Effect.flip(store.read(sha256("a"))))._tag, "ObjectMissing")
      assert.deepStrictEqual(fs.readdirSync(folder), [])
    })
  )
})

describe("has and list", () => {
  it.effect("agree with what was put, for few and for many digests", () =>
    Effect.gen(function* () {
      const { store } = inMemory()
      const stored = yield* Effect.forEach(
        Array.from({ length: 3000 }, (_, i) => `object ${i}`),
        content => store.put(content)
      )
      const absent = Array.from({ length: 3000 }, (_, i) => sha256(`absent ${i}`))
      const wanted = new Set(stored.map(object => object.sha256))
      assert.deepStrictEqual(yield* store.has([...wanted, ...absent]), wanted)
      assert.deepStrictEqual(yield* store.has([stored[5]!.sha256, absent[0]!]), new Set([stored[5]!.sha256]))
      const listed = yield* Stream.runCollect(store.list)
      assert.deepStrictEqual(
        listed,
        stored.toSorted((a, b) => (a.sha256 < b.sha256 ? -1 : 1))
      )
    })
  )
})

describe("manifests", () => {
  it.effect("are objects whose digest is the artifact's", () =>
    Effect.gen(function* () {
      const { store } = inMemory()
      const file = yield* store.put("weights")
      const manifest = { kind: "weights", files: [{ path: "model.safetensors", ...file }], metadata: { rows: 3 } }
      const digest = yield* store.putManifest(manifest)
      assert.strictEqual(digest, manifestDigest(manifest))
      assert.deepStrictEqual(yield* store.readManifest(digest), manifest)
      const error = yield* Effect.flip(store.readManifest(file.sha256))
      assert.strictEqual(error._tag, "ManifestInvalid")
    })
  )
})

describe("trash", () => {
  it.effect("keeps what it takes until it is emptied, and gives it back", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      yield* TestClock.setTime(Date.parse("2026-11-23T08:30:00Z"))
      const stored = yield* Effect.forEach(["a", "bb", "ccc"], content => store.put(content))
      const digests = stored.map(object => object.sha256)
      const moved = yield* store.trash([...digests.slice(0, 2), digests[0]!, sha256("absent")])
      assert.deepStrictEqual(moved, { folder: "/cache/trash/2026-11-23T08-30-00.000Z", objects: 2, bytes: 3 })
      assert.deepStrictEqual(yield* store.has(digests), new Set([digests[2]!]))

      yield* store.restoreFromTrash(digests[0]!)
      assert.strictEqual(Buffer.from(yield* store.read(digests[0]!)).toString(), "a")
      yield* store.restoreFromTrash(digests[2]!)
      assert.strictEqual((yield* Effect.flip(store.restoreFromTrash(sha256("absent"))))._tag, "ObjectMissing")

      yield* TestClock.adjust("1 hour")
      yield* store.trash([digests[2]!])
      assert.deepStrictEqual((yield* store.usage).trash, { count: 2, bytes: 5 })
      assert.deepStrictEqual(yield* store.emptyTrash({ olderThanMs: 3_000_000 }), { objects: 1, bytes: 2 })
      assert.strictEqual((yield* Effect.flip(store.restoreFromTrash(digests[1]!)))._tag, "ObjectMissing")
      yield* store.restoreFromTrash(digests[2]!)
      assert.deepStrictEqual(yield* store.emptyTrash({ olderThanMs: 0 }), { objects: 0, bytes: 0 })
      assert.deepStrictEqual(yield* disk.readdir("/cache/trash"), [])
    })
  )

  it.effect("does not give back damaged bytes, and does not delete files that are not its own", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const { sha256: digest } = yield* store.put("text")
      const { folder } = yield* store.trash([digest])
      disk.corrupt(`${folder}/${digest}`, old => flip(old))
      assert.strictEqual((yield* Effect.flip(store.restoreFromTrash(digest)))._tag, "ObjectDamaged")
      yield* disk.write(`${folder}/notes.txt`, "mine")
      yield* disk.mkdir("/cache/trash/mine")
      yield* TestClock.adjust("1 day")
      yield* store.emptyTrash({ olderThanMs: 0 })
      assert.deepStrictEqual([...disk.files().keys()], [`${folder}/notes.txt`])
    })
  )
})

describe("sweep", () => {
  it.effect("removes old files of dead processes from tmp, and no others", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      yield* store.put("something")
      const tmp = join(store.root, "tmp")
      const { hostname } = yield* Effect.promise(() => import("node:os"))
      const host = hostname().replace(/[^A-Za-z0-9-]/g, "-")
      // No process has this id: it is above the largest that a kernel gives out.
      const dead = `${host}.999999999.0123456789ab.0`
      const alive = `${host}.${process.ppid}.0123456789ab.0`
      const namesake = `${host}.${process.pid}.0123456789ab.0`
      const elsewhere = `other-host.1.0123456789ab.0`
      const fresh = `${host}.999999999.0123456789ab.1`
      for (const name of [dead, alive, namesake, elsewhere, fresh, "notes.txt"])
        fs.writeFileSync(join(tmp, name), "left")
      const old = new Date(Date.now() - 7_200_000)
      for (const name of [dead, alive, namesake, elsewhere, "notes.txt"]) fs.utimesSync(join(tmp, name), old, old)
      yield* TestClock.setTime(Date.now())
      assert.deepStrictEqual(yield* store.sweep({ olderThanMs: 3_600_000 }), { count: 3, bytes: 12 })
      assert.deepStrictEqual(new Set(fs.readdirSync(tmp)), new Set([alive, fresh, "notes.txt"]))
      assert.isTrue(fs.existsSync(folder))
    })
  )
})

describe("unusable arguments", () => {
  it.effect("a path that Node refuses is an error, not a defect", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(nodeDisk.read("a\0b"))
      assert.strictEqual(error._tag, "StorageError")
      const digest = "x".repeat(64) as Digest
      const { store } = yield* onDisk
      assert.strictEqual((yield* Effect.flip(store.read(digest)))._tag, "ObjectMissing")
    })
  )
})
