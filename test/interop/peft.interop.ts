/** Adapters against peft: the same logits in both directions, apart and merged. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { openAdapter, withAdapter, withAdapterConfig, writeAdapter } from "../../src/models/adapter/adapterFiles.ts"
import { adapterSpecs } from "../../src/models/config.ts"
import { fillMagnitudes, mergedTensors } from "../../src/models/adapter/merge.ts"
import type { Adapter } from "../../src/models/linear/linearMaps.ts"
import { allocateParameters } from "../../src/models/parameters.ts"
import type { ArtifactWriter } from "../../src/pipeline/StageContext.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { elements } from "../../src/tensor/Tensor.ts"
import { python } from "./python.ts"
import {
  all,
  denseModel,
  difference,
  filesIn,
  inNf4,
  logitsJob,
  type Model,
  opened,
  ourLogits,
  qwen3,
  tensorsOf,
  written
} from "./smallModels.ts"

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "interop-qlora-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

const outputOf = (name: string): string => join(directory, `${name}.safetensors`)

interface Settings {
  readonly r: number
  readonly lora_alpha: number
  readonly lora_dropout: number
  readonly target_modules: ReadonlyArray<string>
  readonly use_rslora: boolean
  readonly use_dora: boolean
  readonly rank_pattern: { readonly [pattern: string]: number }
  readonly alpha_pattern: { readonly [pattern: string]: number }
  readonly trainable_token_indices?: ReadonlyArray<number>
}
const settings: Settings = {
  r: 4,
  lora_alpha: 6,
  lora_dropout: 0.05,
  target_modules: ["q_proj", "v_proj", "down_proj"],
  use_rslora: false,
  use_dora: false,
  rank_pattern: {},
  alpha_pattern: {}
}
/** In the terms of peft. */
const adapters: { readonly [name: string]: Settings } = {
  LoRA: settings,
  rsLoRA: { ...settings, use_rslora: true },
  DoRA: { ...settings, use_dora: true },
  patterns: {
    ...settings,
    use_rslora: true,
    rank_pattern: { "layers.1.self_attn.q_proj": 5, down_proj: 2 },
    alpha_pattern: { "model.layers.0.mlp.down_proj": 3, ".*\\.layers\\.[12]\\..*down_proj": 9 }
  }
}
/** Rows of the embedding beside; into a tied head peft puts them as well, which is not done here. */
const withTokens = { tokens: { ...settings, trainable_token_indices: [6, 1] } }
const untied = { ...qwen3, tie_word_embeddings: false }

const asOurs = (theirs: Settings): Adapter => ({
  targetModules: theirs.target_modules,
  r: theirs.r,
  alpha: theirs.lora_alpha,
  rankStabilised: theirs.use_rslora,
  dropout: theirs.lora_dropout,
  dora: theirs.use_dora,
  rankPattern: theirs.rank_pattern,
  alphaPattern: theirs.alpha_pattern,
  trainableTokens: theirs.trainable_token_indices ?? []
})

/** Writes an adapter with random numbers. */
const writtenAdapter = (name: string, { config: base, tensors }: Model, adapter: Adapter) =>
  Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: 1 })
    const config = yield* withAdapterConfig(base, adapter)
    const { views } = yield* allocateParameters(engine, adapterSpecs(config))
    yield* fillMagnitudes(engine, { config, tensors }, { specs: adapterSpecs(config), views })
    for (const { name: parameter, shape } of adapterSpecs(config)) {
      const noise = normals(randomKey(6, parameter), elements(shape))
      const now = (yield* engine.download(views[parameter]!)) as Float32Array
      yield* engine.upload(
        views[parameter]!,
        noise.map((x, i) => now[i]! + 0.2 * x)
      )
    }
    const path = join(directory, name)
    mkdirSync(path)
    const output = {
      reserve: (file: string) => Effect.succeed(join(path, file)),
      write: (file: string, content: unknown) => Effect.sync(() => writeFileSync(join(path, file), String(content)))
    } as unknown as ArtifactWriter<never>
    yield* writeAdapter(output, { engine, config, views, base: { nameOrPath: null, revision: null } })
    return path
  })

const adaptedBy = (model: Model, path: string) =>
  Effect.flatMap(openAdapter(filesIn(path)), files => withAdapter(model, files))

describe.each([
  ["dense", qwen3, adapters],
  ["NF4", qwen3, adapters],
  ["dense", untied, withTokens],
  ["NF4", untied, withTokens]
] as const)("over %s weights", (kind, model, tried) => {
  it.live("adapters of peft give its logits here, and ours there, apart and merged", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const dense = yield* denseModel(join(directory, "dense"), model)
        const directoryOf = kind === "dense" ? dense : yield* inNf4(join(directory, "nf4"), yield* opened(dense), true)
        const base = yield* opened(directoryOf)
        const all4 = yield* Effect.forEach(Object.entries(tried), ([name, theirs]) =>
          Effect.gen(function* () {
            const own = yield* writtenAdapter(`own-${name}`, base, asOurs(theirs))
            const adapted = yield* adaptedBy(base, own)
            const merged = yield* written(join(directory, `merged-${name}`), adapted.config, mergedTensors(adapted))
            return { name, theirs, adapted, own, merged, peft: join(directory, `peft-${name}`) }
          })
        )
        python(
          "qlora.py",
          all4.flatMap(({ merged, name, own, peft, theirs }) => [
            logitsJob(outputOf(`peft-${name}`), {
              directory: directoryOf,
              adapt: theirs,
              saveAdapter: peft,
              // To merge into NF4, peft quantises again.
              merged: kind === "dense"
            }),
            logitsJob(outputOf(`own-${name}`), { directory: directoryOf, adapter: own }),
            logitsJob(outputOf(`merged-${name}`), { directory: merged })
          ])
        )
        const there = (name: string, what = "logits") =>
          Effect.flatMap(tensorsOf(outputOf(name)), found => all(found, what))
        const plain = yield* ourLogits(base)
        for (const { adapted, name, peft } of all4) {
          const ours = yield* ourLogits(adapted)
          expect(difference(ours, yield* there(`own-${name}`)), name).toBeLessThan(1e-5)
          expect(difference(ours, yield* there(`merged-${name}`)), name).toBeLessThan(1e-5)
          const ofPeft = yield* there(`peft-${name}`)
          expect(difference(yield* ourLogits(yield* adaptedBy(base, peft)), ofPeft), name).toBeLessThan(1e-5)
          if (kind === "dense")
            expect(difference(yield* there(`peft-${name}`, "merged"), ofPeft), name).toBeLessThan(1e-5)
          // These adapters do something, each something else.
          expect(difference(ours, plain), name).toBeGreaterThan(0.01)
          expect(difference(ours, ofPeft), name).toBeGreaterThan(0.01)
        }
      })
    )
  )
})
