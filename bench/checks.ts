/**
 * What it costs to hash all weights of a model while it is loaded: from an empty process to the first forward pass that has ended, with the checks of an
 * action's inputs and without. Each measurement is a process of its own; the two take turns.
 *
 *     node bench/checks.ts [--model Qwen3-0.6B] [--rounds N]
 *
 * Writes the weights (bfloat16, 1.2 GB) to a temporary directory first. They are in the page cache then, which is the worst case: from a disk, reading takes
 * longer than hashing.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { openTensors } from "../src/formats/tensorFiles.ts"
import { makeOrt } from "../src/engines/ort/ort.ts"
import { parameterSpecs } from "../src/models/config.ts"
import { allocateParameters, parameterInputs } from "../src/models/parameters.ts"
import { forward, logits, weightsOf } from "../src/models/decoder.ts"
import { loadWeights } from "../src/models/weights.ts"
import type { Digest } from "../src/pipeline/Digest.ts"
import { make as makeChecks } from "../src/runner/InputChecks.ts"
import { nodeDisk } from "../src/store/NodeDisk.ts"
import * as Store from "../src/store/Store.ts"
import { input, reshape, sliceAxis } from "../src/tensor/ops.ts"
import { makeProgram } from "../src/tensor/Program.ts"
import { models, writeGenerated } from "./models.ts"

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "Qwen3-0.6B" },
    rounds: { type: "string", default: "5" },
    start: { type: "string" },
    checked: { type: "boolean", default: false }
  }
})
const config = models[values.model]!
const tokens = 128

interface Shard {
  readonly sha256: Digest
  readonly size: number
}

/** One start, in this process: seconds. */
const start = (root: string, shards: ReadonlyArray<Shard>, checked: boolean) =>
  Effect.scoped(
    Effect.gen(function* () {
      const store = Store.make({ root, disk: nodeDisk })
      const checks = makeChecks(store, nodeDisk, [])
      const opened = yield* Effect.forEach(shards, ({ sha256, size }, i) =>
        Effect.map(checked ? checks.open(sha256, sha256, size) : Effect.orDie(store.locate(sha256)), path => ({
          name: `model-${i}.safetensors`,
          path
        }))
      )
      yield* checks.around(
        Effect.gen(function* () {
          const engine = yield* makeOrt()
          const specs = parameterSpecs(config)
          const buffers = yield* allocateParameters(engine, specs)
          yield* loadWeights(engine, buffers, yield* openTensors(opened))
          const weights = weightsOf(config, parameterInputs(specs))
          const { final } = forward(config, weights, input("tokens", "i32", [1, tokens]), { causal: true })
          const last = reshape(sliceAxis(final, 1, tokens - 1, tokens), [1, config.hiddenSize])
          const data = yield* engine.allocate("i32", [1, tokens])
          yield* engine.upload(
            data,
            Int32Array.from({ length: tokens }, (_, i) => i)
          )
          const output = yield* engine.allocate("f32", [1, config.vocabSize])
          const executable = yield* engine.compile(makeProgram({ logits: logits(last, weights) }))
          const call = yield* engine.bind(executable, { ...buffers.views, tokens: data }, { logits: output })
          yield* engine.run([call])
          yield* engine.download(output)
        }).pipe(Effect.scoped, Effect.orDie)
      )
      return performance.now() / 1000
    })
  )

const median = (all: ReadonlyArray<number>) => all.toSorted((a, b) => a - b)[all.length >> 1]!

if (values.start !== undefined) {
  const shards = JSON.parse(readFileSync(join(values.start, "shards.json"), "utf8")) as ReadonlyArray<Shard>
  process.stdout.write(`${await Effect.runPromise(start(join(values.start, "cache"), shards, values.checked))}\n`)
} else {
  const directory = mkdtempSync(join(tmpdir(), "pipeline-bench-"))
  try {
    await Effect.runPromise(writeGenerated(config, directory))
    const store = Store.make({ root: join(directory, "cache"), disk: nodeDisk })
    const shards: Array<Shard> = []
    for (const name of readdirSync(directory).filter(each => each.endsWith(".safetensors"))) {
      const path = join(directory, name)
      const { sha256, size } = await Effect.runPromise(nodeDisk.hash(path))
      await Effect.runPromise(store.publish([{ path, sha256: sha256 as Digest, size }]))
      shards.push({ sha256: sha256 as Digest, size })
    }
    await Effect.runPromise(nodeDisk.write(join(directory, "shards.json"), JSON.stringify(shards)))
    const once = (...args: ReadonlyArray<string>) => {
      const ended = spawnSync(
        process.execPath,
        [import.meta.filename, "--model", values.model, "--start", directory, ...args],
        { encoding: "utf8" }
      )
      if (ended.status !== 0) throw new Error(ended.stderr)
      return Number(ended.stdout)
    }
    once()
    const bare: Array<number> = []
    const checked: Array<number> = []
    for (let round = 0; round < Number(values.rounds); round++) {
      bare.push(once())
      checked.push(once("--checked"))
    }
    const [without, withChecks] = [median(bare), median(checked)]
    process.stdout.write(
      `${values.model}: ${without.toFixed(2)} s without checks, ${withChecks.toFixed(2)} s with (${((withChecks / without - 1) * 100).toFixed(1)} %)\n`
    )
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
