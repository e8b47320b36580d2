/** Evaluation and benchmark of a diffusion model, as stages. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Schema } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import { BenchmarkResult, EvaluationResult } from "../../src/evaluation/results.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { benchmark } from "../../stages/benchmark.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { evaluate } from "../../stages/evaluate.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

const texts = Array.from({ length: 5 }, (_, i) => `Document ${i}: ${"the people of the United States ".repeat(3 + i)}`)

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

const run = (cache = "cache", timing: { readonly steps?: ReadonlyArray<number>; readonly batch?: number } = {}) => {
  const corpus = writeTexts(directory.path, texts)
  const pipeline = Pipeline.make(
    "measure-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const model = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      const heldOut = tokenizedTexts(corpus, 24)
      const reasoning = tokenize({
        name: "reasoning",
        corpus: downloadDocuments({ name: "reasoning", source: "embedded:reason500" }),
        tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
        maxSeqLen: 64,
        dataType: "prompt_response"
      })
      return {
        quality: evaluate({
          model,
          teacher: model,
          heldOut,
          corpus: heldOut,
          draws: 3,
          ratios: [0.5],
          reasoning,
          sequencesPerDocument: "all",
          prompts: 2,
          promptTokens: 6,
          newTokens: 8,
          steps: [2, 8, 16],
          problems: 3,
          answerTokens: 8,
          answerSteps: 2
        }),
        speed: benchmark({ model, newTokens: 6, steps: [2, 6], repeats: 3, timedForwards: 10, ...timing })
      }
    }
  )
  return runPipeline(pipeline, { cache: join(directory.path, cache), layers: [assets], engine: numericClass("ort") })
}

const evaluation = (ran: Ran) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(EvaluationResult))(ran.text("evaluate", "evaluation.json"))
const timings = (ran: Ran) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(BenchmarkResult))(ran.text("benchmark", "benchmark.json"))

describe("the stage evaluate", () => {
  it("gives the bound with its parts, losses, texts with judges and diversity, and answers; the same again", async () => {
    const ran = await run()
    assert.deepStrictEqual(ran.failures, [])
    const { bound, ...measured } = evaluation(ran)
    assert(bound !== undefined)
    // An untrained model knows nothing of 2,048 tokens.
    assert.closeTo(bound.nats, Math.log(2048), 1.5)
    assert.isAbove(bound.standardError, 0)
    assert.closeTo(measured.lossAtRatio["0.5"]!, Math.log(2048), 1.5)

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
    const textBytes = texts.reduce((total, text) => total + Buffer.byteLength(text), 0)
    // All of the text but the first token of each sequence of 24.
    assert.isBelow(bytes, textBytes)
    assert.isAbove(bytes, 0.85 * textBytes)
    assert.closeTo(bytes, Math.round(bytes), 1e-6)

    assert.deepStrictEqual(
      measured.generations.map(({ forwards, newTokens, steps }) => [steps, forwards, newTokens]),
      [
        [2, 2, 8],
        [8, 8, 8],
        [16, 8, 8]
      ]
    )
    for (const { ngramPerplexity } of measured.generations)
      assert.isAbove(ngramPerplexity, 10 * measured.reference.ngramPerplexity)
    assert.include(measured.reasoning, { problems: 3, exact: 0, steps: 2 })
    assert.match(measured.reasoning!.sample.prompt, /^Solve for [a-z]: /)
    assert.strictEqual(measured.weights, ran.digest("download-model"))
    assert.strictEqual(ran.metric("evaluate", "eval/nll_bound"), bound.nats)
    assert.strictEqual(ran.metric("evaluate", "eval/exact_match"), 0)
    const again = await run("again")
    assert.strictEqual(again.text("evaluate", "evaluation.json"), ran.text("evaluate", "evaluation.json"))
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
