/**
 * A checkpoint with the layout of Qwen3.6-27B as released: `pipeline run convert` brings it into a cache and writes it in NF4, and 128 tokens go through that layer by layer. Each part is a process of
 * its own, whose most memory is its own.
 *
 *     node bench/checkpoint.ts [--layers 4] [--without-cache]
 *
 * The files are sparse. Embedding, head and the first four layers hold numbers, and so do all norms and other small tensors; the weights of further layers, of images and of the prediction of several tokens are
 * holes, which are read as zeros. `--layers 64` is the whole, 56 GB of which 8 are on the disk; a cache would copy it: `--without-cache` runs the stage `quantize` on the files where they are.
 */
import { spawn } from "node:child_process"
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync
} from "node:fs"
import { availableParallelism, cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { parseArgs } from "node:util"
import { Effect, Option } from "effect"
import { findModel } from "../src/cli/modelSource.ts"
import { table } from "../src/cli/terminal/style.ts"
import { makeOrt } from "../src/engines/ort/ort.ts"
import { encodeFloats } from "../src/formats/floats.ts"
import { encodeHeader, type TensorSpec } from "../src/formats/safetensors.ts"
import type { NamedFile } from "../src/formats/tensorFiles.ts"
import { openModel } from "../src/models/artifact.ts"
import { type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig, families } from "../src/models/families.ts"
import { initialValues, type ParameterSpec } from "../src/models/parameters.ts"
import { makeLayerwiseModel } from "../src/sessions/layerwise.ts"
import { normals, randomKey } from "../src/tensor/random.ts"
import { elements } from "../src/tensor/Tensor.ts"
import { packedArrays } from "../src/tokens/packing.ts"
import { quantize } from "../stages/quantize.ts"
import { qwen36 } from "./models.ts"

const tokens = 128
/** Layers whose weights hold numbers: one of each kind is among them. */
const filledLayers = 4
/** Of a shard, as other tools of the field cut large models. */
const shardBytes = 5e9
/** Tensors of more numbers are filled block by block. */
const blockSize = 2 ** 20
const goalGiB = 3

const configOf = (layers: number): ModelConfig =>
  Effect.runSync(
    decodeModelConfig({
      ...encodeModelConfig({ ...qwen36, family: "qwen3_5", layers: qwen36.layers.slice(0, layers) })
    })
  )

/** What the released checkpoint holds beside the text model: what sees images, and a layer that predicts the token after the next. */
const passedOver = (depth: number): ReadonlyArray<Omit<TensorSpec, "dtype">> => {
  const [d, inner] = [1152, 4304]
  const block = {
    "norm1.weight": [d],
    "norm1.bias": [d],
    "norm2.weight": [d],
    "norm2.bias": [d],
    "attn.qkv.weight": [3 * d, d],
    "attn.qkv.bias": [3 * d],
    "attn.proj.weight": [d, d],
    "attn.proj.bias": [d],
    "mlp.linear_fc1.weight": [inner, d],
    "mlp.linear_fc1.bias": [inner],
    "mlp.linear_fc2.weight": [d, inner],
    "mlp.linear_fc2.bias": [d]
  }
  const named = (prefix: string, shapes: { readonly [name: string]: ReadonlyArray<number> }) =>
    Object.entries(shapes).map(([name, shape]) => ({ name: `${prefix}.${name}`, shape }))
  return [
    ...named("model.visual", {
      "patch_embed.proj.weight": [d, 3, 2, 16, 16],
      "patch_embed.proj.bias": [d],
      "pos_embed.weight": [2304, d],
      "merger.linear_fc1.weight": [4 * d, 4 * d],
      "merger.linear_fc2.weight": [5120, 4 * d]
    }),
    ...Array.from({ length: depth }, (_, i) => named(`model.visual.blocks.${i}`, block)).flat(),
    ...named("mtp", {
      "fc.weight": [5120, 10_240],
      "norm.weight": [5120],
      "layers.0.mlp.gate_proj.weight": [17_408, 5120],
      "layers.0.mlp.up_proj.weight": [17_408, 5120],
      "layers.0.mlp.down_proj.weight": [5120, 17_408]
    })
  ]
}

/** Numbers of a small tensor: those that are fresh as zeros are not all the same, so that a wrong place shows. */
const smallValues = (spec: ParameterSpec): Float32Array =>
  initialValues(spec.initial === "zeros" ? { ...spec, initial: { normal: 0.1 } } : spec, 1)

/** Writes the folder; returns how large it looks, and what it takes. */
const writeSparse = (directory: string, layers: number) => {
  const config = configOf(layers)
  const { stored } = families.find(({ name }) => name === config.family)!.names!
  const json = {
    ...encodeModelConfig(config),
    vision_config: { depth: 27, hidden_size: 1152, model_type: "qwen3_5_vision" }
  }
  writeFileSync(join(directory, "config.json"), JSON.stringify(json, null, 2))
  copyFileSync(join(import.meta.dirname, "../assets/tokenizer/tokenizer.json"), join(directory, "tokenizer.json"))
  const specs = new Map(parameterSpecs(config).map(spec => [stored(spec.name), spec]))
  const all: ReadonlyArray<TensorSpec> = [
    ...Array.from(specs, ([name, { shape }]) => ({ name, shape })),
    ...passedOver(27)
  ].map(tensor => ({ ...tensor, dtype: "BF16" }))
  const shards: Array<Array<TensorSpec>> = [[]]
  let filled = 0
  for (const tensor of all) {
    const size = 2 * elements(tensor.shape)
    if (filled > 0 && filled + size > shardBytes) {
      shards.push([])
      filled = 0
    }
    shards.at(-1)!.push(tensor)
    filled += size
  }
  const block = normals(randomKey(1, "bench/checkpoint"), blockSize).map(x => x * config.initializerRange)
  const bytes = encodeFloats("BF16", Float32Array.from(block))
  const five = (n: number): string => String(n).padStart(5, "0")
  const places: { [name: string]: string } = {}
  for (const [i, shard] of shards.entries()) {
    const file = `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`
    const { bytes: header, size, tensors } = encodeHeader(shard, [["format", "pt"]])
    const descriptor = openSync(join(directory, file), "w")
    ftruncateSync(descriptor, size)
    writeSync(descriptor, header)
    for (const { name, offset, size: length } of tensors) {
      places[name] = file
      const spec = specs.get(name)
      if (spec === undefined) continue
      const layer = /\.layers\.(\d+)\./.exec(name)?.[1]
      if (length <= 2 * blockSize)
        writeSync(descriptor, encodeFloats("BF16", Float32Array.from(smallValues(spec))), 0, length, offset)
      else if (layer === undefined || Number(layer) < filledLayers)
        for (let at = 0; at < length; at += bytes.length)
          writeSync(descriptor, bytes, 0, Math.min(bytes.length, length - at), offset + at)
    }
    closeSync(descriptor)
  }
  const index = {
    metadata: { total_size: 2 * all.reduce((sum, { shape }) => sum + elements(shape), 0) },
    weight_map: places
  }
  writeFileSync(join(directory, "model.safetensors.index.json"), JSON.stringify(index, null, 2))
  const stats = readdirSync(directory).map(name => statSync(join(directory, name)))
  return {
    shards: shards.length,
    tensors: all.length,
    apparentGB: stats.reduce((sum, { size }) => sum + size, 0) / 1e9,
    onDiskGB: stats.reduce((sum, { blocks }) => sum + 512 * blocks, 0) / 1e9
  }
}

const filesIn = (path: string): ReadonlyArray<NamedFile> =>
  readdirSync(path).map(name => ({ name, path: join(path, name) }))

/** The most memory that a process has had resident so far, GiB. */
const mostGiB = (pid: number | "self"): number => {
  const kib = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
  return kib === undefined ? 0 : Number(kib) / 2 ** 20
}

/** The stage on files where they are, without a cache. */
const quantiseHere = (from: string, to: string) => {
  const named = filesIn(from).map(({ name, path }) => ({ path: name, sha256: "", size: statSync(path).size }))
  const entry = (path: string) => ({ path, sha256: "", size: 0 })
  mkdirSync(to)
  const place = (name: string) => Effect.succeed(join(to, name))
  return quantize.run({
    inputs: { model: { files: named, path: (name: string) => Effect.succeed(join(from, name)) } },
    outputs: {
      model: {
        reserve: place,
        adopt: (path: string) => Effect.sync(() => copyFileSync(join(from, path), join(to, path))),
        write: (path: string, text: string) =>
          Effect.sync(() => {
            writeFileSync(join(to, path), text)
            return entry(path)
          }),
        metadata: () => Effect.void
      }
    },
    parameters: { blockSize: 64, doubleQuant: true },
    progress: () => Effect.void
  } as unknown as Parameters<typeof quantize.run>[0])
}

const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919) % qwen36.vocabSize)

/** 128 tokens layer by layer, and the logits of the last. */
const forward = (files: ReadonlyArray<NamedFile>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const opened = yield* openModel(files)
      const engine = yield* makeOrt()
      const model = yield* makeLayerwiseModel(engine, opened, { rows: 1, length: tokens, causal: true, predictions: 1 })
      const packed = packedArrays([ids], [[0]], { capacity: tokens, pad: 0 })
      const begun = performance.now()
      yield* model.forward(packed)
      const row = yield* model.logits(Int32Array.of(tokens - 1))
      if (!row.every(Number.isFinite)) throw new Error("a logit is not finite")
      return { passSeconds: (performance.now() - begun) / 1000, greatest: row.reduce((a, b) => Math.max(a, b)) }
    })
  )

const parts: { readonly [part: string]: (directory: string) => Promise<object> } = {
  quantise: directory =>
    Effect.runPromise(Effect.as(quantiseHere(join(directory, "model"), join(directory, "nf4")), {})),
  forward: directory => Effect.runPromise(forward(filesIn(join(directory, "nf4")))),
  "forward from the cache": directory =>
    Effect.runPromise(
      Effect.flatMap(findModel("convert/quantize", Option.some(join(directory, "cache"))), ({ files }) =>
        forward(files)
      )
    )
}

const { positionals, values: flags } = parseArgs({
  allowPositionals: true,
  options: { layers: { type: "string", default: "4" }, "without-cache": { type: "boolean", default: false } }
})

const [part, at] = positionals
if (part !== undefined && at !== undefined) {
  const told = await parts[part]!(at)
  const { system, user } = process.cpuUsage()
  console.log(JSON.stringify({ ...told, peakGiB: mostGiB("self"), processorSeconds: (system + user) / 1e6 }))
  process.exit(0)
}

interface Result {
  readonly part: string
  readonly seconds: number
  readonly processorSeconds?: number
  readonly peakGiB: number
  readonly passSeconds?: number
}

const layers = Number(flags.layers)
const directory = mkdtempSync(join(tmpdir(), "bench-checkpoint-"))
const results: Array<Result> = []

/** Runs a process to its end; what it says, and the most memory that it has had. */
const child = (command: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}) =>
  new Promise<{ readonly text: string; readonly seconds: number; readonly peakGiB: number }>((resolve, reject) => {
    const begun = performance.now()
    const started = spawn(process.execPath, command, {
      cwd: directory,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"]
    })
    let [text, peakGiB] = ["", 0]
    started.stdout.on("data", (some: Buffer) => (text += some.toString()))
    const looking = setInterval(() => {
      try {
        peakGiB = Math.max(peakGiB, mostGiB(started.pid!))
      } catch {
        // It has ended.
      }
    }, 50)
    started.on("close", (code, signal) => {
      clearInterval(looking)
      if (code === 0) resolve({ text, seconds: (performance.now() - begun) / 1000, peakGiB })
      else reject(new Error(`${command.join(" ")} ended with ${signal ?? code}: ${text}`))
    })
  })

const add = (result: Result): void => {
  results.push(result)
  console.error(`${result.part}: ${result.seconds.toFixed(0)} s, ${result.peakGiB.toFixed(2)} GiB`)
}

const own = async (name: string): Promise<void> => {
  const { seconds, text } = await child([import.meta.filename, name, directory])
  add({ part: name, seconds, ...(JSON.parse(text) as Omit<Result, "part" | "seconds">) })
}

try {
  const model = join(directory, "model")
  mkdirSync(model)
  const written = writeSparse(model, layers)
  console.error(
    `${written.tensors} tensors in ${written.shards} shards: ${written.apparentGB.toFixed(1)} GB, of which ${written.onDiskGB.toFixed(1)} on the disk`
  )
  if (flags["without-cache"]) {
    await own("quantise")
    await own("forward")
  } else {
    writeFileSync(join(directory, "texts.jsonl"), `${JSON.stringify({ text: "The people of the land." })}\n`)
    writeFileSync(
      join(directory, "big.yaml"),
      `model:\n  model_path: file:${model}\n  enable_qlorafy: true\n  qlorafy_config:\n    r: 4\ndata:\n  train_path: file:texts.jsonl\n  eval_path: file:texts.jsonl\n  max_seq_len: 64\ntrain:\n  lr: 1e-4\n  global_batch_size: 1\n  num_train_epochs: 1\n`
    )
    const cache = join(directory, "cache")
    const program = join(import.meta.dirname, "../bin/pipeline.mjs")
    const run = await child([program, "run", "convert", "--config", "big.yaml", "--only", "quantize", "--cache", cache])
    add({ part: "pipeline run", seconds: run.seconds, peakGiB: run.peakGiB })
    const ledger = new DatabaseSync(join(cache, "ledger.db"), { readOnly: true })
    for (const row of ledger
      .prepare("SELECT label, ended_ms - started_ms AS ms, cpu_ms, peak_kib FROM execution ORDER BY id")
      .all()) {
      const {
        cpu_ms: cpu,
        label,
        ms,
        peak_kib: peak
      } = row as { readonly [name: string]: number } & { readonly label: string }
      add({ part: label, seconds: ms! / 1000, processorSeconds: cpu! / 1000, peakGiB: peak! / 2 ** 20 })
    }
    ledger.close()
    await own("forward from the cache")
  }
  console.log(
    table(
      [
        ["part", "seconds", "processor s", "peak GiB", `below ${goalGiB} GiB`],
        ...results.map(({ part, peakGiB, processorSeconds, seconds }) => [
          part,
          seconds.toFixed(1),
          processorSeconds?.toFixed(1) ?? "",
          peakGiB.toFixed(2),
          peakGiB < goalGiB ? "yes" : "no"
        ])
      ],
      new Set([1, 2, 3])
    )
  )
  const machine = { processor: cpus()[0]?.model, threads: availableParallelism(), node: process.version }
  const file = join(import.meta.dirname, "results/checkpoint.json")
  let earlier: { readonly [how: string]: unknown } = {}
  try {
    earlier = JSON.parse(readFileSync(file, "utf8")) as typeof earlier
  } catch {
    // The first.
  }
  const how = `${layers} layers${flags["without-cache"] ? ", without a cache" : ""}`
  const measured = { date: new Date().toISOString().slice(0, 10), machine, goalGiB, checkpoint: written, results }
  writeFileSync(file, `${JSON.stringify({ ...earlier, [how]: measured }, null, 2)}\n`)
} finally {
  rmSync(directory, { recursive: true })
}
