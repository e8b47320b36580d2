/** A store meets what no store should: pipes and devices in the place of files, folders on other disks, files of any size, files that are not its own. */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import { makeNodeDisk, nodeDisk } from "../../src/store/NodeDisk.ts"
import type { ReadError } from "../../src/store/ObjectError.ts"
import { make } from "../../src/store/Store.ts"
import { bytesOf, inMemory, objectAt, onDisk, root, stagedAs, temporaryFolder } from "../support/storeSetup.ts"

const odd: Readonly<Record<string, (path: string) => void>> = {
  "a pipe": path => void execFileSync("mkfifo", [path]),
  "a link to a device": path => fs.symlinkSync("/dev/zero", path),
  "a directory": path => fs.mkdirSync(join(path, "with", "something"), { recursive: true }),
  "a link to itself": path => fs.symlinkSync(path, path),
  "a link to nowhere": path => fs.symlinkSync(`${path}.gone`, path)
}

describe("in the place of an object", () => {
  for (const [kind, put] of Object.entries(odd)) {
    it.effect(`${kind} is damage: found by every reader, moved aside, replaced by the next writer`, () =>
      Effect.gen(function* () {
        const { folder, store } = yield* onDisk
        const bytes = bytesOf(1000)
        const { sha256: digest } = yield* store.put(bytes)
        const path = objectAt(store.root, digest)
        const readers: ReadonlyArray<Effect.Effect<unknown, ReadError>> = [
          store.read(digest),
          store.readRange(digest, 0, 10),
          store.openVerified(digest),
          store.openEarly(digest),
          store.verify(digest),
          store.materialise(digest, join(folder, "out"))
        ]
        for (const reader of readers) {
          fs.rmSync(path)
          put(path)
          const error = yield* Effect.flip(reader)
          assert.strictEqual(error._tag === "ObjectDamaged" ? error.reason : error._tag, "kind")
          assert.isUndefined(fs.lstatSync(path, { throwIfNoEntry: false }))
          yield* store.put(bytes)
        }
        fs.rmSync(path)
        put(path)
        yield* store.put(bytes)
        assert.deepStrictEqual(Buffer.from(yield* store.read(digest)), Buffer.from(bytes))
      })
    )

    it.effect(`${kind} stops no verification, and neither do others all over the store`, () =>
      Effect.gen(function* () {
        const { store } = yield* onDisk
        const stored = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => bytesOf(100 + i)),
          content => store.put(content)
        )
        const [first, ...others] = stored
        const path = objectAt(store.root, first!.sha256)
        fs.rmSync(path)
        put(path)
        yield* store.trash([others[0]!.sha256])
        const shard = ["aa", "bb", "cc"].find(name => !fs.existsSync(join(store.root, "objects", name)))!
        for (const place of [
          `objects/${shard}`,
          "objects/x",
          "tmp/x",
          "quarantine",
          "trash/x",
          `tmp/host.1.${"0".repeat(12)}.0`
        ]) {
          fs.rmSync(join(store.root, place), { recursive: true, force: true })
          put(join(store.root, place))
        }
        const found = yield* store.verifyAll()
        assert.deepStrictEqual(
          found.damaged.map(({ digest, reason }) => [digest, reason]),
          [[first!.sha256, "kind"]]
        )
        assert.strictEqual(found.checked, 19)
        assert.lengthOf(found.odd, kind === "a directory" ? 0 : 1)
        yield* store.usage
        yield* store.sweep({ olderThanMs: 0 })
        assert.strictEqual((yield* store.trashed)[0]!.objects, 1)
        assert.strictEqual((yield* Stream.runCollect(store.list)).length, 18)
      })
    )
  }

  it.effect("a directory of the store is made where something else has its name", () =>
    Effect.gen(function* () {
      for (const put of [odd["a pipe"]!, odd["a link to itself"]!]) {
        const folder = yield* temporaryFolder
        const bytes = bytesOf(10)
        fs.mkdirSync(join(folder, "objects"))
        put(join(folder, "tmp"))
        put(join(folder, "objects", sha256(bytes).slice(0, 2)))
        const store = make({ root: folder, disk: nodeDisk })
        const { sha256: digest } = yield* store.put(bytes)
        assert.deepStrictEqual(Buffer.from(yield* store.read(digest)), Buffer.from(bytes))
      }
    })
  )
})

describe("folders on other file systems", () => {
  const folders = ["objects", "tmp", "quarantine", "trash", "elsewhere"]
  for (const own of [...folders, "every one"]) {
    it.effect(
      `${own === "every one" ? "every folder by itself" : own}: all that moves between them arrives whole`,
      () =>
        Effect.gen(function* () {
          const device = (path: string): number => {
            const [, , name = "", shard = ""] = path.split("/")
            if (own !== "every one") return name === own ? 2 : 1
            // Objects by their shard: each may be a mount.
            return Number.parseInt(sha256(name === "objects" ? shard : name).slice(0, 6), 16)
          }
          const { disk, store } = inMemory({ device })
          const bytes = bytesOf(5000)
          const { sha256: digest } = yield* store.put(bytes)
          yield* disk.mkdir(join(root, "elsewhere"))
          const content = bytesOf(300, 2)
          const file = join(root, "elsewhere", "out")
          yield* disk.write(file, content)
          yield* store.publish([stagedAs(file, content)])
          assert.isFalse(disk.files().has(file))
          yield* store.trash([digest])
          yield* store.restoreFromTrash(digest)
          yield* store.materialise(sha256(content), "/cache/elsewhere/copy")
          disk.corrupt(objectAt(root, digest), all => all.fill(1))
          assert.strictEqual((yield* Effect.flip(store.read(digest)))._tag, "ObjectDamaged")
          yield* store.put(bytes)
          const left = [...disk.files().keys()].filter(path => /\.\d+$/.test(path) && !path.includes("quarantine"))
          assert.deepStrictEqual(left, [], "no copy stays half-way")
          disk.powerCut(1)
          assert.deepStrictEqual(yield* store.read(digest), bytes)
          assert.deepStrictEqual(yield* store.read(sha256(content)), content)
        })
    )
  }

  const shm = "/dev/shm"
  it.effect.skipIf(!fs.existsSync(shm))("a real one, behind links", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const far = yield* Effect.acquireRelease(
        Effect.sync(() => fs.mkdtempSync(join(shm, "pipeline-"))),
        path => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
      )
      fs.mkdirSync(store.root)
      for (const name of ["objects", "trash"]) {
        fs.mkdirSync(join(far, name))
        fs.symlinkSync(join(far, name), join(store.root, name))
      }
      const bytes = bytesOf(2_000_000)
      const file = join(folder, "staged")
      fs.writeFileSync(file, bytes)
      yield* store.publish([stagedAs(file, bytes)])
      const { sha256: digest } = yield* store.put(bytesOf(10))
      yield* store.trash([digest])
      yield* store.restoreFromTrash(digest)
      assert.strictEqual((yield* store.verifyAll()).checked, 2)
      fs.chmodSync(objectAt(store.root, digest), 0o644)
      fs.writeFileSync(objectAt(store.root, digest), "x")
      assert.strictEqual((yield* Effect.flip(store.read(digest)))._tag, "ObjectDamaged")
      assert.strictEqual(fs.readdirSync(join(store.root, "quarantine")).length, 2)
    })
  )
})

describe("files of any size", () => {
  it.effect("pass every way in and out, however little the system takes at once", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const disk = makeNodeDisk({ piece: 1000 })
      const store = make({ root: join(folder, "cache"), disk })
      for (const size of [0, 1, 999, 1000, 1001, 12_345]) {
        const bytes = bytesOf(size, size + 1)
        const file = join(folder, "staged")
        yield* disk.write(file, bytes)
        assert.deepStrictEqual(yield* disk.hash(file), { sha256: sha256(bytes) as string, size })
        yield* store.publish([stagedAs(file, bytes)])
        const whole = yield* store.read(sha256(bytes))
        assert.deepStrictEqual(Buffer.from(whole), Buffer.from(bytes))
        const range = yield* disk.readRange(objectAt(store.root, sha256(bytes)), 500, 5000)
        assert.deepStrictEqual(Buffer.from(range), Buffer.from(bytes.subarray(500, 5500)))
        yield* store.materialise(sha256(bytes), join(folder, "out"))
        assert.deepStrictEqual(fs.readFileSync(join(folder, "out")), Buffer.from(bytes))
      }
    })
  )

  it.effect("of which no process could hold all bytes are refused with what to do instead", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const file = join(folder, "huge")
      fs.writeFileSync(file, "")
      fs.truncateSync(file, 2 ** 43)
      const error = yield* Effect.flip(nodeDisk.read(file))
      assert.strictEqual(error.code, "ENOMEM")
      assert.match(error.advice, /path/)
    })
  )
})

describe("a file that somebody else has, too", () => {
  it.effect("becomes an object by a copy; the other one stays what it was, and may change", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const mine = join(folder, "mine")
      const staged = join(folder, "staged")
      fs.writeFileSync(mine, "as it was")
      fs.linkSync(mine, staged)
      yield* store.publish([stagedAs(staged, "as it was")])
      const path = objectAt(store.root, sha256("as it was") as Digest)
      assert.notStrictEqual(fs.statSync(path).ino, fs.statSync(mine).ino)
      assert.strictEqual(fs.statSync(path).nlink, 1)
      assert.strictEqual(fs.statSync(mine).mode & 0o777, 0o644)
      fs.writeFileSync(mine, "something else")
      assert.strictEqual(Buffer.from(yield* store.read(sha256("as it was"))).toString(), "as it was")
    })
  )

  it.effect("and changes before it is copied, is not published", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const mine = join(folder, "mine")
      const staged = join(folder, "staged")
      fs.writeFileSync(mine, "as it is!")
      fs.linkSync(mine, staged)
      assert.strictEqual((yield* Effect.flip(store.publish([stagedAs(staged, "as it was")])))._tag, "StagedChanged")
      assert.strictEqual((yield* store.has([sha256("as it was")])).size, 0)
    })
  )

  it.effect("and is only a link, is refused", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const staged = join(folder, "staged")
      fs.writeFileSync(join(folder, "mine"), "mine")
      fs.symlinkSync(join(folder, "mine"), staged)
      assert.strictEqual((yield* Effect.flip(store.publish([stagedAs(staged, "mine")])))._tag, "StagedChanged")
    })
  )
})
