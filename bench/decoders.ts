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

const keep = (file: string, results: object) => {
  const folder = join(import.meta.dirname, "results")
  mkdirSync(folder, { recursive: true })
  const where = { date: new Date().toISOString().slice(0, 10), processor: cpus()[0]?.model, node: process.version }
  writeFileSync(join(folder, file), `${JSON.stringify({ ...where, threads, ...results }, null, 2)}\n`)
}
const print = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>) =>
  process.stdout.write(`${table([head, ...rows], new Set(head.map((_, i) => i).slice(1)))}\n`)
const percent = (share: number | undefined): string => (share === undefined ? "" : `${(100 * share).toFixed(0)} %`)

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
    const { decoders, fastDllm, peaks } = await Effect.runPromise(
      speeds(name, config, { rounds, threads, newTokens, checkout })
    )
    keep(`decoders-${name}${checkout === undefined ? "" : "-fast-dllm"}.json`, {
      peaks,
      ...(fastDllm === undefined ? {} : { fastDllm }),
      results: decoders
    })
    if (fastDllm !== undefined)
      print(
        [`${name}: texts of ours and of Fast-dLLM`, "passes, ours", "theirs", "same tokens"],
        fastDllm.compared.map(({ agreement, decoder, passes }) => [
          decoder,
          String(passes.ours),
          String(passes.theirs),
          `${agreement.same} of ${agreement.tokens}`
        ])
      )
    print(
      [
        `${name}, ${newTokens} tokens`,
        "passes",
        "tok/pass",
        "ms/pass",
        "tok/s",
        "to plain",
        "GFLOP",
        "GB",
        "of matmul peak",
        "of roofline",
        ...(checkout === undefined ? [] : ["same tokens"])
      ],
      decoders.map(({ agreement, needed, ...each }) => [
        each.decoder,
        String(each.passes),
        each.tokensPerForward.toFixed(1),
        each.msPerPass.toFixed(2),
        each.tokensPerSecond.toFixed(0),
        `${(each.tokensPerSecond / decoders[0]!.tokensPerSecond).toFixed(2)} x`,
        needed.gflop.toFixed(0),
        needed.gigabytes.toFixed(1),
        percent(each.shareOfPeak),
        percent(each.shareOfRoofline),
        ...(checkout === undefined ? [] : [agreement === undefined ? "" : `${agreement.same} of ${agreement.tokens}`])
      ])
    )
    process.stdout.write(
      `peaks: ${(peaks.matmul / 1e9).toFixed(0)} GFLOP/s, ${(peaks.bandwidth / 1e9).toFixed(1)} GB/s\n\n`
    )
  }
} else {
  const found = await Effect.runPromise(answers(flags.model, { most: Number(flags.problems), threads }))
  keep("decoders-answers.json", { results: found })
  print(
    ["decoder", "threshold", "right", "tok/pass", "tok/s"],
    found.map(each => [
      each.decoder,
      String(each.threshold),
      `${(100 * each.right).toFixed(1)} %`,
      each.tokensPerForward.toFixed(2),
      each.tokensPerSecond.toFixed(0)
    ])
  )
}
