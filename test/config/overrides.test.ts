import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { parseOverride } from "../../src/config/overrides.ts"
import { configError, lines, rendered } from "../support/configErrors.ts"

describe("parseOverride", () => {
  it("reads the stage, the path and a YAML value", () => {
    assert.deepStrictEqual(parseOverride("train.lr=1e-4"), {
      target: "train",
      path: ["lr"],
      value: 1e-4,
      text: "train.lr=1e-4"
    })
    const { target, path, value } = parseOverride("train/with_align.schedule.warmup=0.05")
    assert.deepStrictEqual([target, path, value], ["train/with_align", ["schedule", "warmup"], 0.05])
  })

  it("values are scalars, lists and mappings; quotes make texts", () => {
    const values: ReadonlyArray<readonly [text: string, value: unknown]> = [
      ["[1,2]", [1, 2]],
      ["{a: 1, b: [x]}", { a: 1, b: ["x"] }],
      ['"a b"', "a b"],
      ["a b", "a b"],
      ["'1'", "1"],
      ["''", ""],
      ["true", true],
      ["null", null],
      ["yes", "yes"],
      ["a=b", "a=b"],
      ["a#b", "a#b"],
      ["'a #b'", "a #b"],
      ["hf://models/org/name@main", "hf://models/org/name@main"],
      [" 5 ", 5]
    ]
    for (const [text, value] of values) assert.deepStrictEqual(parseOverride(`stage.p=${text}`).value, value, text)
  })

  it("a label with dots is cut at the first one; the plan knows better", () => {
    const { target, path } = parseOverride("train/qwen3.6.lr=1")
    assert.deepStrictEqual([target, path], ["train/qwen3", ["6", "lr"]])
  })

  it("any scalar, list or mapping comes back as it was written in JSON", () => {
    // JSON's texts may hold characters that YAML refuses as they are.
    const text = fc.string({ unit: "grapheme-ascii", maxLength: 10 })
    const scalar = fc.oneof(text, fc.maxSafeInteger(), fc.boolean(), fc.constant(null))
    const value = fc.oneof(
      scalar,
      fc.array(scalar, { maxLength: 4 }),
      fc.dictionary(fc.stringMatching(/^k[a-z]{0,3}$/), scalar, { noNullPrototype: true })
    )
    fc.assert(
      fc.property(value, value => assert.deepStrictEqual(parseOverride(`s.p=${JSON.stringify(value)}`).value, value))
    )
  })
})

describe("errors of --set", () => {
  it("show the place and an example", () => {
    assert.strictEqual(
      rendered(() => parseOverride("train.lr")),
      lines("--set: the value is missing", "  --set train.lr", "                ^ for example --set train.lr=1e-4")
    )
    assert.strictEqual(
      rendered(() => parseOverride("train=3")),
      lines(
        "--set: stage train is named, but no parameter of it",
        "  --set train=3",
        "             ^ for example --set train.lr=1e-4"
      )
    )
    assert.strictEqual(
      rendered(() => parseOverride("train.layers=[1,")),
      lines(
        "--set: this is not valid YAML: unexpected end of the stream within a flow collection",
        "  --set train.layers=[1,",
        "                        ^",
        `  for a text, write --set 'train.layers="[1,"'`
      )
    )
  })

  it.each([
    ["", 0, /the name of a stage must come first/],
    ["=3", 0, /the name of a stage must come first/],
    ["Train.lr=1", 0, /the name of a stage must come first/],
    ["train", 5, /no parameter of it/],
    ["train/.lr=1", 5, /the name of a stage contains no "\/"/],
    ["train..lr=1", 6, /the name of a parameter is missing/],
    ["train.lr.=1", 9, /the name of a parameter is missing/],
    ["train.l r=1", 7, /the name of a parameter contains no " "/],
    ["train.__proto__=1", 6, /__proto__ cannot be the name/],
    ["train.lr=", 9, /the value is missing/],
    ["train.lr=   ", 9, /the value is missing/],
    ["train.g=*.txt", 8, /no anchor &\.txt/],
    ["train.g=@x", 8, /not valid YAML/],
    ["train.g=a: b", 8, /a mapping in \{\}/],
    ["train.g=- a", 8, /a list is written in \[\]/],
    ["train.g=a #b", 10, /a comment begins here/],
    ["train.g=a\nb", 9, /the value must be on one line/],
    ["train.g=|", 8, /the value must be on one line/],
    ["train.g=--- a", 8, /a whole YAML document/],
    ["train.g={a: 1, a: 2}", 15, /the key "a" is there twice/],
    ["train.g=99999999999999999999", 8, /cannot be held exactly/]
  ])("%j has its caret at %d", (text, offset, message) => {
    const error = configError(() => parseOverride(text))
    assert.strictEqual(error.at, "--set")
    const [first, option, caret] = error.message.split("\n")
    assert.match(first!, message)
    assert.isTrue(option!.startsWith("  --set "))
    assert.strictEqual(caret!.indexOf("^"), "  --set ".length + offset)
  })

  it("the advice for a text can be pasted into a shell", () => {
    assert.strictEqual(
      configError(() => parseOverride("s.p=@it's")).advice,
      `for a text, write --set 's.p="@it'\\''s"'`
    )
  })

  it("any text is an override or an error with a caret", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 40 }),
      fc
        .string({ unit: fc.constantFrom(..."train/.=[]{}:,#&*!|>'\"%@`- \n\t1e"), maxLength: 30 })
        .map(tail => `train.lr=${tail}`)
    )
    fc.assert(
      fc.property(text, text => {
        try {
          parseOverride(text)
        } catch {
          const error = configError(() => parseOverride(text))
          assert.strictEqual(error.at, "--set")
          assert.match(error.message, /\n {2}--set .*\n *\^/)
        }
      }),
      { numRuns: 500 }
    )
  })
})
