/** Tokenising as a stage: what is computed anew, and what comes out. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Result, Stream } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { decodeSequences } from "../../src/tokens/sequenceCodec.ts"
import { parseTokenizer } from "../../src/tokens/tokenizer.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { decodePage } from "../../src/store/Pages.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import * as Store from "../../src/store/Store.ts"
import { downloadDocuments, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
let cache: string

beforeEach(() => {
  directory = temporaryDirectory()
  cache = join(directory.path, "cache")
})
afterEach(() => directory.remove())

const pipeline = (
  file: string,
  options: {
    readonly maxSeqLen?: number
    readonly documents?: number
    readonly dataType?: "prompt_response" | "conversation"
    readonly longResponses?: "cut"
  } = {}
) =>
  Pipeline.make(
    "tokenize-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const dataType = options.dataType === undefined ? {} : { dataType: options.dataType }
      return tokenize({
        corpus: downloadDocuments({ source: `file:${file}`, ...dataType }),
        tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
        maxSeqLen: options.maxSeqLen ?? 16,
        ...(options.documents === undefined ? {} : { documents: options.documents }),
        ...(options.longResponses === undefined ? {} : { longResponses: options.longResponses }),
        ...dataType
      })
    }
  )

const texts = (count: number) =>
  Array.from(
    { length: count },
    (_, i) => `Document number ${i}: ${"the people of the United States ".repeat(1 + (i % 7))}`
  )

const write = (records: ReadonlyArray<unknown>): string => {
  const file = join(directory.path, "texts.jsonl")
  writeFileSync(file, records.map(record => `${JSON.stringify(record)}\n`).join(""))
  return file
}

const run = (file: string, options = {}) => runPipeline(pipeline(file, options), { cache, layers: [assets] })

/** All sequences of a result, in order. */
const sequencesOf = async (ran: Ran) => {
  const store = Store.make({ root: cache, disk: nodeDisk })
  const pages = ran.manifest("tokenize").items!.pages
  const items = await Effect.runPromise(
    Stream.runCollect(
      Stream.fromIterable(pages).pipe(
        Stream.mapEffect(page => Effect.flatMap(store.read(page.sha256), decodePage)),
        Stream.flattenIterable
      )
    )
  )
  const found = []
  for (const [document, item] of items.entries()) {
    const bytes = item.bytes ?? (await Effect.runPromise(store.read(item.sha256)))
    found.push(...Result.getOrThrow(decodeSequences(bytes, document)))
  }
  return found
}

const tokenizer = Result.getOrThrow(
  parseTokenizer({ json: readFileSync(join(assets, "tokenizer", "tokenizer.json"), "utf8") })
)

describe("the tokenize stage", () => {
  it("emits every chunk of every document, in order, each document ended by the end of text", async () => {
    const all = texts(20)
    const ran = await run(write(all.map(text => ({ text }))))
    assert.strictEqual(ran.status, "done", JSON.stringify(ran.failures))
    const sequences = await sequencesOf(ran)
    for (const [i, text] of all.entries()) {
      const chunks = sequences.filter(({ document }) => document === i)
      assert.deepStrictEqual(
        chunks.flatMap(({ ids }) => [...ids]),
        [...tokenizer.encode(text), tokenizer.eosId]
      )
      assert.isTrue(chunks.every(({ ids }, n) => ids.length === 16 || n === chunks.length - 1))
    }
    const { metadata } = ran.manifest("tokenize")
    assert.deepInclude(metadata as object, {
      documents: 20,
      sequences: sequences.length,
      tokens: sequences.reduce((sum, { ids }) => sum + ids.length, 0)
    })
  })

  it("takes the first documents only, and the others when they are asked for", async () => {
    const file = write(texts(10).map(text => ({ text })))
    const some = await run(file, { documents: 3 })
    assert.deepInclude(some.manifest("tokenize").metadata as object, { documents: 3 })
    const whole = await run(file)
    assert.strictEqual(whole.metric("tokenize", "documents/reused"), 3)
    const first = (await sequencesOf(whole)).filter(({ document }) => document < 3)
    assert.deepStrictEqual(await sequencesOf(some), first)
    assert.strictEqual((await run(file, { documents: 50 })).metric("tokenize", "documents/reused"), 10)
  })

  it("computes one new item for one new document among 50", async () => {
    const all = texts(50)
    const first = await run(write(all.map(text => ({ text }))))
    assert.deepStrictEqual(
      [first.metric("tokenize", "documents/new"), first.metric("tokenize", "documents/reused")],
      [50, 0]
    )
    all.splice(17, 0, "A new one.")
    const second = await run(write(all.map(text => ({ text }))))
    assert.deepStrictEqual(
      [second.metric("tokenize", "documents/new"), second.metric("tokenize", "documents/reused")],
      [1, 50]
    )
    assert.strictEqual((await sequencesOf(second)).filter(({ document }) => document === 17).length, 1)
    // The other tokenisation is not disturbed by what came between.
    const third = await run(write(texts(50).map(text => ({ text }))))
    assert.strictEqual(third.executed, 0)
  })

  it("shares no item between different lengths, and the same item between equal documents", async () => {
    const file = write([{ text: "same" }, { text: "same" }, { text: "other" }])
    const short = await run(file)
    assert.strictEqual(short.metric("tokenize", "documents/new"), 2)
    assert.strictEqual((await sequencesOf(short)).length, 3)
    const long = await run(file, { maxSeqLen: 2 })
    assert.strictEqual(long.metric("tokenize", "documents/new"), 2)
    assert.isTrue((await sequencesOf(long)).every(({ ids }) => ids.length <= 2))
  })

  it("learns only responses, and keeps idx and prompt length", async () => {
    const ran = await run(write([{ idx: 7, prompt: "2 + 2 =", response: " 4" }]), { dataType: "prompt_response" })
    const [sequence] = await sequencesOf(ran)
    const prompt = tokenizer.encode("2 + 2 =").length
    assert.strictEqual(sequence!.idx, 7)
    assert.strictEqual(sequence!.promptLength, prompt)
    assert.deepStrictEqual(
      [...sequence!.lossMask],
      [...sequence!.ids].map((_, i) => (i < prompt ? 0 : 1))
    )
  })

  it("names responses that are too long, before anything is learnt; or cuts them where that is asked for", async () => {
    const long = { prompt: "2 + 2 =", response: " four".repeat(30) }
    const short = { prompt: "2 + 2 =", response: " 4" }
    const dataType = "prompt_response" as const
    const size = (record: typeof long) => tokenizer.encode(record.response).length + 1
    const prompt = tokenizer.encode(long.prompt).length
    const file = write([short, { idx: 12, ...long }, { ...long, prompt: "4 =" }])
    const refused = await run(file, { dataType })
    assert.match(
      refused.failures[0]!.message,
      new RegExp(
        `document 2 of the corpus \\(idx 12\\) is longer than maxSeqLen, 16 tokens, as one other is: its prompt has ${prompt}, its response ${size(long)} with the end of text`
      )
    )
    const all = await run(file, { dataType, maxSeqLen: prompt + size(long) })
    assert.lengthOf(await sequencesOf(all), 3)
    const cut = await run(file, { dataType, longResponses: "cut" })
    assert.deepStrictEqual(
      (await sequencesOf(cut)).map(({ ids }) => ids.length),
      [prompt + size(short), 16, 16]
    )
    // What was cut before is refused all the same.
    assert.lengthOf((await run(file, { dataType })).failures, 1)
  })

  it("gives the same result with threads as without", async () => {
    // Enough text for a thread of its own, see bytesPerThread.
    const many = Array.from({ length: 2500 }, (_, i) => ({
      text: `${i} ${"We hold these truths to be self-evident. ".repeat(40)}`
    }))
    const ran = await run(write(many), { maxSeqLen: 256 })
    assert.strictEqual(ran.status, "done", JSON.stringify(ran.failures))
    const sequences = await sequencesOf(ran)
    for (const i of [0, 1, 1234, 2499]) {
      const ids = sequences.filter(({ document }) => document === i).flatMap(chunk => [...chunk.ids])
      assert.deepStrictEqual(ids, [...tokenizer.encode(many[i]!.text), tokenizer.eosId])
    }
  })
})
