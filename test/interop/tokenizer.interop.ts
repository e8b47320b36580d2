import { Result } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { trainBpe } from "../../scripts/assets/bpe.ts"
import { parseTokenizer } from "../../src/tokens/tokenizer.ts"
import { shippedTexts, tokenizerCorpus } from "../support/tokenizerCorpus.ts"
import { features, texts as awkward } from "../support/tokenizerFeatures.ts"
import { filesIn, qwen3Directory, shippedDirectory } from "../support/tokenizers.ts"
import { python } from "./python.ts"

interface Reference {
  readonly ids: ReadonlyArray<ReadonlyArray<number>>
  readonly texts: ReadonlyArray<string>
}

describe.each([
  ["the shipped tokenizer", shippedDirectory],
  ["Qwen3's tokenizer", qwen3Directory]
])("%s and the reference implementation", (_, directory) => {
  const tokenizer = Result.getOrThrow(parseTokenizer(filesIn(directory)))
  const reference = (texts: ReadonlyArray<string>) =>
    python<Reference>("tokenizers_ids.py", { tokenizer: join(directory, "tokenizer.json"), texts })

  it("give the same ids for every text of a varied corpus, and the same text for them", () => {
    const corpus = tokenizerCorpus()
    const { ids, texts } = reference(corpus)
    const differing = corpus.flatMap((text, i) => {
      const ours = Array.from(tokenizer.encode(text))
      return JSON.stringify(ours) === JSON.stringify(ids[i]) ? [] : [{ text, ours, theirs: ids[i] }]
    })
    expect(differing).toEqual([])
    expect(ids.map(each => tokenizer.decode(each))).toEqual(texts)
    expect(corpus.length).toBeGreaterThan(20_000)
  })

  it("decode ids in any order alike", () => {
    const { texts } = reference(tokenizerCorpus().slice(0, 40))
    const random = texts.map((text, i) => Array.from(tokenizer.encode(text)).filter((__, j) => (j * 7 + i) % 3 !== 0))
    const replies = python<Reference>("tokenizers_decode.py", {
      tokenizer: join(directory, "tokenizer.json"),
      ids: random
    })
    expect(random.map(ids => tokenizer.decode(ids))).toEqual(replies.texts)
  })
})

describe("features of tokenizer.json and the reference implementation", () => {
  const directory = mkdtempSync(join(tmpdir(), "interop-features-"))
  afterAll(() => rmSync(directory, { recursive: true }))

  it.each(features)("%s", (_, definition) => {
    const file = join(directory, "tokenizer.json")
    writeFileSync(file, JSON.stringify(definition))
    const tokenizer = Result.getOrThrow(parseTokenizer({ json: JSON.stringify(definition) }, { eosToken: "</s>" }))
    const { ids, texts } = python<Reference>("tokenizers_ids.py", { tokenizer: file, texts: awkward })
    expect(awkward.map(text => Array.from(tokenizer.encode(text)))).toEqual(ids)
    expect(ids.map(each => tokenizer.decode(each))).toEqual(texts)
  })
})

describe("known differences to the reference implementation", () => {
  const shipped = Result.getOrThrow(parseTokenizer(filesIn(shippedDirectory)))
  const qwen3 = Result.getOrThrow(parseTokenizer(filesIn(qwen3Directory)))
  const theirs = (directory: string, text: string) =>
    python<Reference>("tokenizers_ids.py", { tokenizer: join(directory, "tokenizer.json"), texts: [text] }).ids[0]

  it("a text that spells the mask is read as text here, as the mask there", () => {
    expect(theirs(shippedDirectory, "<M>")).toEqual([shipped.maskId])
    expect(shipped.decode(shipped.encode("<M>"))).toBe("<M>")
    expect(shipped.encode("<M>")).toHaveLength(3)
  })

  it("letters that came with Unicode 17 are letters here, symbols there", () => {
    const text = "\u{323b0}'s"
    expect(Array.from(shipped.encode(text))).toEqual([...shipped.encode("\u{323b0}"), ...shipped.encode("'s")])
    expect(theirs(shippedDirectory, text)).toEqual([...shipped.encode("\u{323b0}'"), ...shipped.encode("s")])
  })

  it("marks that came with Unicode 10 or later are put in order here, left as they are there", () => {
    const text = "K\u06e2\u0d3b"
    expect(text.normalize("NFC")).toBe("K\u0d3b\u06e2")
    expect(Array.from(qwen3.encode(text))).toEqual(Array.from(qwen3.encode("K\u0d3b\u06e2")))
    expect(theirs(qwen3Directory, text)).not.toEqual(Array.from(qwen3.encode(text)))
  })
})

describe("our trainer and the reference implementation's", () => {
  it("learn the same vocabulary and the same merges from the same texts", () => {
    const texts = [
      ...shippedTexts("web50/documents.jsonl", "text"),
      ...shippedTexts("heldout/documents.jsonl", "text"),
      ...shippedTexts("reason500/problems.jsonl", "response"),
      ...tokenizerCorpus().slice(0, 100)
    ]
    const size = 2000
    const ours = trainBpe(texts, size)
    const theirs = python<{
      readonly vocab: Readonly<Record<string, number>>
      readonly merges: ReadonlyArray<readonly [string, string]>
    }>("tokenizers_train.py", { texts, size })
    expect(ours.merges).toEqual(theirs.merges)
    expect(Object.fromEntries(ours.tokens.map((token, id) => [token, id]))).toEqual(theirs.vocab)
  })
})
