/**
 * A forward pass of 128 tokens through models of real sizes with generated weights: all weights in memory, and layer by layer from their
 * files. Each measurement is a process of its own, so that its peak memory is its own.
 *
 *     node bench/forward.ts [--models Qwen3-0.6B,Qwen3-1.7B] [--rounds N]
 *
 * Writes the weights (bfloat16, up to 3.5 GB) to a temporary directory first.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { availableParallelism, cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { table } from "../src/cli/terminal/style.ts"
import { packedArrays } from "../src/tokens/packing.ts"
import { openTensors } from "../src/formats/tensorFiles.ts"
import { makeOrt } from "../src/engines/ort/ort.ts"
import { matmulPeak } from "../src/engines/matmulPeak.ts"
import { countParameters, type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { makeLayerwiseModel } from "../src/sessions/layerwise.ts"
import { allocateParameters, parameterInputs } from "../src/models/parameters.ts"
import { forward, logits, weightsOf } from "../src/models/decoder.ts"
import { loadWeights } from "../src/models/weights.ts"
import { input, reshape, sliceAxis } from "../src/tensor/ops.ts"
import { makeProgram } from "../src/tensor/Program.ts"
import { models, qwen3, writeGenerated } from "./models.ts"

const modes = ["in memory", "layer by layer"] as const
const tokens = 128

interface Measured {
  readonly loadSeconds: number
  /** Of each round. */
  readonly milliseconds: ReadonlyArray<number>
  readonly peakMiB: number
  /** GFLOP/s of a product of f32 matrices in the same process. */
  readonly matmulPeak: number
  /** Of the last token's logits: the two modes must agree. */
  readonly greatest: number
}

const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919) % qwen3.vocab_size)

const measure = (config: ModelConfig, directory: string, mode: (typeof modes)[number], rounds: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt()
      const { perSecond } = yield* matmulPeak(engine)
      const files = readdirSync(directory).map(name => ({ name, path: join(directory, name) }))
      const tensors = yield* openTensors(files)
      const begun = performance.now()
      const once = yield* mode === "in memory"
        ? Effect.gen(function* () {
            const specs = parameterSpecs(config)
            const buffers = yield* allocateParameters(engine, specs)
            yield* loadWeights(engine, buffers, tensors)
            const weights = weightsOf(config, parameterInputs(specs))
            const { final } = forward(config, weights, input("tokens", "i32", [1, tokens]), { causal: true })
            const last = reshape(sliceAxis(final, 1, tokens - 1, tokens), [1, config.hiddenSize])
            const program = makeProgram({ logits: logits(last, weights) })
            const data = yield* engine.allocate("i32", [1, tokens])
            yield* engine.upload(data, ids)
            const output = yield* engine.allocate("f32", [1, config.vocabSize])
            const executable = yield* engine.compile(program)
            const call = yield* engine.bind(executable, { ...buffers.views, tokens: data }, { logits: output })
            return Effect.andThen(
              engine.run([call]),
              Effect.map(engine.download(output), row => row as Float32Array)
            )
          })
        : Effect.gen(function* () {
            const model = yield* makeLayerwiseModel(
              engine,
              { config, json: {}, tensors },
              {
                rows: 1,
                length: tokens,
                causal: true,
                predictions: 1
              }
            )
            const packed = packedArrays([ids], [[0]], { capacity: tokens, pad: 0 })
            return Effect.andThen(model.forward(packed), model.logits(Int32Array.of(tokens - 1)))
          })
      const loadSeconds = (performance.now() - begun) / 1000
      let row = yield* once
      const milliseconds: Array<number> = []
      for (let round = 0; round < rounds; round++) {
        const start = performance.now()
        row = yield* once
        milliseconds.push(performance.now() - start)
      }
      return {
        loadSeconds,
        milliseconds,
        peakMiB: process.resourceUsage().maxRSS / 1024,
        matmulPeak: perSecond / 1e9,
        greatest: row.reduce((most, x) => Math.max(most, x), -Infinity)
      } satisfies Measured
    })
  )

const { values: flags } = parseArgs({
  options: {
    models: { type: "string", default: Object.keys(models).join(",") },
    rounds: { type: "string", default: "5" },
    // How this program calls itself.
    child: { type: "string" },
    directory: { type: "string" }
  }
})
const rounds = Number(flags.rounds)

if (flags.child !== undefined) {
  const { mode, model } = JSON.parse(flags.child) as { readonly model: string; readonly mode: (typeof modes)[number] }
  const measured = await Effect.runPromise(measure(models[model]!, flags.directory!, mode, rounds))
  console.log(JSON.stringify(measured))
  process.exit(0)
}

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
const results: Array<{ readonly model: string; readonly mode: string; readonly parameters: number } & Measured> = []
for (const model of flags.models.split(",")) {
  const config = models[model]
  if (config === undefined) throw new Error(`there is no ${model}; there are ${Object.keys(models).join(", ")}`)
  const directory = mkdtempSync(join(tmpdir(), "bench-forward-"))
  try {
    await Effect.runPromise(writeGenerated(config, directory))
    for (const mode of modes) {
      const child = spawnSync(
        process.execPath,
        [
          import.meta.filename,
          "--child",
          JSON.stringify({ model, mode }),
          "--directory",
          directory,
          "--rounds",
          flags.rounds
        ],
        { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 24 }
      )
      if (child.status !== 0) throw new Error(`${model}, ${mode}: ended with ${child.signal ?? child.status}`)
      results.push({ model, mode, parameters: countParameters(config), ...(JSON.parse(child.stdout) as Measured) })
      console.error(`${model}, ${mode}: done`)
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const rows = results.map(({ loadSeconds, matmulPeak: peak, milliseconds, mode, model, parameters, peakMiB }) => {
  const config = models[model]!
  const ms = median(milliseconds)
  // Two operations per weight and token; the embedding is only looked up, and the head reads one token.
  const embedding = config.vocabSize * config.hiddenSize
  const flops = 2 * ((parameters - embedding) * tokens + embedding)
  return [
    model,
    mode,
    loadSeconds.toFixed(1),
    ms.toFixed(0),
    `${Math.min(...milliseconds).toFixed(0)}–${Math.max(...milliseconds).toFixed(0)}`,
    ((tokens / ms) * 1000).toFixed(1),
    `${((100 * flops) / (ms / 1000) / (peak * 1e9)).toFixed(0)} %`,
    peakMiB.toFixed(0)
  ]
})
console.log(
  table(
    [["model", "weights", "load s", "ms (median)", "range", "tok/s", "of matmul peak", "peak MiB"], ...rows],
    new Set([2, 3, 4, 5, 6, 7])
  )
)
const folder = join(import.meta.dirname, "results")
if (!existsSync(folder)) mkdirSync(folder)
const machine = { processor: cpus()[0]?.model, threads: availableParallelism(), node: process.version }
writeFileSync(
  join(folder, "forward.json"),
  `${JSON.stringify({ date: new Date().toISOString().slice(0, 10), machine, tokens, results }, null, 2)}\n`
)
