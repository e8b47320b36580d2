/**
 * The first figures of a GPU, in one command without a network: peaks of the device, and forward passes, diffusion decoding and training steps of models of
 * real sizes with generated weights, beside Hugging Face transformers (eager and compiled) on the same device in the same run.
 *
 *     node bench/gpu/run.ts [--python PATH] [--models Qwen3-0.6B,Qwen3-1.7B] [--precision bf16] [--rounds N] [--no-training] [--no-peer]
 *     node bench/gpu/run.ts --nf4      Qwen3.6-27B in NF4: the same, steps of an adapter, and those aligned with the base, beside transformers with bitsandbytes and PEFT
 *     node bench/gpu/run.ts [--nf4] --tiny     every step of it on the processor, with sizes that mean nothing
 *
 * On a GPU it writes `gpu.json` and `gpu.md` (`gpu-nf4.json` and `gpu-nf4.md`) to bench/results/, or to the directory that `--output` names; elsewhere only where `--output` asks for it.
 * Models are written to the system's folder for temporary files (TMPDIR); the one in NF4 has 18 GB.
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
import { writeGenerated } from "../models.ts"
import type { Measured, Task } from "./measured.ts"
import { measureOurs } from "./ours.ts"
import { measurePeaks } from "./peaks.ts"
import { adapterFor, realDense, realNf4, type Sizes, tinyDense, tinyNf4 } from "./sizes.ts"
import { type Contender, markdown, type Report } from "./summary.ts"

const { values: flags } = parseArgs({
  allowNegative: true,
  options: {
    python: { type: "string" },
    device: { type: "string" },
    models: { type: "string" },
    precision: { type: "string" },
    rounds: { type: "string" },
    training: { type: "boolean", default: true },
    peer: { type: "boolean", default: true },
    compiled: { type: "boolean" },
    nf4: { type: "boolean", default: false },
    tiny: { type: "boolean", default: false },
    output: { type: "string" }
  }
})
if (flags.python !== undefined) process.env[pythonVariable] = flags.python

const { nf4, tiny } = flags
const device = flags.device ?? (tiny ? "cpu" : torchDevice())
const gpu = device.startsWith("cuda")
if (!gpu && !tiny)
  throw new Error("there is no NVIDIA GPU here; --tiny runs every step on the processor, with sizes that mean nothing")
const precision = precisions.find(each => each === (flags.precision ?? (gpu ? "bf16" : "f32")))
if (precision === undefined) throw new Error(`--precision is one of ${precisions.join(", ")}`)
/** Two compiled contenders take minutes on a processor, and one of 64 layers does on a GPU. */
const compiled = flags.compiled ?? (gpu && !nf4)

const sizes: Sizes = (nf4 ? (tiny ? tinyNf4 : realNf4) : tiny ? tinyDense : realDense)(flags.models?.split(","))
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
  trainings: flags.training ? sizes.trainings : {},
  ...(nf4 ? { adapter: adapterFor(config) } : {}),
  warmUp: tiny ? 1 : 4,
  rounds: Number(flags.rounds ?? (tiny ? 2 : 20)),
  seconds: 5,
  leastRounds: 5
})

interface Peer extends Measured {
  readonly torch: string
  readonly transformers: string
  readonly bitsandbytes?: string
  readonly peft?: string
}

const measurePeer = (task: Task): Peer | { readonly error: string } => {
  const child = spawnSync(findPython(), [join(import.meta.dirname, "peer.py")], {
    input: JSON.stringify(task),
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    env: { ...process.env, HF_HUB_OFFLINE: "1" }
  })
  if (child.status === 0) return JSON.parse(child.stdout.trim().split("\n").at(-1)!) as Peer
  return { error: child.stderr.trim().split("\n").at(-1) || `ended with ${child.signal ?? child.status}` }
}

const contenders: Array<Contender> = []
const machine: { [what: string]: string | number | null } = {}
const say = (text: string): void => void process.stderr.write(`${text}\n`)

say("peaks")
const products: ReadonlyArray<Precision> = gpu ? precisions : ["f32"]
const { info, peaks, started } = await Effect.runPromise(
  measurePeaks({ device, compiled, threads }, products, sizes.matrix)
)
machine["device"] = gpu ? started.device : (cpus()[0]?.model ?? "processor")
machine["memory (bytes)"] = started.memory
machine["compute capability"] = started.capability
machine["PyTorch"] = info.torch
machine["CUDA"] = info.cuda
machine["node"] = process.version
for (const [model, config] of Object.entries(sizes.models)) {
  const directory = mkdtempSync(join(tmpdir(), "bench-gpu-"))
  try {
    say(`${model}: writing weights`)
    await Effect.runPromise(writeGenerated(config, directory))
    const task = taskOf(config)
    say(`${model}: pipeline`)
    const measured = await Effect.runPromise(measureOurs({ ...task, directory }))
    contenders.push({ model, name: `pipeline${compiled ? "" : ", eager"}`, task, measured })
    for (const each of flags.peer ? [false, ...(compiled && !nf4 ? [true] : [])] : []) {
      const name = `transformers${nf4 ? " and bitsandbytes" : ""}, ${each ? "compiled" : "eager"}`
      say(`${model}: ${name}`)
      const measured = measurePeer({ ...task, directory, compiled: each })
      if ("transformers" in measured)
        for (const library of ["transformers", "bitsandbytes", "peft"] as const)
          if (measured[library] !== undefined) machine[library] = measured[library]
      contenders.push({ model, name, task: { ...task, compiled: each }, measured })
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const report: Report = {
  date: new Date().toISOString().slice(0, 10),
  command: `node bench/gpu/run.ts${nf4 ? " --nf4" : ""}`,
  dry: tiny,
  machine,
  peaks,
  contenders
}
const text = markdown(report)
console.log(text)
const output = flags.output ?? (gpu ? join(import.meta.dirname, "../results") : undefined)
if (output !== undefined) {
  mkdirSync(output, { recursive: true })
  const name = nf4 ? "gpu-nf4" : "gpu"
  writeFileSync(join(output, `${name}.json`), `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(join(output, `${name}.md`), text)
}
