import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { manifestDigest } from "../../src/pipeline/Artifact.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Layer from "../../src/store/Layer.ts"
import { make } from "../../src/store/Store.ts"
import { memoryDisk } from "../support/memoryDisk.ts"
import { bytesOf, objectAt, root } from "../support/storeSetup.ts"

const corpus = bytesOf(5000, 1)
const weights = bytesOf(9000, 2)

const entry = (path: string, bytes: Uint8Array, at: string) => ({ path, sha256: sha256(bytes), size: bytes.length, at })

const index = {
  version: 1,
  artifacts: {
    web50: {
      kind: "documents",
      description: "fifty documents",
      licence: "CC0-1.0",
      files: [entry("documents.jsonl", corpus, "corpus/web50.jsonl")],
      metadata: { documents: 50 }
    },
    teacher: {
      kind: "weights",
      description: "a small teacher",
      licence: "Apache-2.0",
      files: [
        entry("model.safetensors", weights, "teacher/model.safetensors"),
        entry("b.json", corpus, "corpus/web50.jsonl")
      ],
      metadata: { note: ["a", null] }
    }
  }
}

const withLayer = Effect.fnUntraced(function* (content: unknown = index) {
  const disk = memoryDisk()
  yield* disk.mkdir("/assets/corpus")
  yield* disk.mkdir("/assets/teacher")
  yield* disk.write("/assets/corpus/web50.jsonl", corpus)
  yield* disk.write("/assets/teacher/model.safetensors", weights)
  yield* disk.write("/assets/index.json", typeof content === "string" ? content : JSON.stringify(content))
  const layer = Layer.make({ directory: "/assets", disk })
  return { disk, layer, store: make({ root, disk, layers: [layer] }) }
})

describe("a read-only layer", () => {
  it.effect("gives objects by digest and artifacts by name, and is read once, when first asked", () =>
    Effect.gen(function* () {
      const { disk, layer, store } = yield* withLayer()
      const reads = () => disk.log.filter(({ name, path }) => name === "read" && path === "/assets/index.json").length
      yield* store.put("something of our own")
      assert.strictEqual(reads(), 0)

      assert.strictEqual(yield* store.locate(sha256(corpus)), "/assets/corpus/web50.jsonl")
      assert.deepStrictEqual(yield* store.read(sha256(weights)), weights)
      assert.deepStrictEqual(yield* store.has([sha256(corpus), sha256("absent")]), new Set([sha256(corpus)]))
      const teacher = yield* Layer.findArtifact([layer], "teacher")
      assert.strictEqual(teacher?.licence, "Apache-2.0")
      assert.strictEqual(teacher?.digest, manifestDigest(teacher!.manifest))
      assert.deepStrictEqual(teacher?.manifest.metadata, { note: ["a", null] })
      assert.deepStrictEqual(
        teacher?.manifest.files.map(file => file.path),
        ["model.safetensors", "b.json"]
      )
      assert.isUndefined(yield* Layer.findArtifact([layer], "absent"))
      assert.strictEqual(reads(), 1)
    })
  )

  it.effect("resolves the manifests of its artifacts, and stores one only when a path is asked for", () =>
    Effect.gen(function* () {
      const { disk, layer, store } = yield* withLayer()
      const { digest, manifest } = (yield* Layer.findArtifact([layer], "web50"))!
      assert.deepStrictEqual(yield* store.readManifest(digest), manifest)
      assert.isTrue((yield* store.has([digest])).has(digest))
      assert.strictEqual((yield* store.verify(digest)).sha256, digest)
      assert.isUndefined(disk.files().get(objectAt(root, digest)))
      assert.strictEqual(yield* store.openVerified(digest), objectAt(root, digest))
      assert.strictEqual(sha256(disk.files().get(objectAt(root, digest))!), digest)
    })
  )

  it.effect("takes the place of a damaged object in the writable store", () =>
    Effect.gen(function* () {
      const { disk, store } = yield* withLayer()
      yield* store.put(corpus)
      assert.strictEqual(yield* store.locate(sha256(corpus)), objectAt(root, sha256(corpus)))
      disk.corrupt(objectAt(root, sha256(corpus)), bytes => bytes.fill(0))
      assert.deepStrictEqual(yield* store.read(sha256(corpus)), corpus)
      assert.strictEqual(yield* store.openVerified(sha256(corpus)), "/assets/corpus/web50.jsonl")
    })
  )

  it.effect("is never written to: damage is reported, and a sound copy above it is used", () =>
    Effect.gen(function* () {
      const { disk, store } = yield* withLayer()
      const before = [...disk.files().keys()]
      for (const change of [(bytes: Uint8Array) => bytes.fill(0), (bytes: Uint8Array) => bytes.subarray(1)]) {
        yield* disk.write("/assets/corpus/web50.jsonl", corpus)
        disk.corrupt("/assets/corpus/web50.jsonl", change)
        const error = yield* Effect.flip(store.read(sha256(corpus)))
        assert.strictEqual(error._tag, "ObjectDamaged")
        assert.include(error.message, "/assets/corpus/web50.jsonl")
        assert.deepStrictEqual(
          (yield* store.verifyAll()).damaged.map(damage => damage.digest),
          [sha256(corpus)]
        )
      }
      assert.deepStrictEqual([...disk.files().keys()], before)
      yield* store.put(corpus)
      assert.deepStrictEqual(yield* store.read(sha256(corpus)), corpus)
    })
  )

  it.effect("gives copies for hard links: its files are somebody's", () =>
    Effect.gen(function* () {
      const { store } = yield* withLayer()
      assert.strictEqual(yield* store.materialise(sha256(corpus), "/out/a", { mode: "hardlink" }), "copy")
    })
  )

  it.effect("without an index is empty", () =>
    Effect.gen(function* () {
      const disk = memoryDisk()
      const layer = Layer.make({ directory: "/nowhere", disk })
      assert.strictEqual((yield* layer.content).objects.size, 0)
      const error = yield* Effect.flip(make({ root, disk, layers: [layer] }).read(sha256("a")))
      assert.strictEqual(error._tag, "ObjectMissing")
    })
  )

  const withFile = (change: Record<string, unknown>) => ({
    ...index,
    artifacts: {
      web50: { ...index.artifacts.web50, files: [{ ...index.artifacts.web50.files[0], ...change }] }
    }
  })

  const wrong: ReadonlyArray<readonly [string, unknown, RegExp]> = [
    ["no JSON", "{", /index\.json is not the index of a layer/],
    ["a later version", { ...index, version: 2 }, /version/],
    [
      "a location outside",
      withFile({ at: "../secrets" }),
      /"\.\.\/secrets" is refused: it contains the segment "\.\."/
    ],
    ["an absolute location", withFile({ at: "/etc/passwd" }), /"\/etc\/passwd" is refused: it is absolute/],
    ["a name outside", withFile({ path: "a/../../b" }), /"a\/\.\.\/\.\.\/b" is refused: it contains the segment/],
    ["a digest that is none", withFile({ sha256: "12" }), /sha256/],
    ["a negative size", withFile({ size: -1 }), /size/],
    ["no licence", { version: 1, artifacts: { a: { ...index.artifacts.web50, licence: undefined } } }, /licence/]
  ]
  for (const [what, content, message] of wrong) {
    it.effect(`with ${what} in its index is an error that says so`, () =>
      Effect.gen(function* () {
        const { store } = yield* withLayer(content)
        const error = yield* Effect.flip(store.read(sha256(corpus)))
        assert.strictEqual(error._tag, "LayerInvalid")
        assert.match(error.message, message)
      })
    )
  }
})
