/** Pre-training as a stage: what comes out can be loaded, measured and followed. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, expect, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadTokenizer } from "../../stages/download.ts"
import { evaluateCausal } from "../../stages/evaluate-causal.ts"
import { examine } from "../../stages/examine.ts"
import { makeProblemSet } from "../../stages/make-problems.ts"
import { reportTeacher } from "../../stages/report-teacher.ts"
import type { TaskResult } from "../../src/evaluation/results.ts"
import { pretrain } from "../../stages/pretrain.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const model = {
  model_type: "qwen3",
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 8,
  vocab_size: 2048,
  tie_word_embeddings: true
} as const

const hybrid = {
  ...model,
  model_type: "qwen3_5_text",
  layer_types: ["linear_attention", "full_attention"],
  linear_num_key_heads: 1,
  linear_num_value_heads: 2,
  linear_key_head_dim: 8,
  linear_value_head_dim: 8
} as const

const pipeline = (
  file: string,
  fields: Parameters<typeof pretrain>[0]["model"],
  microBatchSize?: number,
  data?: Parameters<typeof pretrain>[0]["data"]
) =>
  Pipeline.make(
    "pretrain-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const tokenizer = downloadTokenizer({ source: "embedded:tokenizer" })
      const sequences = tokenize({ corpus: downloadDocuments({ source: `file:${file}` }), tokenizer, maxSeqLen: 32 })
      const trained = pretrain({
        sequences,
        heldOut: sequences,
        tokenizer,
        model: fields,
        ...(data === undefined ? {} : { data }),
        train: {
          num_train_epochs: 3,
          global_batch_size: 4,
          ...(microBatchSize === undefined ? {} : { micro_batch_size: microBatchSize }),
          lr: 0.02,
          eval_every: 5
        }
      })
      return evaluateCausal({ model: trained.model, heldOut: sequences, training: sequences, orders: [1, 2] })
    }
  )

const write = (): string => {
  const file = join(directory.path, "texts.jsonl")
  const texts = Array.from(
    { length: 60 },
    (_, i) => `Document ${i}: ${"the people of the United States ".repeat(1 + (i % 7))}`
  )
  writeFileSync(file, texts.map(text => `${JSON.stringify({ text })}\n`).join(""))
  return file
}
const run = (fields: Parameters<typeof pipeline>[1] = model, microBatchSize?: number) =>
  runPipeline(pipeline(write(), fields, microBatchSize), {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })

interface Record {
  readonly step: number
  readonly evaluated: { readonly ar_loss: number; readonly ar_perplexity: number }
}

interface ReportRow {
  readonly name: string
  readonly perplexity: number
  readonly bitsPerByte: number
  readonly tokens: number
}

describe("the stage pretrain", () => {
  it.each([model, hybrid])(
    "writes a $model_type that learnt its text, its record, and its log; the evaluation reads the same loss",
    async fields => {
      const ran = await run(fields)
      assert.deepStrictEqual(ran.failures, [])
      const manifest = ran.manifest("pretrain")
      assert.deepStrictEqual(
        manifest.files.map(({ path }) => path),
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json"]
      )
      const record = JSON.parse(ran.text("pretrain", "training.json")) as Record
      const config = JSON.parse(ran.text("pretrain", "config.json")) as { readonly [field: string]: unknown }
      assert.strictEqual(config["model_type"], fields.model_type)
      assert.strictEqual(config["torch_dtype"], "bfloat16")
      assert.strictEqual(config["max_position_embeddings"], 32)
      assert.isNumber(config["mask_token_id"])
      assert.isAbove(record.step, 10)
      // From the uniform distribution over 2,048 tokens to a text of few words.
      assert.isBelow(record.evaluated.ar_perplexity, 30)

      const { rows } = JSON.parse(ran.text("evaluate-causal", "report.json")) as {
        readonly rows: ReadonlyArray<ReportRow>
      }
      const [row, unigram, bigram] = rows
      // The weights that were measured in training were f32, the ones that were saved are bfloat16.
      assert.closeTo(Math.log(row!.perplexity), Math.log(record.evaluated.ar_perplexity), 0.02)
      assert.isAbove(unigram!.perplexity, bigram!.perplexity)
      assert.strictEqual(unigram!.tokens, row!.tokens)
      assert.strictEqual(ran.metric("evaluate-causal", "model/perplexity"), row!.perplexity)
      assert.include(ran.text("evaluate-causal", "report.md"), "| 2-gram |")
    }
  )

  it.each([
    { fields: model, repeats: 1 },
    { fields: hybrid, repeats: 2 }
  ])(
    "teaches a $fields.model_type the answers of problems beside text; the report says how many it solves",
    async ({ fields, repeats }) => {
      const epochs = 200
      const reported = Pipeline.make(
        "teacher-test",
        { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
        () => {
          const tokenizer = downloadTokenizer({ source: "embedded:tokenizer" })
          const documents = downloadDocuments({ source: `file:${write()}` })
          const heldOut = tokenize({ corpus: documents, tokenizer, maxSeqLen: 32 })
          const sequences = tokenize({ name: "few", corpus: documents, tokenizer, maxSeqLen: 32, documents: 2 })
          // One problem, again and again: even this model learns it by heart.
          const only = makeProblemSet({ families: ["sort"], count: 1, first: 3 })
          const problems = tokenize({
            name: "problems",
            corpus: only,
            tokenizer,
            maxSeqLen: 32,
            dataType: "prompt_response"
          })
          const { model: trained } = pretrain({
            sequences,
            problems,
            heldOut,
            tokenizer,
            model: fields,
            ...(repeats === 1 ? {} : { data: { problem_repeats: repeats } }),
            train: { num_train_epochs: epochs, global_batch_size: 1, lr: 0.02, eval_every: 1000 }
          })
          const others = downloadDocuments({ name: "sudoku", source: "embedded:sudoku", dataType: "fields" })
          const asked = { task: "sort", model: trained, dataset: only } as const
          const report = reportTeacher({
            title: "A small teacher",
            evaluation: evaluateCausal({
              model: trained,
              heldOut,
              documents,
              training: sequences,
              orders: [1]
            }),
            scores: {
              sort: examine({ name: "sort", ...asked }),
              sudoku: examine({ name: "sudoku", task: "sudoku", model: trained, dataset: others, problems: 3 })
            }
          })
          return { ...report, drafted: examine({ name: "drafted", ...asked, drafter: trained, draftTokens: 3 }) }
        }
      )
      const ran = await runPipeline(reported, {
        cache: join(directory.path, "cache"),
        layers: [assets],
        engine: numericClass("ort")
      })
      assert.deepStrictEqual(ran.failures, [])
      const record = JSON.parse(ran.text("pretrain", "training.json")) as {
        readonly problems: { readonly learnt: number; readonly tokens: number }
        readonly sequences: { readonly tokens: number }
        readonly tokens: number
      }
      // Six letters and the end of the text.
      assert.strictEqual(record.problems.learnt, 7)
      assert.strictEqual(record.tokens, epochs * (record.sequences.tokens + repeats * record.problems.tokens))
      const { rows, tasks } = JSON.parse(ran.text("report-teacher", "report.json")) as {
        readonly rows: ReadonlyArray<ReportRow>
        readonly tasks: ReadonlyArray<{
          readonly task: string
          readonly problems: number
          readonly exact: number
          readonly share: number
        }>
      }
      assert.deepStrictEqual(
        rows.map(({ name }) => name),
        ["model", "1-gram"]
      )
      assert.deepInclude(tasks[0], { task: "sort", problems: 1, exact: 1, share: 1 })
      assert.deepInclude(tasks[1], { task: "sudoku", problems: 3, exact: 0 })
      assert.strictEqual(ran.metric("examine/sort", "eval/exact_match"), 1)
      // Drafts change no answer, only how many passes it takes.
      const [alone, drafted] = ["examine/sort", "examine/drafted"].map(
        action => JSON.parse(ran.text(action, "score.json")) as typeof TaskResult.Encoded
      ) as [typeof TaskResult.Encoded, typeof TaskResult.Encoded]
      assert.deepStrictEqual(drafted.answers[0].sample, alone.answers[0].sample)
      assert.strictEqual(drafted.answers[0].responses[0].tokens, alone.answers[0].responses[0].tokens)
      assert.deepStrictEqual(drafted.drafts, { tokens: 3, weights: alone.weights })
      const page = ran.text("report-teacher", "report.md")
      assert.match(page, /\| sort +\| +1 \| +100\.0 % \| +20\.7 % to 100\.0 % \| +Sort /)
      assert.include(page, "Perplexity by domain")
    }
  )

  it("with more micro-batches comes to the same within rounding", async () => {
    const whole = JSON.parse((await run()).text("pretrain", "training.json")) as Record
    const cut = JSON.parse((await run(model, 1)).text("pretrain", "training.json")) as Record
    assert.closeTo(whole.evaluated.ar_loss, cut.evaluated.ar_loss, 5e-3)
  })

  it("refuses sizes that do not fit", async () => {
    assert.match(
      (await run({ ...model, vocab_size: 100 })).failures[0]!.message,
      /vocab_size is 100, but the tokenizer has 2048 tokens/
    )
    const file = write()
    const without = runPipeline(pipeline(file, model, undefined, { problem_repeats: 2 }), {
      cache: join(directory.path, "cache"),
      layers: [assets],
      engine: numericClass("ort")
    })
    assert.match((await without).failures[0]!.message, /data\.problem_repeats is 2, but there are no problems/)
    await expect(run(model, 3)).rejects.toThrow(
      /micro_batch_size: does not go with global_batch_size: 4 is no multiple of 3, got 3/
    )
  })
})
