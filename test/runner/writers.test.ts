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
  const { finish, writer } = yield* outputWriter({ store, disk: nodeDisk, kind: Blob, port: "blob", request })
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
      mkdirSync(join(folder, "scratch"))
      writeFileSync(join(folder, "mine"), "mine")
      symlinkSync(join(folder, "mine"), join(folder, "scratch", "link"))
      const content = { sha256: sha256("mine"), size: 4 }
      const placed = output.place("file", join(folder, "scratch", "link"), content)
      assert.match((yield* Effect.flip(placed)).message, /no regular file/)
    })
  )

  it.effect("is the action's own, and stays where it is otherwise", () =>
    Effect.gen(function* () {
      const { folder, output } = yield* opened
      mkdirSync(join(folder, "scratch"))
      mkdirSync(join(folder, "theirs"))
      symlinkSync(join(folder, "theirs"), join(folder, "scratch", "theirs"))
      writeFileSync(join(folder, "theirs", "file"), "theirs")
      const content = { sha256: sha256("theirs"), size: 6 }
      for (const from of ["theirs/file", "scratch/../theirs/file", "scratch/theirs/file"])
        assert.match(
          (yield* Effect.flip(output.place("file", `${folder}/${from}`, content))).message,
          /outside of the action's own directories|is no directory/
        )
      assert.strictEqual(readFileSync(join(folder, "theirs", "file"), "utf8"), "theirs")
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

describe("a name of a file", () => {
  it.effect("is taken from the moment somebody begins to write there, and free again when that failed", () =>
    Effect.gen(function* () {
      const { finish, output } = yield* opened
      let times = 0
      const torn = async function* () {
        yield Buffer.from("half")
        if (times++ === 0) throw new Error("cut off")
        yield Buffer.from(" and half")
      }
      yield* Effect.retry(output.write("file", { [Symbol.asyncIterator]: torn }), { times: 1 })
      const { staged } = yield* finish
      assert.strictEqual(readFileSync(staged[0]!.path, "utf8"), "half and half")

      const other = (yield* opened).output
      const slow = async function* () {
        await new Promise(resolve => setImmediate(resolve))
        yield Buffer.from("slow")
      }
      const both = yield* Effect.all(
        [Effect.result(other.write("file", slow())), Effect.result(other.write("file", slow()))],
        { concurrency: 2 }
      )
      assert.deepStrictEqual(both.map(({ _tag }) => _tag).toSorted(), ["Failure", "Success"])
    })
  )

  it.effect("cannot be that of a directory as well, and has a length that systems allow", () =>
    Effect.gen(function* () {
      for (const [first, second] of [
        ["a", "a/b"],
        ["a/b/c", "a/b"]
      ] as const) {
        const { output } = yield* opened
        yield* output.write(first, "first")
        const error = yield* Effect.flip(output.reserve(second))
        assert.deepStrictEqual([error.class, /both a file and a directory/.test(error.message)], ["permanent", true])
      }
      const { output } = yield* opened
      const long = yield* Effect.flip(output.write(`${"x".repeat(200)}/`.repeat(22) + "x", ""))
      assert.match(long.message, /is refused: it is longer than/)
    })
  )

  it.effect("is told with a content that is none", () =>
    Effect.gen(function* () {
      const { output } = yield* opened
      const texts = async function* () {
        yield "text"
      }
      const said = (content: unknown) =>
        Effect.map(Effect.flip(output.write("file", content as string)), e => e.message)
      assert.match(yield* said(texts()), /^output blob: file file: its content yields a string instead of bytes/)
      assert.match(yield* said(undefined), /^output blob: file file: its content is neither text nor bytes/)
    })
  )
})
