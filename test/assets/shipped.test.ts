import { Effect, Result } from "effect"
import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { mostTokens } from "../../scripts/assets/build.ts"
import type { ShippedDocument } from "../../scripts/assets/documents.ts"
import type { Problem } from "../../scripts/assets/equations.ts"
import { overlaps } from "../../scripts/assets/overlap.ts"
import { recordsFromJsonLines } from "../../src/formats/documents.ts"
import { decodeRecord } from "../../src/formats/records.ts"
import { answerOf, equationOf, holds, parseEquation, parseRational } from "../../src/evaluation/tasks/equations.ts"
import { equations } from "../../stages/evaluate-equations.ts"
import { sequencesOf } from "../../src/tokens/sequences.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeCausalEvaluator } from "../../src/evaluation/causal.ts"
import { openModel } from "../../src/models/artifact.ts"
import { parameterAliases, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters } from "../../src/models/parameters.ts"
import { loadWeights } from "../../src/models/weights.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const directory = join(import.meta.dirname, "../../assets")
const read = (path: string) => readFileSync(join(directory, path))

interface Index {
  readonly version: number
  readonly artifacts: Readonly<
    Record<
      string,
      {
        readonly kind: string
        readonly licence: string
        readonly files: ReadonlyArray<{ path: string; sha256: string; size: number; at: string }>
        readonly metadata: Readonly<Record<string, number>>
      }
    >
  >
}

interface Pins {
  readonly documents: ReadonlyArray<{ readonly id: string; readonly file: string; readonly fileSha256: string }>
}

const linesOf = <A>(path: string): ReadonlyArray<A> =>
  read(path)
    .toString()
    .trimEnd()
    .split("\n")
    .map(line => JSON.parse(line) as A)

const index = JSON.parse(read("index.json").toString()) as Index
const web50 = linesOf<ShippedDocument>("web50/documents.jsonl")
const heldout = linesOf<ShippedDocument>("heldout/documents.jsonl")
const problems = linesOf<Problem>("reason500/problems.jsonl")
const pins = JSON.parse(read("pretrain/pins.json").toString()) as Pins
const tokenizer = loadFrom(shippedDirectory)

describe("the index", () => {
  it("lists every file with its digest and size, and a licence for each artifact", () => {
    expect(Object.keys(index.artifacts)).toEqual(
      expect.arrayContaining([
        "web50",
        "heldout",
        "reason500",
        "tokenizer",
        "pretrain",
        "teacher",
        "teacher-evaluation",
        "teacher-hybrid",
        "teacher-hybrid-evaluation"
      ])
    )
    for (const artifact of Object.values(index.artifacts)) {
      expect(read(artifact.licence).length).toBeGreaterThan(0)
      for (const { at, sha256, size } of artifact.files) {
        const content = read(at)
        expect({ at, size: content.length }).toEqual({ at, size })
        expect(createHash("sha256").update(content).digest("hex")).toBe(sha256)
      }
    }
  })

  it("leaves nothing out but licences and the page about it all, and stays below 12 MB", () => {
    const listed = new Set(Object.values(index.artifacts).flatMap(({ files }) => files.map(({ at }) => at)))
    const entries = readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
    const paths = entries.map(entry => join(entry.parentPath, entry.name).slice(directory.length + 1))
    const others = paths.filter(path => !listed.has(path) && !path.startsWith("licences/"))
    expect(others.sort()).toEqual(["README.md", "index.json"])
    expect(paths.reduce((sum, path) => sum + read(path).length, 0)).toBeLessThan(12e6)
  })

  it("counts the documents and the bytes of their text", () => {
    const bytes = (texts: ReadonlyArray<string>) => texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
    const texts = (documents: ReadonlyArray<ShippedDocument>) => documents.map(({ text }) => text)
    expect(index.artifacts["web50"]?.metadata).toEqual({ documents: 50, bytes: bytes(texts(web50)) })
    expect(index.artifacts["heldout"]?.metadata).toEqual({ documents: 50, bytes: bytes(texts(heldout)) })
    expect(index.artifacts["reason500"]?.metadata).toEqual({
      documents: 500,
      bytes: bytes(problems.flatMap(({ prompt, response }) => [prompt, response]))
    })
    expect(index.artifacts["tokenizer"]?.metadata).toEqual({ vocabSize: tokenizer.vocabSize })
  })
})

describe("the teachers", () => {
  it.each([
    // A third as large, it has read less text: the n-grams know as much of it.
    { name: "teacher-hybrid", better: ["1-gram"] },
    { name: "teacher", better: ["1-gram", "3-gram", "5-gram"] }
  ])(
    "$name reads the shipped tokenizer's ids, and has the likelihood that its evaluation says",
    { timeout: 120_000 },
    async ({ better, name: teacher }) => {
      const files = index.artifacts[teacher]!.files.map(({ at, path }) => ({ name: path, path: join(directory, at) }))
      const { model, report } = await Effect.runPromise(
        Effect.scoped(
          Effect.gen(function* () {
            const { config, tensors, tokenizer: own } = yield* openModel(files)
            expect(own.vocabSize).toBe(tokenizer.vocabSize)
            const engine = yield* makeOrt()
            const buffers = yield* allocateParameters(engine, parameterSpecs(config))
            yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
            const { measure } = yield* makeCausalEvaluator(engine, config, buffers.views, {
              rows: 4,
              length: 256,
              pad: 0
            })
            const sequences = heldout.flatMap(({ text }) =>
              sequencesOf({ kind: "document", text }, tokenizer, { maxSeqLen: 256 }).map(({ ids }) => ids)
            )
            return {
              model: yield* measure(sequences),
              report: JSON.parse(read(`${teacher}-evaluation/report.json`).toString()) as {
                readonly rows: ReadonlyArray<{ readonly name: string; readonly loss: number; readonly tokens: number }>
              }
            }
          })
        )
      )
      const [own, ...ngrams] = report.rows
      expect(model.tokens).toBe(own!.tokens)
      expect(model.nats / model.tokens).toBeCloseTo(own!.loss, 4)
      const worse = ngrams.filter(({ loss }) => loss > own!.loss)
      expect(worse.map(({ name }) => name)).toEqual(expect.arrayContaining(better))
    }
  )
})

describe("the documents", () => {
  it("are 50 and 50, of the promised sources, none longer than 2,048 tokens", () => {
    const count = (documents: ReadonlyArray<ShippedDocument>) =>
      Object.fromEntries(
        [...new Set(documents.map(({ source }) => source))]
          .sort()
          .map(source => [source, documents.filter(document => document.source === source).length])
      )
    expect(count(web50)).toEqual({ factbook: 18, "moby-dick": 10, sotu: 22 })
    expect(count(heldout)).toEqual({ factbook: 14, kjv: 10, "moby-dick": 8, sotu: 18 })
    const longest = Math.max(...[...web50, ...heldout].map(({ text }) => tokenizer.encode(text).length))
    expect(longest).toBeLessThanOrEqual(mostTokens)
  })

  it("come from 100 different source documents, none of which is in the pre-training text", () => {
    const used = [...web50, ...heldout]
    expect(new Set(used.map(({ id }) => id)).size).toBe(100)
    const pinned = new Set(pins.documents.map(({ id }) => id))
    const files = new Set(pins.documents.map(({ file, fileSha256 }) => `${file} ${fileSha256}`))
    expect(pinned.size).toBe(pins.documents.length)
    expect(used.filter(({ id }) => pinned.has(id))).toEqual([])
    expect(used.filter(({ from }) => files.has(`${from.file} ${from.fileSha256}`))).toEqual([])
    expect(pins.documents.filter(({ id }) => id.startsWith("kjv/"))).toEqual([])
  })

  it("of the two sets share hardly a run of 13 words", () => {
    const shared = overlaps(
      heldout.map(({ text }) => text),
      web50.map(({ text }) => text)
    )
    expect(Math.max(...shared)).toBeLessThan(0.05)
  })

  it("begin and end as text does, and span the range that they name", () => {
    for (const { from, text } of [...web50, ...heldout]) {
      expect(text).toBe(text.trim())
      expect(Buffer.byteLength(text)).toBe(from.end - from.start)
    }
  })

  it("are readable as records of their data types", async () => {
    const count = async (path: string, dataType: "plaintext" | "prompt_response" | "conversation") =>
      (await Array.fromAsync(recordsFromJsonLines([read(path)], path, decodeRecord({ dataType })))).length
    expect(await count("web50/documents.jsonl", "plaintext")).toBe(50)
    expect(await count("heldout/documents.jsonl", "plaintext")).toBe(50)
    expect(await count("reason500/problems.jsonl", "prompt_response")).toBe(500)
    expect(await count("reason500/problems.jsonl", "conversation")).toBe(500)
  })
})

describe("the 500 problems", () => {
  it("have answers that make their equations true, and no other number near does", () => {
    expect(problems.map(({ idx }) => idx)).toEqual(Array.from({ length: 500 }, (_, i) => i))
    for (const { answer, prompt, response } of problems) {
      expect({ prompt, result: equations.check({ prompt, response }, response) }).toEqual({ prompt, result: "right" })
      const equation = Result.getOrThrow(equationOf(prompt))
      const value = parseRational(answer)
      if (value === undefined) throw new Error(`${prompt}: ${answer} is not a number`)
      expect(value).toEqual(answerOf(response, equation.unknown))
      expect(holds(equation, { ...value, numerator: value.numerator + value.denominator })).toBe(false)
      expect(holds(equation, { ...value, numerator: value.numerator + 1n })).toBe(false)
    }
  })

  it("have steps that are all true at the answer", () => {
    for (const { answer, response } of problems) {
      const value = parseRational(answer)
      if (value === undefined) throw new Error(`${answer} is not a number`)
      for (const line of response.split("\n")) {
        const equation = Result.getOrThrow(parseEquation(line.slice(line.indexOf(": ") + 2)))
        expect({ line, holds: holds(equation, value) }).toEqual({ line, holds: true })
      }
    }
  })

  it("say the same as a conversation, and no equation comes twice", () => {
    for (const { messages, prompt, response } of problems) {
      expect(messages).toEqual([
        { role: "user", content: prompt.trim() },
        { role: "assistant", content: response }
      ])
    }
    const equations = problems.map(({ prompt }) => prompt.replace(/^.*?: /, "").replaceAll(/[a-z]/g, "x"))
    expect(new Set(equations).size).toBe(500)
  })
})
