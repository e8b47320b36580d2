import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { assert, describe, it } from "vitest"
import * as Origin from "../../src/pipeline/Origin.ts"

const at = (line: number): Origin.Position => ({ file: "a.yaml", line, column: 1 })

describe("find", () => {
  it("asks the innermost object on the way that is known, with the rest of the path", () => {
    const inner = { c: 1 }
    const outer = { a: { b: inner } }
    const asked: Array<unknown> = []
    Origin.record(outer, (path, part) => (asked.push(["outer", path, part]), at(1)))
    Origin.record(inner, (path, part) => (asked.push(["inner", path, part]), at(2)))
    assert.strictEqual(Origin.find(outer, ["a", "b", "c"], "key")!.line, 2)
    assert.strictEqual(Origin.find(outer, ["a", "b"])!.line, 2)
    assert.strictEqual(Origin.find(outer, ["a", "x", "y"])!.line, 1)
    assert.deepStrictEqual(asked[0], ["outer", ["a", "b", "c"], "key"])
    assert.deepStrictEqual(asked[1], ["inner", ["c"], "key"])
  })

  it("an outer object answers when the inner one cannot", () => {
    const inner = {}
    const outer = { inner }
    Origin.record(outer, () => at(1))
    Origin.record(inner, () => undefined)
    assert.strictEqual(Origin.find(outer, ["inner", "x"])!.line, 1)
  })

  it("knows nothing of values without origin, of copies, and of scalars", () => {
    const known = { a: 1 }
    Origin.record(known, () => at(1))
    assert.isUndefined(Origin.find({ ...known }, ["a"]))
    for (const value of [undefined, null, 5, "text"]) assert.isUndefined(Origin.find(value, ["a", "b"]))
  })
})

describe("format", () => {
  it("writes files below the working directory relative to it, others as they are", () => {
    const format = (file: string) => Origin.format({ file, line: 3, column: 7 })
    const here = join(process.cwd(), "pipelines/a.ts")
    assert.strictEqual(format(here), "pipelines/a.ts:3:7")
    assert.strictEqual(format(pathToFileURL(here).href), "pipelines/a.ts:3:7")
    assert.strictEqual(format("/elsewhere/a.ts"), "/elsewhere/a.ts:3:7")
    assert.strictEqual(format("configs/a.yaml"), "configs/a.yaml:3:7")
  })
})

describe("callSite", () => {
  const called = () => Origin.callSite(called)

  it("is where the given function was called", () => {
    const position = called()!
    assert.isTrue(position.file.endsWith("origin.test.ts"))
    assert.isAbove(position.line, 0)
  })

  it("leaves the way in which stacks are written as it was", () => {
    const prepare = Error.prepareStackTrace
    const limit = Error.stackTraceLimit
    called()
    assert.strictEqual(Error.prepareStackTrace, prepare)
    assert.strictEqual(Error.stackTraceLimit, limit)
    assert.isString(new Error("x").stack)
  })
})
