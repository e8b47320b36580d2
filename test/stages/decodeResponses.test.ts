/** A teacher's own responses as a stage, trainings that follow them, and what is refused before a training starts. */
import { cpSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { decodeResponses } from "../../stages/decode-responses.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { train } from "../../stages/train.ts"
import { trajectories } from "../../stages/trajectories.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { decodePlainly } from "../support/plainBlocks.ts"
import { spill, type Spilled, spilledFile } from "../support/spill.ts"
import { tinyConfig, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))
const tokenizer = loadFrom(shippedDirectory)
const mask = tokenizer.maskId

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

interface Row {
  readonly idx?: number
  readonly prompt: string
  readonly response: string
}
const rows: ReadonlyArray<Row> = [
  { idx: 30, prompt: "The people of the", response: " United States" },
  // Behind it there is no room for as many tokens as may be.
  {
    idx: 10,
    prompt: "We hold these truths to be self-evident, that all men are created equal,",
    response: " endowed"
  },
  { prompt: "Two and two are", response: " four" }
]
const maxSeqLen = 32
const blocks = { blockSize: 4, stepsPerBlock: 3, newTokens: 7 } as const

interface Options {
  readonly rows?: ReadonlyArray<Row>
  readonly answer?: string
  /** Directory of the teacher. */
  readonly teacher?: string
  /** What is made besides. */
  readonly wanted?: "spill" | "train" | "foreign"
}

const run = ({ answer, rows: given = rows, teacher: asked = "tiny", wanted = "spill" }: Options = {}) => {
  const file = join(directory.path, "rows.jsonl")
  writeFileSync(file, given.map(row => `${JSON.stringify(row)}\n`).join(""))
  const pipeline = Pipeline.make(
    "responses-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const dataType = "prompt_response"
      const data = tokenize({
        corpus: downloadDocuments({ source: `file:${file}`, dataType }),
        tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
        maxSeqLen,
        dataType
      })
      const modelIn = (name: string) => downloadModel({ name, source: `file:${join(directory.path, name)}` })
      const teacher = modelIn(asked)
      const training = {
        heldOut: data,
        num_train_epochs: 100,
        max_steps: 2,
        global_batch_size: 2,
        lr: 0.01,
        eval_every: 1000,
        eval_draws: 2
      }
      if (wanted === "foreign")
        return train({
          ...training,
          base: modelIn("tiny"),
          sequences: data,
          trajectories: trajectories({ teacher, sequences: data }),
          trajectory_mode: "scheduled"
        }).model
      const own = decodeResponses({ teacher, sequences: data, ...blocks, ...(answer === undefined ? {} : { answer }) })
      if (wanted === "spill") return spill(own)
      return train({
        ...training,
        ...own,
        base: teacher,
        trajectory_mode: "decoded",
        trajectory_response: "own",
        trajectory_use_blockwise: true,
        trajectory_progressive_block_sizes: [4]
      }).log
    }
  )
  return runPipeline(pipeline, {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })
}

const spilled = async (options: Options = {}) => {
  const ran = await run(options)
  assert.deepStrictEqual(ran.failures, [])
  return { ran, ...(JSON.parse(ran.text("spill", spilledFile)) as Spilled) }
}

interface TokenizerJson {
  readonly model: { readonly vocab: { [token: string]: number } }
  added_tokens: ReadonlyArray<{ readonly content: string }>
}

/** A copy of the tiny model with a file of its tokenizer edited; returns its directory. */
const foreign = <Json = TokenizerJson>(edit: (json: Json) => void, file = "tokenizer.json") => {
  cpSync(join(directory.path, "tiny"), join(directory.path, "foreign"), { recursive: true })
  const path = join(directory.path, "foreign", file)
  const json = JSON.parse(readFileSync(path, "utf8")) as Json
  edit(json)
  writeFileSync(path, JSON.stringify(json))
  return "foreign"
}

describe("the stage decode-responses", () => {
  it("answers each prompt as a plain block decoder does; tokens and order are the record", async () => {
    const { metadata, sequences, trajectories: records } = await spilled()
    const weights = new Map<string, Float32Array>()
    const weight = (name: string) => {
      const known = weights.get(name) ?? tinyWeight(name)
      weights.set(name, known)
      return known
    }
    assert.isFalse(tokenizer.maskAdded)
    assert.lengthOf(sequences, rows.length)
    assert.lengthOf(records, rows.length)
    let [tokens, forwards] = [0, 0]
    for (const [i, { idx, prompt }] of rows.entries()) {
      const ids = Array.from(tokenizer.encode(prompt))
      const newTokens = Math.min(blocks.newTokens, maxSeqLen - ids.length)
      const plain = decodePlainly(canvas => bruteForward(tinyConfig, weight, canvas, false).logits, ids, {
        ...blocks,
        newTokens,
        mask,
        eos: tokenizer.eosId
      })
      const whole = [...ids, ...plain.tokens]
      const sequence = sequences[i]!
      assert.deepStrictEqual(sequence.ids, whole)
      assert.deepStrictEqual(
        sequence.lossMask,
        whole.map((_, at) => Number(at >= ids.length))
      )
      assert.strictEqual(sequence.promptLength, ids.length)
      assert.strictEqual(sequence.idx, idx)
      const record = records[i]!
      assert.deepInclude(record, {
        promptLength: ids.length,
        revealedAt: plain.revealedAt,
        forwards: plain.forwards,
        ids: whole
      })
      assert.strictEqual(record.idx, idx)
      tokens += plain.tokens.length
      forwards += plain.forwards
    }
    assert.deepInclude(metadata, { trajectories: 3, skipped: 0, tokens, forwards, mode: "decoded", maskId: mask })
    assert.match(String(metadata["vocabulary"]), /^[0-9a-f]{64}$/)
  })

  it("asks about each prompt once, whatever the data answer", async () => {
    const first = await spilled()
    assert.strictEqual(first.ran.metric("decode-responses", "responses/new"), 3)
    const more = await spilled({
      rows: [...rows.map(row => ({ ...row, response: " no" })), { prompt: "In Congress,", response: " July" }]
    })
    assert.strictEqual(more.ran.metric("decode-responses", "responses/new"), 1)
    assert.deepStrictEqual(more.sequences.slice(0, 3), first.sequences)
  })

  it("keeps right answers alone, and remembers which were not", async () => {
    const { sequences } = await spilled()
    const { ids, promptLength } = sequences[0]!
    const right = tokenizer.decode(ids.slice(promptLength), { skipSpecialTokens: true })
    const data = rows.map((row, i) => (i === 0 ? { ...row, response: right } : row))
    const answer = "^[^]*"
    const filtered = await spilled({ rows: data, answer })
    assert.deepStrictEqual(
      filtered.sequences.map(({ idx }) => idx),
      [30]
    )
    assert.deepStrictEqual(filtered.sequences[0]!.ids, ids)
    assert.deepInclude(filtered.metadata, { trajectories: 1, skipped: 2 })
    const again = await spilled({ rows: [...data, { prompt: "In Congress,", response: " July" }], answer })
    assert.strictEqual(again.ran.metric("decode-responses", "responses/new"), 1)
    const none = await run({ answer: "#### (.*)" })
    assert.match(none.failures[0]!.message, /none of the 3 responses has the right answer/)
  })
})

describe("a training along a teacher's own responses", () => {
  it("finds the order of every sequence", async () => {
    const ran = await run({ wanted: "train" })
    assert.deepStrictEqual(ran.failures, [])
    assert.deepStrictEqual(ran.series("train", "trajectory/fallback_frac"), [0, 0])
  })

  it("refuses the trajectories of another tokenizer, or with another mask", async () => {
    const swapped = foreign(({ model: { vocab } }) => {
      const [a, b] = Object.keys(vocab).slice(400, 402) as [string, string]
      ;[vocab[a], vocab[b]] = [vocab[b]!, vocab[a]!]
    })
    const other = await run({ teacher: swapped, wanted: "foreign" })
    assert.match(
      other.failures[0]!.message,
      /the trajectories were made with another tokenizer: the digest of its vocabulary is [0-9a-f]{12}, the model's [0-9a-f]{12}/
    )
    assert.strictEqual(other.failures[0]!.label, "train")
    const end = foreign<{ mask_token: string }>(config => {
      config.mask_token = "<|im_end|>"
    }, "tokenizer_config.json")
    const masked = await run({ teacher: end, wanted: "foreign" })
    assert.match(masked.failures[0]!.message, /the trajectories were made with mask token 2046, the model's is 2047/)
  })

  it("refuses a teacher of another vocabulary, and one that was made for shorter texts", async () => {
    const smaller = foreign(json => {
      json.added_tokens = json.added_tokens.filter(({ content }) => !/M|im_end/.test(content))
    })
    const found = await run({ teacher: smaller, wanted: "foreign" })
    assert.match(
      found.failures[0]!.message,
      /the sequences were made with a tokenizer of \d+ tokens, the teacher's has \d+/
    )
    const config = join(directory.path, "tiny", "config.json")
    const fields = JSON.parse(readFileSync(config, "utf8")) as object
    writeFileSync(config, JSON.stringify({ ...fields, max_position_embeddings: 4 }))
    const short = await run()
    assert.match(
      short.failures[0]!.message,
      /document 1 of the corpus \(idx 30\) has a sequence of \d+ tokens, but the teacher was made for 4/
    )
  })
})
