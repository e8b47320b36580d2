/** Files that a stage hands over: its own, whatever it did to make them; or refused. */
import { linkSync, mkdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import type { ArtifactWriter } from "../../src/pipeline/StageContext.ts"
import type { Request } from "../../src/runner/Request.ts"
import { outputWriter } from "../../src/runner/Writers.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { make } from "../../src/store/Store.ts"
import { objectAt, temporaryFolder } from "../support/storeSetup.ts"

const Blob = Artifact.kind("blob", { description: "bytes", metadata: Schema.Struct({}) })

const opened = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const store = make({ root: join(folder, "cache"), disk: nodeDisk })
  const request: Request = {
    version: 1,
    key: "0".repeat(64),
    label: "stage",
    attempt: 1,
    stage: { name: "stage", module: "", export: "" },
    parameters: {},
    inputs: [],
    candidates: {},
    checked: [],
    store: { root: store.root, layers: [] },
    engine: "none",
    staging: join(folder, "staging"),
    scratch: join(folder, "scratch"),
    checkpoint: join(folder, "checkpoint"),
    slots: { cpus: 1, memoryMiB: 1, gpus: [] }
  }
  const { finish, writer } = yield* outputWriter(store, nodeDisk, Blob, "blob", request)
  const output = writer as ArtifactWriter<object>
  yield* output.metadata({})
  return { finish, folder, output, store }
})

describe("a reserved file", () => {
  it.effect("that is another name of somebody's file is copied: theirs stays theirs", () =>
    Effect.gen(function* () {
      const { finish, folder, output, store } = yield* opened
      const mine = join(folder, "mine")
      writeFileSync(mine, "as it was")
      linkSync(mine, yield* output.reserve("sub/file"))
      const { staged } = yield* finish
      writeFileSync(mine, "different")
      yield* store.publish(staged)
      const object = objectAt(store.root, sha256("as it was"))
      assert.strictEqual(readFileSync(object, "utf8"), "as it was")
      assert.deepStrictEqual([statSync(object).nlink, statSync(mine).mode & 0o777], [1, 0o644])
    })
  )

  it.effect("that is a link, or lies beyond one, is refused", () =>
    Effect.gen(function* () {
      const { finish, folder, output } = yield* opened
      writeFileSync(join(folder, "mine"), "mine")
      symlinkSync(join(folder, "mine"), yield* output.reserve("file"))
      assert.match((yield* Effect.flip(finish)).message, /file is no regular file/)

      const other = yield* opened
      mkdirSync(join(other.folder, "theirs"))
      writeFileSync(join(other.folder, "theirs", "file"), "theirs")
      const path = yield* other.output.reserve("sub/deep/file")
      yield* nodeDisk.rmdir(join(path, ".."))
      symlinkSync(join(other.folder, "theirs"), join(path, ".."))
      assert.match((yield* Effect.flip(other.finish)).message, /on the way to its file/)
    })
  )
})

describe("a file that is placed", () => {
  it.effect("is no link", () =>
    Effect.gen(function* () {
      const { folder, output } = yield* opened
      writeFileSync(join(folder, "mine"), "mine")
      symlinkSync(join(folder, "mine"), join(folder, "link"))
      const content = { sha256: sha256("mine"), size: 4 }
      assert.match((yield* Effect.flip(output.place("file", join(folder, "link"), content))).message, /no regular file/)
    })
  )
})

describe("an object that is adopted", () => {
  it.effect("is checked as everything that is read, whatever its size", () =>
    Effect.gen(function* () {
      for (const size of [10, 2_000_000]) {
        const { output, store } = yield* opened
        const object = yield* store.put(new Uint8Array(size))
        yield* output.adopt("sound", object)
        yield* nodeDisk.chmod(objectAt(store.root, object.sha256), 0o644)
        truncateSync(objectAt(store.root, object.sha256), size - 1)
        assert.match((yield* Effect.flip(output.adopt("damaged", object))).message, /damaged/)
      }
    })
  )
})
