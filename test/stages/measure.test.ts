/** Evaluation and benchmark of a diffusion model, as stages. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Schema } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import {
  BenchmarkResult,
  LikelihoodResult,
  ReferencesResult,
  ReferenceTexts,
  type ScoredTexts,
  TaskResult,
  TextsResult
} from "../../src/evaluation/results.ts"
import { textQuality } from "../../src/evaluation/textQuality.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { benchmark } from "../../stages/benchmark.ts"
import { downloadDocuments, downloadModel } from "../../stages/download.ts"
import { evaluateEquations } from "../../stages/evaluate-equations.ts"
import { evaluateLikelihood } from "../../stages/evaluate-likelihood.ts"
import { evaluateReferences } from "../../stages/evaluate-references.ts"
import { evaluateTexts } from "../../stages/evaluate-texts.ts"
import { referenceTexts } from "../../stages/reference-texts.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { evaluateSums } from "../support/sumsTask.ts"
import { tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

const documents = Array.from(
  { length: 5 },
  (_, i) => `Document ${i}: ${"the people of the United States ".repeat(3 + i)}`
)

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

const twoSums: ReadonlyArray<object> = [
  { question: "2 + 2", answers: ["4", "four"] },
  { question: "20 + 3", answers: ["23"] }
]

const run = (
  cache = "cache",
  timing: { readonly steps?: ReadonlyArray<number>; readonly batch?: number } = {},
  problems = twoSums
) => {
  const corpus = writeTexts(directory.path, documents)
  const sums = join(directory.path, "sums.jsonl")
  writeFileSync(sums, problems.map(problem => `${JSON.stringify(problem)}\n`).join(""))
  const pipeline = Pipeline.make(
    "measure-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const model = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      const heldOut = tokenizedTexts(corpus, 24)
      return {
        likelihood: evaluateLikelihood({ model, heldOut, teacher: model, draws: 3, bands: 1 }),
        references: evaluateReferences({ teacher: model, corpus: heldOut, heldOut }),
        texts: evaluateTexts({
          model,
          teacher: model,
          heldOut,
          corpus: heldOut,
          prompts: 2,
          promptTokens: 6,
          newTokens: 8,
          steps: [2, 8, 16]
        }),
        referenceTexts: referenceTexts({
          teacher: model,
          heldOut,
          corpus: heldOut,
          prompts: 2,
          promptTokens: 6,
          newTokens: 8
        }),
        equations: evaluateEquations({
          model,
          dataset: downloadDocuments({ source: "embedded:reason500", dataType: "fields" }),
          problems: 3,
          answerTokens: 8,
          answerSteps: [2, 8],
          thresholds: [0.99],
          decoding: { alg: "maskgit_plus" }
        }),
        sums: evaluateSums({
          model,
          dataset: downloadDocuments({ name: "sums", source: `file:${sums}`, dataType: "fields" }),
          answerTokens: 2,
          answerSteps: [1]
        }),
        speed: benchmark({ model, newTokens: 6, steps: [2, 6], repeats: 3, timedForwards: 10, ...timing })
      }
    }
  )
  return runPipeline(pipeline, { cache: join(directory.path, cache), layers: [assets], engine: numericClass("ort") })
}

const decoded = <A>(ran: Ran, stage: string, file: string, schema: Schema.Codec<A, unknown>) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(schema))(ran.text(stage, file))
const timings = (ran: Ran) => decoded(ran, "benchmark", "benchmark.json", BenchmarkResult)

describe("the stages that evaluate", () => {
  it("give the bound with its parts, losses, texts with judges and diversity, and answers; the same again", async () => {
    const ran = await run()
    assert.deepStrictEqual(ran.failures, [])
    const { bound, ...measured } = decoded(ran, "evaluate-likelihood", "likelihood.json", LikelihoodResult)
    assert(bound !== undefined)
    // An untrained model knows nothing of 2,048 tokens.
    assert.closeTo(bound.nats, Math.log(2048), 1.5)
    assert.isAbove(bound.standardError, 0)
    // One band holds all draws, of the same passes.
    assert.deepStrictEqual(
      measured.lossAtRatio.map(({ from, ratio, to }) => [ratio, from, to]),
      [[0.5, 0, 1]]
    )
    assert.closeTo(measured.lossAtRatio[0]!.value, bound.nats, 1e-9)

    // Documents become several sequences; together they are the bound.
    assert.strictEqual(measured.documents.length, 5)
    const sum = (of: (document: (typeof measured.documents)[number]) => number) =>
      measured.documents.reduce((total, document) => total + of(document), 0)
    assert.strictEqual(
      sum(({ tokens }) => tokens),
      bound.tokens
    )
    assert.closeTo(sum(({ nats }) => nats) / bound.tokens, bound.nats, 1e-9)
    assert.closeTo(measured.documents[4]!.tokens / measured.documents[0]!.tokens, 7 / 3, 0.5)
    const bytes = (bound.nats * bound.tokens) / Math.LN2 / bound.bitsPerByte
    const textBytes = documents.reduce((total, text) => total + Buffer.byteLength(text), 0)
    // All of the text but the first token of each sequence of 24.
    assert.isBelow(bytes, textBytes)
    assert.isAbove(bytes, 0.85 * textBytes)
    assert.closeTo(bytes, Math.round(bytes), 1e-6)

    // The model is its own teacher: what is left is that it reads masks, and to the right.
    const { teacherDistance } = measured
    assert.isAbove(teacherDistance!.value, 0)
    assert.isBelow(teacherDistance!.value, 2)
    assert.strictEqual(ran.metric("evaluate-likelihood", "eval/teacher_distance"), teacherDistance!.value)
    // Of the first sequence of each document about a half: of 23 tokens that may be masked.
    for (const { weight } of teacherDistance!.documents) assert.closeTo(weight, 23 / 2, 4)

    const [teacher, unigram] = decoded(ran, "evaluate-references", "references.json", ReferencesResult).references
    assert.strictEqual(teacher!.model, "teacher")
    assert.closeTo(teacher!.nats, measured.autoregressiveLoss.value, 1e-9)
    for (const reference of [teacher!, unigram!]) {
      const counts = (of: typeof measured.documents) => of.map(document => [document.tokens, document.bytes])
      assert.deepStrictEqual(counts(reference.documents), counts(measured.documents))
      assert.closeTo(reference.bitsPerByte * bytes * Math.LN2, reference.nats * bound.tokens, 1e-6)
    }
    // The documents are the corpus, of few words.
    assert.isBelow(unigram!.nats, 3.5)
    assert.isAbove(unigram!.nats, 1)

    const result = decoded(ran, "evaluate-texts", "texts.json", TextsResult)
    assert.deepStrictEqual(
      result.generations.map(({ forwards, newTokens, steps }) => [steps, forwards, newTokens]),
      [
        [2, 2, 8],
        [8, 8, 8],
        [16, 8, 8]
      ]
    )
    const beside = decoded(ran, "reference-texts", "references.json", ReferenceTexts)
    const judged = (texts: ScoredTexts) => textQuality(texts).ngramPerplexity
    for (const texts of [...result.generations, beside.teacher, beside.unigram])
      assert.isAbove(judged(texts), 2 * judged(beside.heldOut))
    for (const { texts: each } of [...result.generations, ...Object.values(beside).filter(x => typeof x === "object")])
      assert.deepStrictEqual(
        each.map(({ pairs, tokens }) => [tokens <= 8, pairs === tokens - 1]),
        [
          [true, true],
          [true, true]
        ]
      )
    const score = decoded(ran, "evaluate-equations", "score.json", TaskResult)
    assert.include(score, { task: "equations", problems: 3 })
    assert.deepStrictEqual(
      score.answers.map(({ point, responses }) => [point, ...responses.map(({ forwards }) => forwards)]),
      [
        [{ steps: 2 }, 2, 2, 2],
        [{ steps: 8 }, 8, 8, 8],
        // The model knows nothing: one token at a time is surer than 99 %.
        [{ threshold: 0.99 }, 8, 8, 8]
      ]
    )
    assert.deepStrictEqual(score.answers[2]!.responses, score.answers[1]!.responses)
    for (const { responses, sample } of score.answers) {
      assert.lengthOf(responses, 3)
      for (const { outcome, tokens } of responses) {
        assert.notStrictEqual(outcome, "right")
        assert.isAtMost(tokens, 8)
      }
      assert.match(sample.prompt, /^Solve for [a-z]: /)
      assert.match(sample.answer, /^Answer: [a-z] = /)
    }
    for (const { weights } of [measured, result, beside, score])
      assert.strictEqual(weights, ran.digest("download-model"))
    assert.strictEqual(ran.metric("evaluate-likelihood", "eval/nll_bound"), bound.nats)
    assert.strictEqual(ran.metric("evaluate-equations", "eval/exact_match"), 0)
    const sums = decoded(ran, "evaluate-sums", "score.json", TaskResult)
    assert.include(sums, { task: "sums", problems: 2 })
    assert.deepInclude(sums.answers[0].sample, { prompt: "2 + 2 = ", answer: "4" })
    const again = await run("again")
    for (const stage of ["evaluate-likelihood", "evaluate-references", "evaluate-texts", "evaluate-equations"])
      assert.deepStrictEqual(again.manifest(stage), ran.manifest(stage))
  })
})

describe("a task", () => {
  it("refuses problems that it cannot read, where they stand in their file", async () => {
    const { failures } = await run("cache", {}, [...twoSums, { question: "1 + 1", answers: [] }])
    assert.match(failures.map(({ message }) => message).join("\n"), /sums\.jsonl:3:\d+: answers/)
  })
})

describe("the stage benchmark", () => {
  it("times every call, few steps more often, counts forward passes, and names the weights", async () => {
    const ran = await run()
    const { batch, matmulPeak, results, weights } = timings(ran)
    assert.strictEqual(weights, ran.digest("download-model"))
    assert.strictEqual(batch, 1)
    assert.isAbove(matmulPeak, 0)
    assert.deepStrictEqual(
      results.map(({ forwards, milliseconds, steps, tokensPerForward }) => [
        steps,
        forwards,
        milliseconds.length,
        tokensPerForward
      ]),
      [
        [2, 2, 5, 3],
        [6, 6, 3, 1]
      ]
    )
    for (const { median, milliseconds, msPerForward, forwards, shareOfPeak, tokensPerSecond } of results) {
      assert.strictEqual(median, milliseconds[Math.floor(milliseconds.length / 2)])
      assert.closeTo(tokensPerSecond, 6000 / median, 1e-6)
      assert.strictEqual(msPerForward, median / forwards)
      assert.isAbove(shareOfPeak, 0)
    }
  })

  it("refuses more steps than would be made", async () => {
    const { failures } = await run("cache", { steps: [4, 7] })
    assert.match(failures[0]!.message, /steps has 7, but 6 tokens take 6 steps at most/)
  })
})
