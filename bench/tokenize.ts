/**
 * Tokens per second: our threads, the library that they build on as it is, and the Rust tokenizers, in the same run. Each figure is of a
 * first pass over the corpus, by freshly started threads or processes; starting them does not count.
 *
 *     node bench/tokenize.ts [--corpus FILE.jsonl] [--rounds N]
 *
 * The default corpus is made of the shipped documents, their sentences in new orders; `scripts/assets/make.ts --pretrain-text` writes a
 * better one. The Rust tokenizers are those of the environment that `npm run test:interop` makes; without it, their rows are left out.
 */
import { Tokenizer as Library } from "@huggingface/tokenizers"
import { Effect, Stream } from "effect"
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { basename, join } from "node:path"
import { parseArgs } from "node:util"
import { table } from "../src/cli/terminal/style.ts"
import type { DataRecord } from "../src/formats/records.ts"
import { makeTokenizePool, tokenizeStream } from "../src/tokens/tokenizeWorkers.ts"
import { seeded, shuffled } from "../src/corpora/random.ts"
import { sentenceStarts } from "../scripts/assets/excerpt.ts"
import { filesIn, qwen3Directory, shippedDirectory } from "../test/support/tokenizers.ts"
import { shippedTexts } from "../test/support/tokenizerCorpus.ts"

const { values: flags } = parseArgs({
  options: { corpus: { type: "string" }, rounds: { type: "string", default: "5" } }
})
const rounds = Number(flags.rounds)
const root = join(import.meta.dirname, "..")

/** Bytes of the corpus that is made from the shipped documents. */
const madeBytes = 16e6

const makeCorpus = (): ReadonlyArray<string> => {
  const random = seeded(1)
  const documents = [
    ...shippedTexts("web50/documents.jsonl", "text"),
    ...shippedTexts("heldout/documents.jsonl", "text")
  ]
  const sentences = documents.flatMap(text => {
    const starts = sentenceStarts(text)
    return starts.slice(0, -1).map((start, i) => text.slice(start, starts[i + 1]))
  })
  const texts: Array<string> = []
  for (let bytes = 0; bytes < madeBytes;) {
    const order = shuffled(random, sentences)
    for (let at = 0; at < order.length; at += 20) {
      const text = order.slice(at, at + 20).join("")
      texts.push(text)
      bytes += Buffer.byteLength(text)
    }
  }
  return texts
}

const directory = mkdtempSync(join(tmpdir(), "bench-tokenize-"))
const texts =
  flags.corpus === undefined
    ? makeCorpus()
    : readFileSync(flags.corpus, "utf8")
        .trimEnd()
        .split("\n")
        .map(line => String(JSON.parse(line).text))
const corpus = join(directory, "corpus.jsonl")
writeFileSync(corpus, texts.map(text => `${JSON.stringify({ text })}\n`).join(""))
const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)

interface Pass {
  readonly tokens: number
  readonly seconds: number
}

const records: ReadonlyArray<DataRecord> = texts.map(text => ({ kind: "document", text }))

/** From records to the bytes of their sequences, as the tokenize stage does it. */
const ours = (tokenizerDirectory: string, workers: number): Promise<Pass> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const pool = yield* makeTokenizePool({
        workers,
        tokenizer: filesIn(tokenizerDirectory),
        sequences: { maxSeqLen: 2048, appendEos: false }
      })
      const start = performance.now()
      const tokens = yield* tokenizeStream(pool, Stream.fromIterable(records)).pipe(
        Stream.runFold(
          () => 0,
          (sum, result) => sum + result.tokens
        )
      )
      return { tokens, seconds: (performance.now() - start) / 1000 }
    }).pipe(Effect.scoped)
  )

const library = async (tokenizerDirectory: string): Promise<Pass> => {
  const tokenizer = new Library(JSON.parse(filesIn(tokenizerDirectory).json), {})
  const start = performance.now()
  let tokens = 0
  for (const text of texts) tokens += tokenizer.encode(text, { add_special_tokens: false }).ids.length
  return { tokens, seconds: (performance.now() - start) / 1000 }
}

const python = join(root, ".venv/bin/python")

const rust = async (tokenizerDirectory: string, threads: number): Promise<Pass> => {
  const program = [join(import.meta.dirname, "rust_tokenizers.py"), corpus, join(tokenizerDirectory, "tokenizer.json")]
  const env = {
    ...process.env,
    RAYON_NUM_THREADS: String(threads),
    TOKENIZERS_PARALLELISM: threads > 1 ? "true" : "false"
  }
  return JSON.parse(execFileSync(python, program, { env }).toString()) as Pass
}

const contenders: ReadonlyArray<readonly [name: string, run: (directory: string) => Promise<Pass>]> = [
  ["ours, 1 thread", each => ours(each, 1)],
  ["ours, 2 threads", each => ours(each, 2)],
  ["@huggingface/tokenizers, 1 thread", library],
  ...(existsSync(python)
    ? ([
        ["Rust tokenizers, 1 thread", (each: string) => rust(each, 1)],
        ["Rust tokenizers, 2 threads", (each: string) => rust(each, 2)]
      ] as const)
    : [])
]
if (!existsSync(python)) console.log("without the Rust tokenizers: npm run test:interop makes their environment")

const quantile = (sorted: ReadonlyArray<number>, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0

const results = []
for (const [vocabulary, tokenizerDirectory] of [
  ["shipped (2,048)", shippedDirectory],
  ["Qwen3 (151,669)", qwen3Directory]
] as const) {
  const speeds = contenders.map((): Array<number> => [])
  const counts = new Set<number>()
  for (let round = 0; round < rounds; round += 1) {
    for (const [i, [, run]] of contenders.entries()) {
      const pass = await run(tokenizerDirectory)
      counts.add(pass.tokens)
      speeds[i]?.push(pass.tokens / pass.seconds)
    }
  }
  if (counts.size !== 1) throw new Error(`${vocabulary}: the contenders found ${[...counts].join(", ")} tokens`)
  const rows = contenders.map(([name], i) => {
    const sorted = (speeds[i] ?? []).sort((a, b) => a - b)
    return {
      name,
      threads: name.includes("2") ? 2 : 1,
      median: quantile(sorted, 0.5),
      low: quantile(sorted, 0.25),
      high: quantile(sorted, 0.75)
    }
  })
  const reference = (threads: number) =>
    rows.find(row => row.name.startsWith("Rust") && row.threads === threads)?.median
  for (const row of rows) {
    const base = reference(row.threads)
    results.push({
      vocabulary,
      contender: row.name,
      tokens: [...counts][0],
      tokensPerSecond: Math.round(row.median),
      quartiles: [Math.round(row.low), Math.round(row.high)],
      ...(base === undefined ? {} : { ratioToRust: Math.round((row.median / base) * 100) / 100 })
    })
  }
}
rmSync(directory, { recursive: true })

const millions = (value: number): string => (value / 1e6).toFixed(2)
console.log(
  `${texts.length} texts, ${(bytes / 1e6).toFixed(1)} MB; million tokens a second, median and quartiles of ${rounds} passes`
)
console.log(
  table(
    [
      ["vocabulary", "", "M tokens/s", "quartiles", "of Rust, same threads"],
      ...results.map(({ contender, quartiles, ratioToRust, tokensPerSecond, vocabulary }) => [
        vocabulary,
        contender,
        millions(tokensPerSecond),
        quartiles.map(millions).join(" - "),
        ratioToRust === undefined ? "" : `${ratioToRust.toFixed(2)} x`
      ])
    ],
    new Set([2, 3, 4])
  )
)
mkdirSync(join(import.meta.dirname, "results"), { recursive: true })
writeFileSync(
  join(import.meta.dirname, "results/tokenize.json"),
  `${JSON.stringify(
    {
      measured: new Date().toISOString().slice(0, 10),
      node: process.version,
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      cores: cpus().length,
      corpus: {
        name: flags.corpus === undefined ? "sentences of the shipped documents" : basename(flags.corpus),
        texts: texts.length,
        bytes
      },
      rounds,
      results
    },
    undefined,
    2
  )}\n`
)
