import { Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  byteCharacters,
  specialTokens,
  tokenizerConfigJson,
  tokenizerJson,
  trainBpe
} from "../../scripts/assets/bpe.ts"
import { parseTokenizer } from "../../src/tokens/tokenizer.ts"

const texts = [
  "low low low low low lower lower newest newest newest newest newest newest widest widest widest",
  "The lowest of the low.\n\nNewer is wider than low, isn't it? 2021 2021",
  "naïve façade 🙂🙂 aaaa aaa"
]

/** The pair of neighbours that is most frequent in some words, counted afresh; ties go to the lower ids. */
const bestPair = (words: ReadonlyArray<ReadonlyArray<string>>, idOf: ReadonlyMap<string, number>) => {
  const counts = new Map<string, { pair: readonly [string, string]; count: number }>()
  for (const word of words) {
    for (let i = 0; i + 1 < word.length; i += 1) {
      const pair = [word[i] ?? "", word[i + 1] ?? ""] as const
      const entry = counts.get(pair.join(" ")) ?? { pair, count: 0 }
      counts.set(pair.join(" "), { pair, count: entry.count + 1 })
    }
  }
  const id = (token: string) => idOf.get(token) ?? -1
  return [...counts.values()].sort(
    (a, b) => b.count - a.count || id(a.pair[0]) - id(b.pair[0]) || id(a.pair[1]) - id(b.pair[1])
  )[0]?.pair
}

describe("trainBpe", () => {
  it("each merge is of the most frequent pair when everything is counted afresh", () => {
    const { merges, tokens } = trainBpe(texts, 256 + 50)
    const idOf = new Map(tokens.map((token, id) => [token, id]))
    const pattern = / ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu
    // The pattern without contractions, so the texts' one is spelled out.
    let words = texts
      .flatMap(text => text.replace("isn't", "isn QUOTE").match(pattern) ?? [])
      .flatMap(word => (word === " QUOTE" ? ["'t"] : [word]))
      .map(word => Array.from(Buffer.from(word), byte => byteCharacters[byte] ?? ""))
    for (const merge of merges) {
      expect(merge).toEqual(bestPair(words, idOf))
      words = words.map(word => {
        const merged: Array<string> = []
        for (let i = 0; i < word.length; i += 1) {
          const here = word[i] === merge[0] && word[i + 1] === merge[1]
          merged.push(here ? merge.join("") : (word[i] ?? ""))
          if (here) i += 1
        }
        return merged
      })
    }
    expect(tokens).toHaveLength(306)
  })

  it("stops when no pair is left", () => {
    const { merges, tokens } = trainBpe(["ab"], 1000)
    expect(merges).toEqual([["a", "b"]])
    expect(tokens).toHaveLength(257)
  })

  it("begins with every byte, in the order of the characters that stand for them", () => {
    const { tokens } = trainBpe([], 256)
    expect(new Set(tokens)).toEqual(new Set(byteCharacters))
    expect(tokens).toEqual([...tokens].sort())
    expect(byteCharacters[32]).toBe("Ġ")
    expect(byteCharacters[10]).toBe("Ċ")
  })

  it("gives a tokenizer that any text comes back from", () => {
    const vocabulary = trainBpe(texts, 300)
    const tokenizer = Result.getOrThrow(
      parseTokenizer({ json: tokenizerJson(vocabulary), config: tokenizerConfigJson() })
    )
    expect(tokenizer.vocabSize).toBe(300 + specialTokens.length)
    expect(tokenizer.encode("low")).toHaveLength(1)
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), text => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.toWellFormed())
      })
    )
  })
})
