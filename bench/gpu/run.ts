/**
 * The first figures of a GPU, in one command without a network: peaks of the device, and forward passes, diffusion decoding and training steps of models of
 * real sizes with generated weights, beside Hugging Face transformers (eager and compiled) on the same device in the same run.
 *
 *     node bench/gpu/run.ts [--python PATH] [--models Qwen3-0.6B,Qwen3-1.7B] [--precision bf16] [--rounds N] [--no-training] [--no-peer]
 *     node bench/gpu/run.ts --tiny     every step of it on the processor, with sizes that mean nothing
 *
 * On a GPU it writes `gpu.json` and `gpu.md` to bench/results/, or to the directory that `--output` names; elsewhere only where `--output` asks for it.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { type Precision, precisions, torchDevice } from "../../src/engines/names.ts"
import { findPython, pythonVariable } from "../../src/engines/torch/python.ts"
import type { ModelConfig } from "../../src/models/config.ts"
import { models, modelOf, qwen3, writeGenerated } from "../models.ts"
import type { Measured, Task } from "./measured.ts"
import { measureOurs, measurePeaks } from "./ours.ts"
import { type Contender, markdown, type Report } from "./summary.ts"

const { values: flags } = parseArgs({
  allowNegative: true,
  options: {
    python: { type: "string" },
    device: { type: "string" },
    models: { type: "string", default: Object.keys(models).join(",") },
    precision: { type: "string" },
    rounds: { type: "string" },
    training: { type: "boolean", default: true },
    peer: { type: "boolean", default: true },
    compiled: { type: "boolean" },
    tiny: { type: "boolean", default: false },
    output: { type: "string" }
  }
})
if (flags.python !== undefined) process.env[pythonVariable] = flags.python

const { tiny } = flags
const device = flags.device ?? (tiny ? "cpu" : torchDevice())
const gpu = device.startsWith("cuda")
if (!gpu && !tiny)
  throw new Error("there is no NVIDIA GPU here; --tiny runs every step on the processor, with sizes that mean nothing")
const precision = precisions.find(each => each === (flags.precision ?? (gpu ? "bf16" : "f32")))
if (precision === undefined) throw new Error(`--precision is one of ${precisions.join(", ")}`)
/** Two compiled contenders take minutes on a processor. */
const compiled = flags.compiled ?? gpu

const tinyModel = modelOf({
  ...qwen3,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 301
})
const sizes = tiny
  ? {
      models: { tiny: tinyModel },
      tokens: 16,
      prompt: 4,
      newTokens: 12,
      steps: [2, 4],
      rows: 2,
      length: 16,
      matrix: 128
    }
  : {
      models: Object.fromEntries(
        flags.models.split(",").map(name => {
          const config = models[name]
          if (config === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(models).join(", ")}`)
          return [name, config]
        })
      ),
      tokens: 128,
      prompt: 8,
      newTokens: 128,
      steps: [8, 16, 32, 64, 128],
      rows: 4,
      length: 512,
      matrix: 8192
    }
const threads = gpu ? undefined : 2

/** Tokens that differ, none of them the mask, which is the last. */
const someTokens = (n: number, { vocabSize }: ModelConfig): ReadonlyArray<number> =>
  Array.from({ length: n }, (_, i) => (i * 7919 + 13) % (vocabSize - 1))

const taskOf = (config: ModelConfig): Omit<Task, "directory"> => ({
  config,
  device,
  precision,
  compiled,
  threads,
  tokens: someTokens(sizes.tokens, config),
  decode: {
    prompt: someTokens(sizes.prompt, config),
    newTokens: sizes.newTokens,
    steps: sizes.steps,
    mask: config.vocabSize - 1
  },
  training: flags.training ? { rows: sizes.rows, length: sizes.length, vocabSize: config.vocabSize } : undefined,
  warmUp: tiny ? 1 : 4,
  rounds: Number(flags.rounds ?? (tiny ? 2 : 20)),
  seconds: 5,
  leastRounds: 5
})

interface Peer extends Measured {
  readonly torch: string
  readonly transformers: string
}

const measurePeer = (task: Task): Peer | { readonly error: string } => {
  const child = spawnSync(findPython(), [join(import.meta.dirname, "peer.py")], {
    input: JSON.stringify(task),
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    env: { ...process.env, HF_HUB_OFFLINE: "1" }
  })
  if (child.status === 0) return JSON.parse(child.stdout.trim().split("\n").at(-1)!) as Peer
  return { error: child.stderr.trim().split("\n").at(-1) ?? `ended with ${child.signal ?? child.status}` }
}

const contenders: Array<Contender> = []
const machine: { [what: string]: string | number | null } = {}
const say = (text: string): void => void process.stderr.write(`${text}\n`)

say("peaks")
const products: ReadonlyArray<Precision> = gpu ? precisions : ["f32"]
const peaks = await Effect.runPromise(
  Effect.scoped(measurePeaks({ device, compiled, threads }, products, sizes.matrix))
)
for (const [model, config] of Object.entries(sizes.models)) {
  const directory = mkdtempSync(join(tmpdir(), "bench-gpu-"))
  try {
    say(`${model}: writing weights`)
    await Effect.runPromise(writeGenerated(config, directory))
    const task = taskOf(config)
    say(`${model}: pipeline`)
    const ours = await Effect.runPromise(Effect.scoped(measureOurs({ ...task, directory })))
    machine["device"] = gpu ? ours.started.device : (cpus()[0]?.model ?? "processor")
    machine["memory (bytes)"] = ours.started.memory
    machine["compute capability"] = ours.started.capability
    machine["PyTorch"] = ours.info.torch
    machine["CUDA"] = ours.info.cuda
    machine["node"] = process.version
    contenders.push({ model, name: `pipeline${compiled ? "" : ", eager"}`, task, measured: ours.measured })
    for (const each of flags.peer ? [false, ...(compiled ? [true] : [])] : []) {
      const name = `transformers, ${each ? "compiled" : "eager"}`
      say(`${model}: ${name}`)
      const measured = measurePeer({ ...task, directory, compiled: each })
      if ("transformers" in measured) machine["transformers"] = measured.transformers
      contenders.push({ model, name, task: { ...task, compiled: each }, measured })
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const report: Report = { date: new Date().toISOString().slice(0, 10), dry: tiny, machine, peaks, contenders }
const text = markdown(report)
console.log(text)
const output = flags.output ?? (gpu ? join(import.meta.dirname, "../results") : undefined)
if (output !== undefined) {
  mkdirSync(output, { recursive: true })
  writeFileSync(join(output, "gpu.json"), `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(join(output, "gpu.md"), text)
}
