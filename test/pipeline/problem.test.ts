import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { render } from "../../src/pipeline/ConfigError.ts"
import {
  describe as describeValue,
  excerpt,
  formatPath,
  toConfigError,
  underline,
  visible
} from "../../src/pipeline/Problem.ts"
import { lines } from "../support/configErrors.ts"

describe("toConfigError", () => {
  it("one problem: position, message, excerpt, advice", () => {
    const error = toConfigError([{ at: "a.yaml:1:2", message: "wrong", excerpt: "  1 | x", advice: "do this" }])
    assert.strictEqual(render(error), lines("a.yaml:1:2: wrong", "  1 | x", "  do this"))
  })

  it("several: each with its own", () => {
    const error = toConfigError([
      { at: "a:1:1", message: "first", advice: "one" },
      { at: "b:2:2", message: "second", excerpt: "  2 | y" },
      { message: "third" }
    ])
    assert.strictEqual(render(error), lines("a:1:1: first", "  one", "b:2:2: second", "  2 | y", "third"))
  })
})

describe("excerpt", () => {
  it("has the caret below the column, and a remark beside it", () => {
    assert.strictEqual(excerpt("lr: fast", 12, 5, "here"), lines("  12 | lr: fast", "     |     ^ here"))
    assert.strictEqual(underline("--set ", "a.b=c", 5), lines("  --set a.b=c", "            ^"))
  })

  it("the character above the caret is the one of the column, in any line", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c", " "), minLength: 1, maxLength: 400 })
    fc.assert(
      fc.property(text, fc.nat(), (text, at) => {
        const column = (at % text.length) + 1
        const [line, caret] = excerpt(text, 7, column).split("\n")
        assert.strictEqual(line![caret!.indexOf("^")], text[column - 1])
        assert.isAtMost(line!.length, 110)
      })
    )
  })

  it("a column behind the end is the end", () => {
    assert.strictEqual(excerpt("ab", 1, 9), lines("  1 | ab", "    |   ^"))
  })
})

describe("texts of others", () => {
  const anything = fc.string({ unit: "binary", maxLength: 200 })
  const harmful = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/

  it("leave no control or direction character in what we show", () => {
    fc.assert(
      fc.property(anything, text => {
        assert.notMatch(visible(text), harmful)
        assert.isTrue(visible(text).isWellFormed())
        assert.notMatch(excerpt(text, 1, 1), harmful)
        assert.notMatch(describeValue(text), harmful)
        assert.notMatch(formatPath([text, 1, text]), harmful)
      })
    )
  })

  it("are shown whole when they are harmless", () => {
    assert.strictEqual(visible('größe "日本" 🙂'), 'größe "日本" 🙂')
    assert.strictEqual(visible("a\u001b[31mb\u202e"), "a\\u001b[31mb\\u202e")
  })
})

describe("describe", () => {
  it("is JSON for small values", () => {
    const values = ["a", 1.5, null, true, [1, "x"], { a: { b: [] } }]
    for (const value of values) assert.strictEqual(describeValue(value), JSON.stringify(value))
    assert.deepStrictEqual([undefined, NaN, Infinity, () => 1].map(describeValue), [
      "nothing",
      "NaN",
      "Infinity",
      "a function"
    ])
  })

  it("is short for large, deep and cyclic ones", () => {
    const cyclic: Record<string, unknown> = {}
    cyclic["self"] = cyclic
    const shared = Array.from({ length: 20 }).reduce<unknown>(below => [below, below, below], 1)
    for (const value of ["x".repeat(1e6), Array(1e6).fill(1), shared, cyclic, { ["k".repeat(1e6)]: 1 }]) {
      assert.isAtMost(describeValue(value).length, 60)
    }
  })
})

describe("formatPath", () => {
  it("is written as in code", () => {
    assert.strictEqual(
      formatPath(["train", "layers", 0, "größe", "two words", "7"]),
      'train.layers[0].größe["two words"]["7"]'
    )
    assert.strictEqual(formatPath([]), "")
  })
})
