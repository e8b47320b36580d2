/**
 * Decoders beside each other, turn by turn in one run: plain masked diffusion, blocks without a cache and with each, blocks of a model that attends by blocks, and token by token, here and by
 * transformers (PyTorch); on request those of Fast-dLLM, too.
 *
 *     node bench/decoders.ts [--rounds N] [--models 3.6M,29M] [--threads N] [--tokens N] [--fast-dllm DIRECTORY]
 *     node bench/decoders.ts --model DIRECTORY [--problems N] [--threads N]
 *
 * The first: 512 tokens by random weights, always four of a block in a pass, so that decoders do the same work. The second: a trained diffusion model answers problems of the shipped tasks by
 * thresholds; how many are right stands beside the speed. PyTorch is that of the environment that `npm run test:interop` makes; `INTEROP_PYTHON` names another. `--fast-dllm`: a checkout of its code
 * (bench/README.md).
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { table } from "../src/cli/terminal/style.ts"
import { answers } from "./decoders/answers.ts"
import { checkoutOf } from "./decoders/fastDllm.ts"
import { speeds } from "./decoders/speeds.ts"
import { reportOf, type Table, tablesOf } from "./decoders/tables.ts"
import { smallModels } from "./models.ts"

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    models: { type: "string", default: "3.6M,29M" },
    threads: { type: "string", default: "2" },
    tokens: { type: "string", default: "512" },
    "fast-dllm": { type: "string" },
    model: { type: "string" },
    problems: { type: "string", default: "100" }
  }
})
const [rounds, threads, newTokens] = [flags.rounds, flags.threads, flags.tokens].map(Number) as [number, number, number]

const where = {
  date: new Date().toISOString().slice(0, 10),
  processor: cpus()[0]?.model.trim(),
  node: process.version,
  threads
}
const write = (file: string, text: string) => {
  const folder = join(import.meta.dirname, "results")
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, file), text)
}
const keep = (file: string, results: object) => write(file, `${JSON.stringify({ ...where, ...results }, null, 2)}\n`)
const print = ({ head, rows }: Table) =>
  process.stdout.write(`${table([head, ...rows], new Set(head.map((_, i) => i).slice(1)))}\n`)

const directory = flags["fast-dllm"]
if (flags.model !== undefined && directory !== undefined)
  throw new Error(
    "--fast-dllm does not go with --model: its decoders read one text at a time, and no model whose tokens are predicted from the place before"
  )
if (flags.model === undefined) {
  const checkout = directory === undefined ? undefined : checkoutOf(directory)
  for (const name of flags.models.split(",")) {
    const config = smallModels[name]
    if (config === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(smallModels).join(", ")}`)
    const found = await Effect.runPromise(speeds(name, config, { rounds, threads, newTokens, checkout }))
    const { decoders, fastDllm, peaks } = found
    keep(`decoders-${name}.json`, { peaks, ...(fastDllm === undefined ? {} : { fastDllm }), results: decoders })
    const tables = tablesOf(name, newTokens, found)
    for (const each of tables) print(each)
    const machine = `peaks: ${(peaks.matmul / 1e9).toFixed(0)} GFLOP/s, ${(peaks.bandwidth / 1e9).toFixed(1)} GB/s`
    process.stdout.write(`${machine}\n\n`)
    write(
      `decoders-${name}.md`,
      reportOf(`${where.date}, ${where.processor}, ${threads} threads, Node ${where.node}; ${machine}`, tables)
    )
  }
} else {
  const found = await Effect.runPromise(answers(flags.model, { most: Number(flags.problems), threads }))
  keep("decoders-answers.json", { results: found })
  print({
    head: ["decoder", "threshold", "right", "tok/pass", "tok/s"],
    rows: found.map(each => [
      each.decoder,
      String(each.threshold),
      `${(100 * each.right).toFixed(1)} %`,
      each.tokensPerForward.toFixed(2),
      each.tokensPerSecond.toFixed(0)
    ])
  })
}
