import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { excerpter, sentenceStarts } from "../../scripts/assets/excerpt.ts"
import { overlaps, runs } from "../../scripts/assets/overlap.ts"
import { seeded, shuffled } from "../../src/corpora/random.ts"
import { renderChapter, renderFactbook, renderText, type SourceDocument } from "../../src/corpora/sources.ts"
import { makeSplit, shares } from "../../scripts/assets/split.ts"

const document = (source: SourceDocument["source"], text: string, id = "x"): SourceDocument => ({
  id,
  source,
  file: "f",
  fileSha256: "",
  text
})

const speech = Array.from({ length: 200 }, (_, i) => `Mr. Speaker, this is sentence number ${i} of 3.5 or so.`).join(
  " "
)

describe("sentenceStarts", () => {
  it("finds where sentences begin, not where abbreviations end", () => {
    const text = 'Mr. Smith of the U.S. Navy paid $3.50. "Did he?" Yes! (On May 1.) No. 5 was J. Doe.'
    const starts = sentenceStarts(text)
    expect(starts.slice(0, -1).map((start, i) => text.slice(start, starts[i + 1]).trim())).toEqual([
      "Mr. Smith of the U.S. Navy paid $3.50.",
      '"Did he?"',
      "Yes!",
      "(On May 1.) No. 5 was J. Doe."
    ])
  })
})

describe("excerpter", () => {
  it("takes a range of the document, within the wanted length, that begins and ends at sentences", () => {
    const take = excerpter(document("sotu", speech))
    const starts = new Set(sentenceStarts(speech))
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 4000 }), fc.integer(), (target, seed) => {
        const taken = take(target, seeded(seed))
        if (taken === undefined) throw new Error("an excerpt was to be had")
        expect(taken.end - taken.start).toBeLessThanOrEqual(target)
        expect(taken.end - taken.start).toBeGreaterThanOrEqual(0.6 * target)
        expect(Buffer.from(speech).subarray(taken.start, taken.end).toString()).toBe(taken.text)
        expect(starts).toContain(taken.start)
        expect(taken.text).toMatch(/^Mr\. Speaker.*so\.$/s)
      })
    )
  })

  it("of a country profile, begins at a section and does not end in a heading", () => {
    const profile = Array.from(
      { length: 30 },
      (_, i) => `Section\nField ${i}: text\nOther:\n  part: 1\n  part: 2`
    ).join("\n\n")
    for (let seed = 0; seed < 200; seed += 1) {
      const taken = excerpter(document("factbook", profile))(200, seeded(seed))
      expect(taken?.text).toMatch(/^Section\n/)
      expect(taken?.text).toMatch(/(: text|part: 2)$/)
    }
  })

  it("takes nothing from a document that is too short", () => {
    expect(excerpter(document("sotu", "Short. Too short."))(400, seeded(1))).toBeUndefined()
  })
})

describe("the plain text of a source", () => {
  it("has LF line ends and no control characters", () => {
    expect(renderText(Buffer.from(" a\r\nb\rc\u0002\u007f\td \n"))).toBe("a\nb\nc\td")
    expect(() => renderText(Buffer.of(0xff))).toThrow()
  })

  it("of a country profile has its fields in order, without the empty ones", () => {
    const profile = {
      Introduction: { Background: { text: "Long  ago." } },
      Geography: { Area: { total: { text: "1 km" }, map: { text: null } }, Nothing: { text: null } },
      Empty: { Field: { text: null } },
      Government: {
        "Country name": {
          "conventional short form": { text: "none" },
          "conventional long form": { text: "Republic of X" }
        },
        Parties: { text: "++ A ++ B" }
      }
    }
    expect(renderFactbook(Buffer.from(JSON.stringify(profile)))).toBe(
      "Republic of X\n\nIntroduction\nBackground: Long ago.\n\nGeography\nArea:\n  total: 1 km\n\n" +
        "Government\nCountry name:\n  conventional short form: none\n  conventional long form: Republic of X\nParties: A; B"
    )
  })

  it("of a chapter of the Bible has paragraphs and no brackets", () => {
    expect(renderChapter("Book 1", ["# In [the] beginning.", "And so.", "# Then [it was]."])).toBe(
      "Book 1\n\nIn the beginning. And so.\nThen it was."
    )
  })
})

describe("overlaps", () => {
  const words = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `w${from + i}`).join(" ")

  it("counts the runs of 13 words that occur elsewhere, whatever the punctuation", () => {
    expect([...runs(words(0, 15))]).toHaveLength(3)
    expect(overlaps([words(0, 26), words(50, 70), "short"], [`${words(5, 20).toUpperCase()}!`, words(0, 4)])).toEqual([
      3 / 14,
      0,
      0
    ])
  })
})

describe("makeSplit", () => {
  const make = (source: SourceDocument["source"], count: number) =>
    Array.from({ length: count }, (_, i) => {
      const text = Array.from({ length: 150 }, (__, j) => `Sentence ${source} ${i}, ${j} says that ${i * j} is it.`)
      const joined = source === "factbook" ? text.map(line => `Field: ${line}`).join("\n") : text.join(" ")
      return document(source, source === "kjv" ? joined.slice(0, 4000) : joined, `${source}/${i}`)
    })
  const sources = {
    sotu: make("sotu", 80),
    factbook: make("factbook", 60),
    "moby-dick": make("moby-dick", 40),
    kjv: make("kjv", 30)
  }

  it("divides documents, never parts of one, and keeps the out-of-domain source out of pre-training", () => {
    const { heldout, pretrain, web50 } = makeSplit(sources, 3)
    expect(web50).toHaveLength(50)
    expect(heldout).toHaveLength(50)
    expect(heldout.filter(({ document: { source } }) => source === "kjv")).toHaveLength(shares.kjv.heldout)
    const used = [...web50, ...heldout].map(({ document: { id } }) => id)
    expect(new Set(used).size).toBe(100)
    expect(pretrain.filter(({ id }) => used.includes(id))).toEqual([])
    expect(pretrain.filter(({ source }) => source === "kjv")).toEqual([])
    expect(pretrain).toHaveLength(80 + 60 + 40 - 90)
  })

  it("is the same for the same seed, and another one for another", () => {
    expect(makeSplit(sources, 3)).toEqual(makeSplit(sources, 3))
    expect(makeSplit(sources, 4).web50).not.toEqual(makeSplit(sources, 3).web50)
  })
})

it("shuffled keeps every item", () => {
  fc.assert(
    fc.property(fc.array(fc.integer()), fc.integer(), (items, seed) => {
      expect(shuffled(seeded(seed), items).sort()).toEqual([...items].sort())
    })
  )
})
