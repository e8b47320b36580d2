import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { firstStop, heldBack, TextStream } from "../../src/serving/textStream.ts"
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
})
