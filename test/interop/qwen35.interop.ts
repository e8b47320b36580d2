/** Hybrid models against transformers' Qwen3.5: the same files, logits, gradients and continuations. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeTorch } from "../../src/engines/torch/torch.ts"
import { saveTensors } from "../../src/formats/tensorFiles.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { type ForwardOptions, forward, logits, weightsOf } from "../../src/models/decoder.ts"
import { decodeModelConfig, encodeModelConfig, families } from "../../src/models/families.ts"
import { allocateParameters, initialValues, parameterInputs } from "../../src/models/parameters.ts"
import { saveWeights } from "../../src/models/weights.ts"
import { makeCausalWriter } from "../../src/sessions/autoregressive.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { mean, softmaxCrossEntropy } from "../../src/tensor/composites.ts"
import { concat, input, reshape, sliceAxis } from "../../src/tensor/ops.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { makeSession } from "../../src/sessions/session.ts"
import type { MakeEngine } from "../engines/runOnce.ts"
import { configs, load, type Loaded, newTokens, rows, theirs } from "./hybridModels.ts"
import { interpreterVariable, python } from "./python.ts"
import { all, difference, farthest, greatest, tensorsOf } from "./tensors.ts"

const bound = 1e-4

/** Of rows of one length, [rows * length, V]. */
const ourLogits = (
  { config, engine, parameters: { specs, views } }: Loaded,
  tokens: ReadonlyArray<ReadonlyArray<number>>,
  options: ForwardOptions,
  data: { readonly [name: string]: Int32Array } = {}
) =>
  Effect.gen(function* () {
    const [count, length] = [tokens.length, tokens[0]!.length]
    const weights = weightsOf(config, parameterInputs(specs))
    const { final } = forward(config, weights, input("tokens", "i32", [count, length]), options)
    const outputs = { logits: logits(reshape(final, [count * length, config.hiddenSize]), weights) }
    const { run } = yield* makeSession(engine, outputs, views)
    return (yield* run({ tokens: Int32Array.from(tokens.flat()), ...data })).logits
  })

/** Whether ours are theirs, row by row. */
const expectLogits = (model: Loaded, path: string, options: ForwardOptions) =>
  Effect.gen(function* () {
    const expected = yield* tensorsOf(path)
    for (const [i, row] of rows.entries())
      expect(farthest(yield* ourLogits(model, [row], options), yield* all(expected, `logits/${i}`))).toBeLessThan(bound)
  })

describe.each(Object.entries(configs))("%s", (_name, tested) => {
  const { config: json, experts = false, whole } = tested
  let at: ReturnType<typeof theirs>
  beforeAll(() => {
    at = theirs(tested)
  }, 120_000)
  afterAll(() => rmSync(at("."), { recursive: true }))

  it.live("a checkpoint of transformers gives the same logits here", () =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* expectLogits(yield* load(at("f32")), at("causal.safetensors"), { causal: true })
      })
    )
  )

  it.live("on the engine torch the logits are the same as well", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const torch: MakeEngine = () =>
          makeTorch({ python: process.env[interpreterVariable]!, device: "cpu", threads: 2 })
        yield* expectLogits(yield* load(at("f32"), torch), at("causal.safetensors"), { causal: true })
      })
    )
  )

  it.live("documents in one row, and padding behind them, give the logits of each by itself", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const padding = 10
        const length = rows.flat().length + padding
        const place = (f: (document: number, i: number) => number, pad: number): Int32Array =>
          Int32Array.from([
            ...rows.flatMap((row, r) => row.map((_, i) => f(r, i))),
            ...Array<number>(padding).fill(pad)
          ])
        const found = yield* ourLogits(
          yield* load(at("f32")),
          [[...rows.flat(), ...Array<number>(padding).fill(0)]],
          {
            causal: true,
            segmentIds: input("segmentIds", "i32", [1, length]),
            positions: input("positions", "i32", [1, length])
          },
          { segmentIds: place(document => document, -1), positions: place((_, i) => i, 0) }
        )
        const stored = yield* tensorsOf(at("causal.safetensors"))
        const expected = (yield* Effect.forEach(rows, (_, i) => all(stored, `logits/${i}`))).flatMap(row => [...row])
        expect(farthest(found.subarray(0, expected.length), Float32Array.from(expected))).toBeLessThan(bound)
      })
    )
  )

  it.live("the most likely continuations, token by token from caches, are the same", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { config, engine, parameters } = yield* load(at("f32"))
        const stored = yield* tensorsOf(at("causal.safetensors"))
        const model = {
          config,
          parameters: parameters.views,
          tokenizer: { ends: new Set<number>(), maskId: -1, padId: 0 }
        }
        const { write } = yield* makeCausalWriter(engine, model, { rows: 1, length: 200 })
        const { texts } = yield* write({ prompts: rows, newTokens, sampling: { temperature: 0 }, seed: 1 })
        for (const [i, { tokens }] of texts.entries())
          expect([...tokens]).toEqual([...(yield* all(stored, `generated/${i}`))])
      })
    )
  )

  it.live("where attention alone sees all of a row, the logits are the same", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const model = yield* load(at("f32"))
        yield* expectLogits(model, at("bidirectional.safetensors"), { causal: false })
        const [row] = yield* all(yield* tensorsOf(at("bidirectional.safetensors")), "logits/0").pipe(
          Effect.map(x => [x])
        )
        expect(farthest(yield* ourLogits(model, [rows[0]!], { causal: true }), row!)).toBeGreaterThan(0.01)
      })
    )
  )

  it.live("in 16 bits and in shards, beside weights that have no use here, the logits are the same", () =>
    Effect.scoped(
      Effect.gen(function* () {
        expect(readdirSync(at("bf16")).filter(name => name.endsWith(".safetensors")).length).toBeGreaterThan(2)
        // As released, where it predicts the token after the next.
        yield* saveTensors(
          () => Effect.succeed(join(at("bf16"), "mtp.safetensors")),
          [{ name: "mtp.fc.weight", shape: [2], floats: Effect.succeed(Float32Array.of(1, 2)) }],
          { format: "BF16" }
        )
        yield* expectLogits(yield* load(at("bf16")), at("bf16.safetensors"), { causal: true })
      })
    )
  )

  it.live("a checkpoint of ours gives the same logits there; loss and gradients are equal", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const path = at("ours")
        mkdirSync(path)
        const family = experts ? "qwen3_5_moe" : "qwen3_5"
        const fields = whole
          ? { model_type: family, text_config: json, tie_word_embeddings: false }
          : { model_type: `${family}_text`, ...json }
        const config = yield* decodeModelConfig(fields)
        const engine = yield* makeOrt({ threads: 2 })
        const parameters = yield* allocateParameters(engine, parameterSpecs(config))
        const { specs, views } = parameters
        for (const spec of specs) {
          // Fresh norms and the like are 1 or 0, where mistakes do not show.
          const noise = spec.shape.length === 1 ? normals(randomKey(12, spec.name), spec.shape[0]!) : undefined
          // A router by which experts are chosen by a hair would leave it to rounding.
          const scale = spec.name.endsWith("mlp.gate.weight") ? 0.5 / config.initializerRange : 1
          const values = initialValues(spec, 11).map((value, i) => scale * value + 0.2 * (noise?.[i] ?? 0))
          yield* engine.upload(views[spec.name]!, values)
        }
        writeFileSync(join(path, "config.json"), JSON.stringify(encodeModelConfig(config)))
        const place = (name: string) => Effect.succeed(join(path, name))
        const stored = families.find(({ name }) => name === config.family)!.names!.stored
        yield* saveWeights(engine, place, parameters, { format: "F32", maxFileBytes: 50_000 }, stored)
        const output = at("gradients.safetensors")
        python("qwen35.py", [{ action: "run", directory: path, rows, output, gradients: true }])
        yield* expectLogits({ engine, config, parameters }, output, { causal: true })

        const parameter = parameterInputs(specs)
        const weights = weightsOf(config, parameter)
        const predicting = rows.map((row, i) => {
          const { final } = forward(config, weights, input(`row ${i}`, "i32", [1, row.length]), { causal: true })
          return sliceAxis(reshape(final, [row.length, config.hiddenSize]), 0, 0, row.length - 1)
        })
        const targets = rows.flatMap(row => row.slice(1))
        const loss = mean(
          softmaxCrossEntropy(logits(concat(predicting, 0), weights), input("targets", "i32", [targets.length]))
        )
        const found = gradients(
          loss,
          specs.map(({ name }) => parameter(name))
        )
        const session = yield* makeSession(
          engine,
          { loss, ...Object.fromEntries(specs.map(({ name }, i) => [`gradient/${name}`, found[i]!])) },
          views
        )
        const made: { readonly [name: string]: Float32Array } = yield* session.run({
          ...Object.fromEntries(rows.map((row, i) => [`row ${i}`, Int32Array.from(row)])),
          targets: Int32Array.from(targets)
        })
        const expected = yield* tensorsOf(output)
        expect(difference(made["loss"]!, yield* all(expected, "loss"))).toBeLessThan(1e-5)
        const each = yield* Effect.forEach(specs, ({ name }) => all(expected, `gradient/${name}`))
        const largest = Math.max(...each.map(greatest))
        // A layer whose state fades at once has next to no gradient for how fast it does: there rounding decides, in transformers too (0.7 % from float64).
        for (const [i, { name }] of specs.entries())
          expect(farthest(made[`gradient/${name}`]!, each[i]!), name).toBeLessThan(
            bound * greatest(each[i]!) + 1e-6 * largest
          )
      })
    )
  )
})
