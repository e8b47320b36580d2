/** Our tokenizers beside the reference implementation, which is started once for all questions. */
import { Result } from "effect"
import { beforeAll, describe, expect, it } from "vitest"
import { trainBpe } from "../../scripts/assets/bpe.ts"
import { parseTokenizer, type Tokenizer } from "../../src/tokens/tokenizer.ts"
import { shippedTexts, tokenizerCorpus } from "../support/tokenizerCorpus.ts"
import { features, texts as awkward } from "../support/tokenizerFeatures.ts"
import { filesIn, loadFrom, qwen3Directory, shippedDirectory } from "../support/tokenizers.ts"
import { python } from "./python.ts"

interface Question {
  /** Of the tokenizer. */
  readonly json: string
  readonly texts: ReadonlyArray<string>
  readonly ids: ReadonlyArray<ReadonlyArray<number>>
}

interface Answer {
  /** Of the question's texts. */
  readonly ids: ReadonlyArray<ReadonlyArray<number>>
  /** What these decode to. */
  readonly texts: ReadonlyArray<string>
  /** What the question's ids decode to. */
  readonly decoded: ReadonlyArray<string>
}

const questions: Array<Question> = []
let answers: ReadonlyArray<Answer> = []
beforeAll(() => {
  answers = python<ReadonlyArray<Answer>>("tokenizers_ids.py", questions)
}, 300_000)

/** Asks the reference implementation; its answer is there when tests run. */
const ask = (json: string, texts: ReadonlyArray<string>, ids: Question["ids"] = []): (() => Answer) => {
  const number = questions.push({ json, texts, ids }) - 1
  return () => answers[number]!
}

/** The texts whose ids are not the same, with both. */
const differing = (tokenizer: Tokenizer, texts: ReadonlyArray<string>, ids: Answer["ids"]) => {
  expect(ids).toHaveLength(texts.length)
  return texts.flatMap((text, i) => {
    const ours = Array.from(tokenizer.encode(text))
    return String(ours) === String(ids[i]) ? [] : [{ text, ours, theirs: ids[i] }]
  })
}

describe.each([
  ["the shipped tokenizer", shippedDirectory],
  ["Qwen3's tokenizer", qwen3Directory]
])("%s and the reference implementation", (_, directory) => {
  const tokenizer = loadFrom(directory)
  const corpus = tokenizerCorpus()
  const random = corpus
    .slice(0, 40)
    .map((text, i) => Array.from(tokenizer.encode(text)).filter((__, j) => (j * 7 + i) % 3 !== 0))
  const theirs = ask(filesIn(directory).json, corpus, random)

  it("give the same ids for every text of a varied corpus, and the same text for them", () => {
    const { ids, texts } = theirs()
    expect(differing(tokenizer, corpus, ids)).toEqual([])
    expect(ids.map(each => tokenizer.decode(each))).toEqual(texts)
    expect(corpus.length).toBeGreaterThan(20_000)
  })

  it("decode ids in any order alike", () => {
    expect(random.map(ids => tokenizer.decode(ids))).toEqual(theirs().decoded)
  })
})

describe("features of tokenizer.json and the reference implementation", () => {
  it.each(features.map(([name, definition]) => [name, definition, ask(JSON.stringify(definition), awkward)] as const))(
    "%s",
    (_, definition, theirs) => {
      const { ids, texts } = theirs()
      const tokenizer = Result.getOrThrow(parseTokenizer({ json: JSON.stringify(definition) }, { eosToken: "</s>" }))
      expect(differing(tokenizer, awkward, ids)).toEqual([])
      expect(ids.map(each => tokenizer.decode(each))).toEqual(texts)
    }
  )
})

describe("known differences to the reference implementation", () => {
  const [shipped, qwen3] = [loadFrom(shippedDirectory), loadFrom(qwen3Directory)]
  const [mask, letter, marks] = ["<M>", "\u{323b0}", "K\u06e2\u0d3b"]
  const ofShipped = ask(filesIn(shippedDirectory).json, [mask, `${letter}'s`])
  const ofQwen3 = ask(filesIn(qwen3Directory).json, [marks])

  it("a text that spells the mask is read as text here, as the mask there", () => {
    expect(ofShipped().ids[0]).toEqual([shipped.maskId])
    expect(shipped.decode(shipped.encode(mask))).toBe(mask)
    expect(shipped.encode(mask)).toHaveLength(3)
  })

  it("letters that came with Unicode 17 are letters here, symbols there", () => {
    expect(Array.from(shipped.encode(`${letter}'s`))).toEqual([...shipped.encode(letter), ...shipped.encode("'s")])
    expect(ofShipped().ids[1]).toEqual([...shipped.encode(`${letter}'`), ...shipped.encode("s")])
  })

  it("marks that came with Unicode 10 or later are put in order here, left as they are there", () => {
    const ordered = marks.normalize("NFC")
    expect(ordered).toBe("K\u0d3b\u06e2")
    expect(Array.from(qwen3.encode(marks))).toEqual(Array.from(qwen3.encode(ordered)))
    expect(ofQwen3().ids[0]).not.toEqual(Array.from(qwen3.encode(marks)))
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
