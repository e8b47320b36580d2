/**
 * A layer of a model of 27 B parameters' widths (5120, 17,408; weights are generated): written in NF4, and merged with an adapter of rank 16, each in a process of its own.
 *
 *     node bench/quantise.ts
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { quantisedTensors } from "../src/formats/bitsandbytes.ts"
import {
  openTensors,
  type Saved,
  saveTensors,
  type StoredTensors,
  type TensorFilesError
} from "../src/formats/tensorFiles.ts"
import type { FileError } from "../src/formats/fileError.ts"
import { withAdapterConfig } from "../src/models/adapter/adapterFiles.ts"
import { mergedTensors } from "../src/models/adapter/merge.ts"
import { adapterSpecs, allLinearModules } from "../src/models/config.ts"
import { initialValues } from "../src/models/parameters.ts"
import { quantisedCheckpoint } from "../src/models/quantised.ts"
import { modelOf, qwen3, writeGenerated } from "./models.ts"

const config = modelOf({
  ...qwen3,
  num_hidden_layers: 1,
  num_attention_heads: 64,
  hidden_size: 5120,
  intermediate_size: 17_408,
  vocab_size: 4096
})
const adapter = {
  targetModules: "auto",
  r: 16,
  alpha: 32,
  rankStabilised: true,
  dropout: 0,
  dora: false,
  rankPattern: {},
  alphaPattern: {},
  trainableTokens: []
} as const

const open = (path: string) =>
  Effect.flatMap(openTensors(readdirSync(path).map(name => ({ name, path: join(path, name) }))), quantisedTensors)

/** Tensors as `mergedTensors` reads them, made instead of read. */
const fresh = Effect.map(withAdapterConfig(config, adapter), adapted => {
  const made = adapterSpecs(adapted).map(spec => ({
    ...spec,
    floats: () => Effect.sync(() => initialValues({ ...spec, initial: { normal: 0.02 } }, 1))
  }))
  return { config: adapted, tensors: new Map(made.map(each => [each.name, each])) as unknown as StoredTensors }
})

const parts: {
  readonly [name: string]: (path: string) => Effect.Effect<ReadonlyArray<Saved<FileError | TensorFilesError>>, Error>
} = {
  quantise: path =>
    Effect.gen(function* () {
      const tensors = yield* open(join(path, "dense"))
      return yield* quantisedCheckpoint({ config, tensors }, { blockSize: 64, doubleQuant: true, modules: "auto" })
    }),
  merge: path =>
    Effect.gen(function* () {
      const { config, tensors } = yield* fresh
      return mergedTensors({ config, tensors: new Map([...(yield* open(join(path, "quantise"))), ...tensors]) })
    })
}

const [part, path] = process.argv.slice(2)
if (part === undefined || path === undefined) {
  const directory = mkdtempSync(join(tmpdir(), "bench-quantise-"))
  try {
    mkdirSync(join(directory, "dense"))
    await Effect.runPromise(writeGenerated(config, join(directory, "dense")))
    const results = Object.keys(parts).map(name => {
      mkdirSync(join(directory, name))
      const { stdout } = spawnSync(process.execPath, [import.meta.filename, name, directory], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "inherit"]
      })
      return { name, ...(JSON.parse(stdout) as object) }
    })
    console.table(results)
    writeFileSync(join(import.meta.dirname, "results/quantise.json"), `${JSON.stringify(results, null, 2)}\n`)
  } finally {
    rmSync(directory, { recursive: true })
  }
} else {
  const tensors = await Effect.runPromise(parts[part]!(path))
  await Effect.runPromise(
    saveTensors(name => Effect.succeed(join(path, part, name)), tensors, { format: "BF16", maxFileBytes: 1e9 })
  )
  const weights = allLinearModules(config).reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0)
  const { system, user } = process.cpuUsage()
  console.log(
    JSON.stringify({
      // Machines are shared: the processor's time, start and all.
      processorSeconds: Number(((system + user) / 1e6).toFixed(1)),
      nanosecondsPerWeight: Number(((1000 * (system + user)) / weights).toFixed(1)),
      peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
      largestWeightAsF32MiB: Math.round((4 * 17_408 * 5120) / 2 ** 20)
    })
  )
}
