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

describe("overlay", () => {
  it("lays mappings on each other, and knows of each field where it stands", () => {
    const base = { train: { lr: 1, seed: 2 }, data: { path: "a" } }
    const over = { train: { lr: 3 }, extra: 4 }
    Origin.record(base, () => at(1))
    Origin.record(base.train, () => at(2))
    Origin.record(over, () => at(3))
    Origin.record(over.train, () => at(4))
    const laid = Origin.overlay(base, over)
    assert.deepStrictEqual(laid as unknown, { train: { lr: 3, seed: 2 }, data: { path: "a" }, extra: 4 })
    const line = (...path: ReadonlyArray<string>) => Origin.find(laid, path)!.line
    assert.strictEqual(line("train", "lr"), 4)
    assert.strictEqual(line("train", "seed"), 2)
    assert.strictEqual(line("data", "path"), 1)
    assert.strictEqual(line("extra"), 3)
    assert.deepStrictEqual(base, { train: { lr: 1, seed: 2 }, data: { path: "a" } })
  })

  it("a list replaces a list", () => {
    assert.deepStrictEqual(Origin.overlay({ layers: [1, 2] }, { layers: [3] }), { layers: [3] })
  })
})

describe("without", () => {
  it("leaves fields out and keeps the places of the others", () => {
    const known = { a: 1, b: 2 }
    Origin.record(known, () => at(5))
    const rest = Origin.without(known, ["a"])
    assert.deepStrictEqual(rest, { b: 2 })
    assert.strictEqual(Origin.find(rest, ["b"])!.line, 5)
    assert.isUndefined(Origin.find(Origin.without({ a: 1 }, []), ["a"]))
  })
})
