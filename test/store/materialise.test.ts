import * as fs from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { sha256 } from "../../src/pipeline/Digest.ts"
import { unsafePath, unsafeTogether } from "../../src/pipeline/SafePath.ts"
import { bytesOf, inMemory, objectAt, onDisk, root } from "../support/storeSetup.ts"

describe("materialise", () => {
  it.effect("gives a writable copy of one's own, in folders that it creates", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const { sha256: digest } = yield* store.put("text")
      const to = join(folder, "a", "b", "c.txt")
      assert.strictEqual(yield* store.materialise(digest, to), "copy")
      assert.strictEqual(fs.readFileSync(to, "utf8"), "text")
      fs.appendFileSync(to, " and more")
      assert.strictEqual(Buffer.from(yield* store.read(digest)).toString(), "text")
      assert.deepStrictEqual(fs.readdirSync(join(folder, "a", "b")), ["c.txt"])
    })
  )

  it.effect("replaces an existing file, also a read-only one, and leaves a directory alone", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const { sha256: digest } = yield* store.put("new")
      const to = join(folder, "out.txt")
      fs.writeFileSync(to, "old", { mode: 0o444 })
      yield* store.materialise(digest, to)
      assert.strictEqual(fs.readFileSync(to, "utf8"), "new")

      fs.mkdirSync(join(folder, "taken", "inside"), { recursive: true })
      const error = yield* Effect.flip(store.materialise(digest, join(folder, "taken")))
      assert.strictEqual(error._tag, "StorageError")
      assert.deepStrictEqual(fs.readdirSync(folder).toSorted(), ["cache", "out.txt", "taken"])
      assert.isTrue(fs.existsSync(join(folder, "taken", "inside")))
    })
  )

  it.effect("keeps the user's file when the object is damaged or missing", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const { sha256: digest } = yield* store.put("good")
      const object = objectAt(store.root, digest)
      fs.chmodSync(object, 0o644)
      fs.writeFileSync(object, "evil")
      const to = join(folder, "out.txt")
      fs.writeFileSync(to, "old")
      assert.strictEqual((yield* Effect.flip(store.materialise(digest, to)))._tag, "ObjectDamaged")
      assert.strictEqual((yield* Effect.flip(store.materialise(digest, to)))._tag, "ObjectMissing")
      assert.strictEqual(fs.readFileSync(to, "utf8"), "old")
    })
  )

  it.effect("makes a hard link only on request, read-only, also over an earlier link", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const { sha256: digest } = yield* store.put("shared")
      const to = join(folder, "link.txt")
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(yield* store.materialise(digest, to, { mode: "hardlink" }), "hardlink")
        const stat = fs.statSync(to)
        assert.strictEqual(stat.ino, fs.statSync(objectAt(store.root, digest)).ino)
        assert.strictEqual(stat.mode & 0o777, 0o444)
        assert.deepStrictEqual(fs.readdirSync(folder).toSorted(), ["cache", "link.txt"])
      }
      assert.strictEqual(yield* store.materialise(digest, to), "copy")
      assert.notStrictEqual(fs.statSync(to).ino, fs.statSync(objectAt(store.root, digest)).ino)
      assert.strictEqual(fs.statSync(objectAt(store.root, digest)).mode & 0o777, 0o444)
    })
  )

  it.effect("copies, read-only, where a hard link is impossible", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory({ device: path => (path.startsWith("/home") ? 2 : 1) })
      const { sha256: digest } = yield* store.put("far")
      assert.strictEqual(yield* store.materialise(digest, "/home/far.txt", { mode: "hardlink" }), "copy")
      assert.strictEqual((yield* disk.stat("/home/far.txt")).mode, 0o444)
      assert.strictEqual(Buffer.from(disk.files().get("/home/far.txt")!).toString(), "far")
    })
  )
})

describe("materialiseArtifact", () => {
  it.effect("writes the files under their names and leaves others alone", () =>
    Effect.gen(function* () {
      const { folder, store } = yield* onDisk
      const config = yield* store.put("{}")
      const weights = yield* store.put(bytesOf(2_000_000))
      const to = join(folder, "out")
      fs.mkdirSync(to)
      fs.writeFileSync(join(to, "notes.txt"), "mine")
      yield* store.materialiseArtifact(
        {
          kind: "weights",
          files: [
            { path: "config.json", ...config },
            { path: "shards/1/model.safetensors", ...weights }
          ],
          metadata: {}
        },
        to
      )
      assert.strictEqual(fs.readFileSync(join(to, "config.json"), "utf8"), "{}")
      assert.strictEqual(sha256(fs.readFileSync(join(to, "shards/1/model.safetensors"))), weights.sha256)
      assert.strictEqual(fs.readFileSync(join(to, "notes.txt"), "utf8"), "mine")
    })
  )

  it.effect("writes nothing when any name would leave the directory", () =>
    Effect.gen(function* () {
      const { disk, store } = inMemory()
      const file = yield* store.put("text")
      for (const path of [
        "../out",
        "a/../../out",
        "/etc/out",
        "a\\..\\out",
        "C:/out",
        "C:out",
        "a//b",
        "./a",
        "",
        "a\0b",
        ".."
      ]) {
        const manifest = {
          kind: "text",
          files: [
            { path: "fine", ...file },
            { path, ...file }
          ],
          metadata: {}
        }
        const error = yield* Effect.flip(store.materialiseArtifact(manifest, "/home/out"))
        assert.strictEqual(error._tag, "UnsafePath", path)
        assert.include(error.message, JSON.stringify(path))
      }
      assert.deepStrictEqual([...disk.files().keys()], [objectAt(root, file.sha256)])
    })
  )
})

describe("file names", () => {
  it.effect("that only look odd are fine", () =>
    Effect.sync(() => {
      for (const path of [
        "a",
        "a/b",
        "..a",
        "a..",
        "...",
        "a b/ä.txt",
        ".hidden",
        "model-00001-of-00002.safetensors"
      ]) {
        assert.isUndefined(unsafePath(path), path)
      }
      assert.isUndefined(unsafeTogether(["a/b", "a/c", "ab"]))
    })
  )

  it.effect("that exclude each other are refused together", () =>
    Effect.sync(() => {
      assert.deepStrictEqual(unsafeTogether(["a", "b", "a"]), { path: "a", why: "it is listed twice" })
      assert.deepStrictEqual(unsafeTogether(["a/b/c", "a/b"]), {
        path: "a/b",
        why: "it is both a file and a directory"
      })
    })
  )
})
