/** A tokenizer's patterns come from outside: none runs for ever, and the bound changes no id. */
import { Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { makeAllowance, TooLong, within } from "../../src/tokens/timeBound.ts"
import { parseTokenizer, type Tokenizer } from "../../src/tokens/tokenizer.ts"
import { isHarmless, patternsIn } from "../../src/tokens/tokenizerPatterns.ts"
import { filesIn, qwen3Directory, shippedDirectory } from "../support/tokenizers.ts"

const split = (Regex: string, behavior = "Isolated") => ({ type: "Split", pattern: { Regex }, behavior, invert: false })

const bytes = { type: "ByteLevel", add_prefix_space: false, use_regex: false }

const tokenizer = (parts: Record<string, unknown>, patience = 100): Tokenizer =>
  Result.getOrThrow(
    parseTokenizer(
      {
        json: JSON.stringify({
          added_tokens: [{ id: 3, content: "</s>", special: true }],
          normalizer: null,
          pre_tokenizer: null,
          decoder: null,
          model: { type: "BPE", vocab: { a: 0, "!": 1, x: 2 }, merges: [] },
          ...parts
        })
      },
      { patience }
    )
  )

/** The one pattern of Qwen3's file, which is too large to be parsed for it. */
const qwenPattern = JSON.parse(/"Regex":\s*("(?:[^"\\]|\\.)*")/.exec(filesIn(qwen3Directory).json)![1]!) as string

/** 40 characters on which the patterns below go back without end. */
const text = `${"a".repeat(39)}!`

describe("patterns that go back without end are given up", () => {
  it.each(["(a+)+$", "(?:a|aa)+$", "(a|a)*x", "(?=(a+)+x)a", "^(?:a*)*x", "([a-z]+)*[0-9]"])("%s", pattern => {
    const attempts = [
      { pre_tokenizer: { type: "Sequence", pretokenizers: [split(pattern), bytes] } },
      { pre_tokenizer: split(pattern, "Removed") },
      { normalizer: { type: "Replace", pattern: { Regex: pattern }, content: "a" }, pre_tokenizer: bytes }
    ]
    for (const parts of attempts)
      expect(() => tokenizer(parts).encode(text)).toThrow(/patterns take too long on a text of 40/)
  })

  it("in a decoder", () => {
    const { decode } = tokenizer({ decoder: { type: "Replace", pattern: { Regex: "(a+)+$" }, content: "" } })
    // The library joins nothing before the patterns, so one long token shows it.
    const long = tokenizer({
      decoder: { type: "Replace", pattern: { Regex: "(a+)+$" }, content: "" },
      added_tokens: [{ id: 1, content: "</s>", special: true }],
      model: { type: "BPE", vocab: { [text]: 0 }, merges: [] }
    })
    expect(decode([0, 1])).toBe("!")
    expect(() => long.decode([0])).toThrow(/take too long/)
  })

  it("also where each of many texts takes but a little of the time", () => {
    const { encode } = tokenizer({ pre_tokenizer: { type: "Sequence", pretokenizers: [split("(a+)+$"), bytes] } }, 500)
    const short = `${"a".repeat(20)}!`
    expect(() => {
      for (let i = 0; i < 10_000; i++) encode(short)
    }).toThrow(/take too long/)
  })
})

describe("the bound", () => {
  it("changes no id: patterns of the known families have none, the same ones written differently do", () => {
    const files = filesIn(shippedDirectory)
    const withPattern = (pattern: string) => {
      const json = JSON.stringify({
        ...(JSON.parse(files.json) as object),
        pre_tokenizer: { type: "Sequence", pretokenizers: [split(pattern), bytes] }
      })
      return Result.getOrThrow(parseTokenizer({ ...files, json }))
    }
    const known = withPattern(qwenPattern)
    const bounded = withPattern(`(?:${qwenPattern})`)
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), input => {
        const ids = known.encode(input)
        expect(bounded.encode(input)).toEqual(ids)
        expect(bounded.decode(ids)).toBe(known.decode(ids))
      }),
      { numRuns: 200 }
    )
  })

  it("is not there for the tokenizers that ship", () => {
    for (const pattern of [qwenPattern, ...patternsIn(JSON.parse(filesIn(shippedDirectory).json))])
      expect(isHarmless(pattern)).toBe(true)
    expect(isHarmless(`(?:${qwenPattern})`)).toBe(false)
  })

  it("passes on values and errors, and can be used again after it struck", () => {
    expect(() => within(20, () => /^(a+)+$/.test(text.repeat(2)))).toThrow(TooLong)
    expect(() => within(1000, () => [].map.call(undefined as never, String))).toThrow(TypeError)
    expect(within(1000, () => within(1000, () => 7))).toBe(7)
    const allowance = makeAllowance(20)
    expect(() =>
      allowance(1, () => {
        for (;;);
      })
    ).toThrow(TooLong)
    expect(allowance(1000, () => 8)).toBe(8)
  })
})
