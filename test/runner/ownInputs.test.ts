/** What a stage does to its inputs' files is its own trouble: nobody else loses them, and a ledger that is gone is told. */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Schema } from "effect"
import { assert, describe, it, onTestFinished } from "vitest"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { objectAt } from "../support/storeSetup.ts"

const File = Artifact.kind("file", { description: "a file", metadata: Schema.Struct({}) })
const Items = Artifact.chunkSet("items", { description: "some items", metadata: Schema.Struct({}) })

const bytes = { small: new Uint8Array(100).fill(7), large: new Uint8Array(3 * 1024 * 1024).fill(7) }

export const give = Stage.make("give", {
  inputs: {},
  parameters: Schema.Struct({ size: Schema.Literals(["small", "large"]) }),
  outputs: { file: File },
  run: Effect.fn("give")(function* ({ outputs, parameters: { size } }) {
    yield* outputs.file.write("bytes", bytes[size])
    yield* outputs.file.metadata({})
  })
})

export const take = Stage.make("take", {
  inputs: { from: File },
  parameters: Schema.Struct({ how: Schema.String }),
  outputs: { file: File },
  run: Effect.fn("take")(function* ({ inputs, outputs, parameters: { how }, scratch }) {
    const input = yield* inputs.from.path("bytes")
    const [{ sha256: digest, size }] = inputs.from.files as [Artifact.FileEntry]
    if (how === "place") yield* outputs.file.place("mine", input, { sha256: digest, size })
    else if (how === "aside") {
      renameSync(input, join(scratch, "mine"))
      yield* outputs.file.write("mine", "mine")
    } else {
      const path = yield* outputs.file.reserve("mine")
      if (how === "link") linkSync(input, path)
      else renameSync(input, path)
    }
    yield* outputs.file.metadata({})
  })
})

/** Ports whose names every object has. */
export const odd = Stage.make("odd", {
  inputs: { valueOf: File },
  parameters: Schema.Struct({}),
  outputs: { constructor: File, toString: File, hasOwnProperty: Items },
  run: Effect.fn("odd")(function* ({ inputs, outputs }) {
    const text = yield* inputs.valueOf.text("bytes")
    for (const output of [outputs.constructor, outputs.toString]) {
      yield* output.write("bytes", text)
      yield* output.metadata({})
    }
    const key = outputs.hasOwnProperty.key("item")
    yield* outputs.hasOwnProperty.put(key, Buffer.from(text))
    yield* outputs.hasOwnProperty.finish([key], {})
  })
})

const profiles = { only: { description: "", needs: "nothing", make: () => undefined } } as const

const setUp = () => {
  const directory = temporaryDirectory()
  onTestFinished(directory.remove)
  return join(directory.path, "cache")
}

describe("a stage that", () => {
  for (const size of ["small", "large"] as const) {
    const taken = (how: string) => {
      const cache = setUp()
      const pipeline = Pipeline.make("taken", { description: "", profiles }, () => take({ from: give({ size }), how }))
      const object = () => readFileSync(objectAt(cache, sha256(bytes[size])))
      return Effect.runPromise(
        Effect.map(
          Effect.promise(() => runPipeline(pipeline, { cache })),
          ran => ({ ...ran, object })
        )
      )
    }

    it(`links a ${size} input as its output has a copy`, async () => {
      const { executed, failures, manifest, object } = await taken("link")
      assert.deepStrictEqual([failures, executed], [[], 2])
      assert.strictEqual(manifest("take").files[0]!.sha256, sha256(bytes[size]))
      assert.deepStrictEqual(new Uint8Array(object()), bytes[size])
    })

    for (const [how, message] of [
      ["rename", /moved object [0-9a-f]{12} of an input out of the store/],
      ["aside", /moved object [0-9a-f]{12} of an input out of the store/],
      ["place", /lies outside of the action's own directories/]
    ] as const)
      it(`takes a ${size} input away (${how}) fails once, and the input stays`, async () => {
        const { executed, failures, object } = await taken(how)
        assert.deepStrictEqual([failures.length, executed], [1, 1])
        assert.deepStrictEqual([failures[0]!.label, failures[0]!.class], ["take", "permanent"])
        assert.match(failures[0]!.message, message)
        assert.deepStrictEqual(new Uint8Array(object()), bytes[size])
      })
  }

  it("has ports with names of every object's is like any other", async () => {
    const cache = setUp()
    const pipeline = Pipeline.make("odd", { description: "", profiles }, () => ({
      constructor: odd({ valueOf: give({ size: "small" }) }).toString
    }))
    assert.deepStrictEqual((await runPipeline(pipeline, { cache })).failures, [])
    assert.strictEqual((await runPipeline(pipeline, { cache })).executed, 0)
  })
})

describe("a ledger that is", () => {
  for (const how of ["removed", "replaced", "moved away"] as const)
    it(`${how} while something runs ends the run, which says so`, async () => {
      const cache = setUp()
      const pipeline = Pipeline.make("lone", { description: "", profiles }, () => give({ size: "small" }))
      const ledger = join(cache, "ledger.db")
      const executed = () => {
        if (how === "moved away") return renameSync(ledger, `${ledger}.old`)
        rmSync(ledger)
        if (how === "replaced") writeFileSync(ledger, "")
      }
      const said = await runPipeline(pipeline, { cache, executed }).then(
        () => "nothing",
        (error: Error) => error.message
      )
      assert.match(said, /ledger\.db was removed or replaced while it was in use/)
    })
})
