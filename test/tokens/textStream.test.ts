import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { firstStop, heldBack, stopFault, stopWatch, TextStream, untilStop } from "../../src/tokens/textStream.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const tokenizer = loadFrom(shippedDirectory)

const streamed = (ids: ReadonlyArray<number>, stops: ReadonlyArray<string>, cuts: ReadonlyArray<number>) => {
  const stream = new TextStream(tokenizer, stops)
  const pieces: Array<string> = []
  let from = 0
  for (const cut of [...cuts, ids.length]) {
    if (cut < from) continue
    pieces.push(stream.push(ids.slice(from, cut)))
    from = cut
  }
  pieces.push(stream.end())
  return { pieces, text: pieces.join(""), stopped: stream.stopped }
}

const texts = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.stringMatching(/^[ab\n ]{0,40}$/),
  fc.constantFrom("The people of the 日本 and 👩‍👩‍👧 é é", "STOP", "a\n\nb\n\n")
)
const stops = fc.array(fc.stringMatching(/^[ab\n ]{1,4}$/), { maxLength: 4 })
const cuts = fc.array(fc.nat(60), { maxLength: 10 }).map(all => all.sort((a, b) => a - b))

describe("text from tokens", () => {
  it("is the text of all tokens, however they come, and no piece holds half a character", () => {
    fc.assert(
      fc.property(texts, cuts, (text, places) => {
        const ids = [...tokenizer.encode(text)]
        const whole = tokenizer.decode(ids, { skipSpecialTokens: true })
        const found = streamed(ids, [], places)
        expect(found.text).toBe(whole)
        if (!whole.includes("\uFFFD")) expect(found.pieces.join("|")).not.toContain("\uFFFD")
      })
    )
  })

  it("ends before the first stop string that is complete, whatever tokens and pieces it lies in", () => {
    fc.assert(
      fc.property(texts, stops, cuts, (text, ends, places) => {
        const ids = [...tokenizer.encode(text)]
        const { stopped, text: found } = streamed(ids, ends, places)
        const whole = tokenizer.decode(ids, { skipSpecialTokens: true })
        expect(whole.startsWith(found)).toBe(true)
        expect(firstStop(found, ends)).toBeUndefined()
        expect(stopped).toBe(firstStop(whole, ends) !== undefined)
        if (stopped) expect(ends.some(stop => whole.slice(found.length).startsWith(stop))).toBe(true)
        else expect(found).toBe(whole)
        // How the tokens come decides nothing.
        expect(streamed(ids, ends, []).text).toBe(found)
      })
    )
  })

  it("holds back what may become a stop string, and no more", () => {
    expect(heldBack("one ST", ["STOP", "x"])).toBe(2)
    expect(heldBack("one STO!", ["STOP"])).toBe(0)
    expect(heldBack("aab", ["aabaab"])).toBe(3)
    expect(heldBack("", ["a"])).toBe(0)
    const stream = new TextStream(tokenizer, ["people of"])
    const ids = [...tokenizer.encode("The people and the people of")]
    let given = ""
    for (const id of ids) {
      given += stream.push([id])
      expect(given).not.toContain("people of")
    }
    expect(stream.stopped).toBe(true)
    expect(given).toBe("The people and the ")
    expect(stream.count).toBe(ids.length)
  })

  it("is watched for stop strings, which may lie across tokens and bytes: the tokens that first hold one are enough", () => {
    const given = fc.oneof(
      texts.map(text => [...tokenizer.encode(text)]),
      // Tokens that no text gives in this order: parts of characters, and ends of text.
      fc.array(fc.nat(tokenizer.vocabSize - 2), { maxLength: 20 })
    )
    const ends = fc.oneof(stops, fc.constantFrom(["本"], ["👧", "é"], ["日本", "STOP"]))
    fc.assert(
      fc.property(given, ends, cuts, (ids, looked, places) => {
        const decoded = (n: number) => tokenizer.decode(ids.slice(0, n), { skipSpecialTokens: true })
        const holds = (n: number) => looked.some(stop => decoded(n).includes(stop))
        const watch = stopWatch(tokenizer, looked)
        const all = Int32Array.from(ids)
        let told: number | undefined
        for (const place of [...places.filter(each => each <= ids.length), ids.length])
          told ??= watch(7, all.subarray(0, place))
        const { stopped, text, tokens } = untilStop(tokenizer, ids, looked)
        expect(told).toBe(stopped && firstStop(decoded(tokens), looked) !== undefined ? tokens : undefined)
        expect(watch(8, all.subarray(0, 0))).toBeUndefined()
        const whole = decoded(ids.length)
        expect(stopped).toBe(holds(ids.length))
        if (stopped) {
          expect(holds(tokens)).toBe(true)
          expect(whole.startsWith(text)).toBe(true)
          // Before it there is no stop string, or only one behind which the text may still change.
          if (tokens > 0 && holds(tokens - 1)) expect(decoded(tokens - 1)).toContain("\uFFFD")
        } else expect([text, tokens]).toEqual([whole, ids.length])
      }),
      { numRuns: 300 }
    )
  })

  it("holds no stop string that is empty or no text", () => {
    expect(["", "\uD800", "a\uFFFD"].map(stop => stopFault(stop) !== undefined)).toEqual([true, true, true])
    expect(stopFault("\n👧")).toBeUndefined()
  })
})
