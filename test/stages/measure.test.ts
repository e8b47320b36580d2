/** Evaluation and benchmark of a diffusion model, as stages. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { benchmark } from "../../stages/benchmark.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { evaluate } from "../../stages/evaluate.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

const run = (cache = "cache") => {
  const corpus = join(directory.path, "texts.jsonl")
  const texts = Array.from(
    { length: 5 },
    (_, i) => `Document ${i}: ${"the people of the United States ".repeat(3 + i)}`
  )
  writeFileSync(corpus, texts.map(text => `${JSON.stringify({ text })}\n`).join(""))
  const pipeline = Pipeline.make(
    "measure-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const model = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      const heldOut = tokenize({
        corpus: downloadDocuments({ source: `file:${corpus}` }),
        tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
        maxSeqLen: 24
      })
      return {
        quality: evaluate({
          model,
          teacher: model,
          heldOut,
          corpus: heldOut,
          draws: 3,
          ratios: [0.5],
          prompts: 2,
          promptTokens: 6,
          newTokens: 8,
          steps: [2, 8]
        }),
        speed: benchmark({ model, newTokens: 6, steps: [2, 6], repeats: 3 })
      }
    }
  )
  return runPipeline(pipeline, { cache: join(directory.path, cache), layers: [assets], engine: numericClass("ort") })
}

interface Generation {
  readonly steps: number
  readonly forwards: number
  readonly teacherPerplexity: number
  readonly ngramPerplexity: number
  readonly distinct2: number
}

describe("the stage evaluate", () => {
  it("gives the bound with its error, losses, and texts with judges and diversity; the same again", async () => {
    const ran = await run()
    assert.deepStrictEqual(ran.failures, [])
    const measured = JSON.parse(ran.text("evaluate", "evaluation.json")) as {
      readonly bound: { readonly nats: number; readonly standardError: number }
      readonly lossAtRatio: { readonly [ratio: string]: number }
      readonly generations: ReadonlyArray<Generation>
      readonly reference: { readonly ngramPerplexity: number }
    }
    // An untrained model knows nothing of 2,048 tokens.
    assert.closeTo(measured.bound.nats, Math.log(2048), 1.5)
    assert.isAbove(measured.bound.standardError, 0)
    assert.closeTo(measured.lossAtRatio["0.5"]!, Math.log(2048), 1.5)
    assert.deepStrictEqual(
      measured.generations.map(({ forwards, steps }) => [steps, forwards]),
      [
        [2, 2],
        [8, 8]
      ]
    )
    for (const { ngramPerplexity } of measured.generations)
      assert.isAbove(ngramPerplexity, 10 * measured.reference.ngramPerplexity)
    assert.strictEqual(ran.metric("evaluate", "eval/nll_bound"), measured.bound.nats)
    const again = await run("again")
    assert.strictEqual(again.text("evaluate", "evaluation.json"), ran.text("evaluate", "evaluation.json"))
  })
})

describe("the stage benchmark", () => {
  it("times every call, counts forward passes, and names the weights", async () => {
    const ran = await run()
    const { results, weights } = JSON.parse(ran.text("benchmark", "benchmark.json")) as {
      readonly weights: string
      readonly results: ReadonlyArray<{
        readonly steps: number
        readonly forwards: number
        readonly milliseconds: ReadonlyArray<number>
        readonly median: number
        readonly tokensPerSecond: number
        readonly tokensPerForward: number
        readonly shareOfPeak: number
      }>
    }
    assert.match(weights, /^[0-9a-f]{64}$/)
    assert.deepStrictEqual(
      results.map(({ forwards, milliseconds, steps, tokensPerForward }) => [
        steps,
        forwards,
        milliseconds.length,
        tokensPerForward
      ]),
      [
        [2, 2, 3, 3],
        [6, 6, 3, 1]
      ]
    )
    for (const { median, milliseconds, shareOfPeak, tokensPerSecond } of results) {
      assert.strictEqual(median, milliseconds.toSorted((a, b) => a - b)[1])
      assert.closeTo(tokensPerSecond, 6000 / median, 1e-6)
      assert.isAbove(shareOfPeak, 0)
    }
  })
})
