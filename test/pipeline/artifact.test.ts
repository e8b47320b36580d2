import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import {
  decodeManifest,
  encodeManifest,
  type FileEntry,
  type Manifest,
  manifestBytes,
  manifestDigest
} from "../../src/pipeline/Artifact.ts"
import { type Json, sha256 } from "../../src/pipeline/Digest.ts"

const size = fc.nat(2 ** 40)
const digest = fc.string().map(sha256)
const files = fc.uniqueArray(
  fc.record<FileEntry>({ path: fc.stringMatching(/^[a-z]{1,6}(\/x[a-z.]{1,6})?$/), sha256: digest, size }),
  // A name cannot be a file and the folder of another at once.
  { selector: file => file.path.split("/")[0], maxLength: 6 }
)
const items = fc.record({
  count: fc.nat(),
  bytes: size,
  pages: fc.array(fc.record({ sha256: digest, size, count: fc.nat() }), { maxLength: 4 })
})
const metadata = fc.jsonValue().map(value => JSON.parse(JSON.stringify(value)) as Json)
const manifest: fc.Arbitrary<Manifest> = fc.record(
  { kind: fc.string(), files, metadata, items },
  { requiredKeys: ["kind", "files", "metadata"], noNullPrototype: true }
)

const byPath = (a: FileEntry, b: FileEntry) => (a.path < b.path ? -1 : 1)

describe("manifests", () => {
  it("come back as they were, files in the order of their paths", () => {
    fc.assert(
      fc.property(manifest, manifest => {
        const back = decodeManifest(encodeManifest(manifest))
        assert.deepEqual(back, { ...manifest, files: [...manifest.files].sort(byPath) })
        assert.strictEqual(manifestDigest(back), manifestDigest(manifest))
      })
    )
  })

  it("with file names that lead out of a directory, or exclude each other, are refused", () => {
    for (const paths of [["../a"], ["/a"], ["a", "a"], ["a", "a/b"]]) {
      const files = paths.map(path => ({ path, sha256: sha256(path), size: 1 }))
      assert.throws(() => decodeManifest(encodeManifest({ kind: "k", files, metadata: {} })), /file name .* is refused/)
    }
  })

  it("have a digest that does not depend on the order of files", () => {
    fc.assert(
      fc.property(manifest, manifest => {
        const turned = { ...manifest, files: [...manifest.files].reverse() }
        assert.strictEqual(manifestDigest(turned), manifestDigest(manifest))
      })
    )
  })

  it("have another digest when anything in them differs", () => {
    const base: Manifest = {
      kind: "weights",
      files: [{ path: "a", sha256: sha256("a"), size: 1 }],
      metadata: { layers: 2 },
      items: { count: 1, bytes: 2, pages: [{ sha256: sha256("p"), size: 3, count: 1 }] }
    }
    const { items: _, ...withoutItems } = base
    const others: ReadonlyArray<Manifest> = [
      base,
      withoutItems,
      { ...base, kind: "anchors" },
      { ...base, files: [] },
      { ...base, files: [{ path: "b", sha256: sha256("a"), size: 1 }] },
      { ...base, files: [{ path: "a", sha256: sha256("b"), size: 1 }] },
      { ...base, files: [{ path: "a", sha256: sha256("a"), size: 2 }] },
      { ...base, metadata: { layers: 3 } },
      { ...base, metadata: null },
      { ...base, items: { ...base.items!, count: 2 } },
      { ...base, items: { ...base.items!, pages: [] } }
    ]
    assert.strictEqual(new Set(others.map(manifestDigest)).size, others.length)
  })

  it("have the size of their files and of the payloads of their items, whose pages only list them", () => {
    fc.assert(
      fc.property(manifest, manifest => {
        const expected = manifest.files.reduce((sum, { size }) => sum + size, manifest.items?.bytes ?? 0)
        assert.strictEqual(manifestBytes(manifest), expected)
      })
    )
  })

  it("with a wrong digest, size or shape are refused", () => {
    const file = { path: "a", sha256: sha256("a"), size: 1 }
    const good = { kind: "k", files: [file], metadata: null }
    assert.deepEqual(decodeManifest(JSON.stringify(good)), good)
    const wrong: ReadonlyArray<unknown> = [
      null,
      [],
      { ...good, kind: 1 },
      { ...good, files: {} },
      { kind: "k", files: [] },
      { ...good, files: [{ ...file, sha256: "x" }] },
      { ...good, files: [{ ...file, sha256: `${file.sha256}\n` }] },
      { ...good, files: [{ ...file, size: -1 }] },
      { ...good, files: [{ ...file, size: 1.5 }] },
      { ...good, items: { count: 1, bytes: 1 } }
    ]
    for (const value of wrong)
      assert.throws(() => decodeManifest(JSON.stringify(value)), undefined, undefined, JSON.stringify(value))
    assert.throws(() => decodeManifest("{"))
  })
})
