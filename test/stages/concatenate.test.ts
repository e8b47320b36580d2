/** Several sets of sequences as one: what is in it, what is computed anew, and what is refused. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { concatenate } from "../../stages/concatenate.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { trajectories } from "../../stages/trajectories.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { spill, type Spilled, spilledFile } from "../support/spill.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))
const tokenizer = loadFrom(shippedDirectory)

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

const texts = ["The people of the United States", "We hold these truths to be self-evident"]
const problems = [
  { prompt: "Sort b a:", response: " a b" },
  { prompt: "Two and two are", response: " four" }
]

const run = (
  lengths: { readonly text: number; readonly problems: number } = { text: 24, problems: 24 },
  more = texts
) => {
  const file = (name: string, rows: ReadonlyArray<object>) => {
    const path = join(directory.path, name)
    writeFileSync(path, rows.map(row => `${JSON.stringify(row)}\n`).join(""))
    return `file:${path}`
  }
  const [corpus, examples] = [
    file(
      "texts.jsonl",
      more.map(text => ({ text }))
    ),
    file("problems.jsonl", problems)
  ]
  const pipeline = Pipeline.make(
    "concatenate-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const shipped = downloadTokenizer({ source: "embedded:tokenizer" })
      const sequences = concatenate({
        parts: {
          problems: tokenize({
            name: "problems",
            corpus: downloadDocuments({ name: "problems", source: examples, dataType: "prompt_response" }),
            tokenizer: shipped,
            maxSeqLen: lengths.problems,
            dataType: "prompt_response"
          }),
          corpus: tokenize({
            name: "corpus",
            corpus: downloadDocuments({ name: "corpus", source: corpus }),
            tokenizer: shipped,
            maxSeqLen: lengths.text
          })
        }
      })
      const teacher = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      return spill({ sequences, trajectories: trajectories({ teacher, sequences, mode: "lr" }) })
    }
  )
  return runPipeline(pipeline, { cache: join(directory.path, "cache"), layers: [assets], engine: numericClass("ort") })
}

describe("the stage concatenate", () => {
  it("has the sequences of all parts, part after part, each as it was", async () => {
    const ran = await run()
    assert.deepStrictEqual(ran.failures, [])
    const { sequences } = JSON.parse(ran.text("spill", spilledFile)) as Spilled
    const end = [tokenizer.eosId]
    assert.deepStrictEqual(
      sequences.map(({ ids }) => ids),
      [
        ...texts.map(text => [...tokenizer.encode(text), ...end]),
        ...problems.map(({ prompt, response }) => [...tokenizer.encode(prompt), ...tokenizer.encode(response), ...end])
      ]
    )
    // Of problems the responses are learnt, as in their own set.
    for (const [i, { prompt }] of problems.entries()) {
      const { lossMask } = sequences[texts.length + i]!
      assert.strictEqual(lossMask.indexOf(1), tokenizer.encode(prompt).length)
    }
    assert.isTrue(sequences.slice(0, 2).every(({ lossMask }) => lossMask.every(flag => flag === 1)))
    const { learnt, tokens } = ran.manifest("concatenate").metadata as {
      readonly learnt: number
      readonly tokens: number
    }
    assert.strictEqual(tokens, sequences.flatMap(({ ids }) => ids).length)
    assert.strictEqual(
      learnt,
      sequences.flatMap(({ lossMask }) => lossMask).reduce((sum, flag) => sum + flag, 0)
    )
  })

  it("refuses parts that were cut at other lengths", async () => {
    const { failures } = await run({ text: 24, problems: 32 })
    assert.match(failures[0]!.message, /problems has a maxSeqLen of 32, corpus one of 24/)
  })
})
