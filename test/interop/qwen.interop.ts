/** Models and training steps against PyTorch and transformers. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig } from "../../src/models/families.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { forward, logits, weightsOf } from "../../src/models/decoder.ts"
import { loadWeights, saveWeights } from "../../src/models/weights.ts"
import { input, reshape } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { openLog } from "../../src/training/log.ts"
import { python } from "./python.ts"
import { all, difference, tensorsIn, tensorsOf } from "./tensors.ts"

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "interop-qwen-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

const qwen3 = {
  model_type: "qwen3",
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 101,
  rope_theta: 10000,
  tie_word_embeddings: true,
  max_position_embeddings: 64
}
const configs: { readonly [name: string]: { readonly [field: string]: unknown } } = {
  "Qwen3, tied": qwen3,
  "Qwen3, untied": { ...qwen3, tie_word_embeddings: false, attention_bias: true, rms_norm_eps: 1e-5 },
  Qwen2: { ...qwen3, model_type: "qwen2", head_dim: 12, tie_word_embeddings: false },
  "Qwen2, tied": { ...qwen3, model_type: "qwen2", head_dim: 12, num_key_value_heads: 4 }
}

const [rows, length] = [3, 24]
const tokens = Array.from({ length: rows }, (_, r) =>
  Array.from({ length }, (_token, i) => (r * 37 + i * i * 5 + i) % 101)
)

const ourLogits = (config: ModelConfig, path: string) =>
  Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: 2 })
    const specs = parameterSpecs(config)
    const buffers = yield* allocateParameters(engine, specs)
    yield* loadWeights(engine, buffers, yield* tensorsIn(path), parameterAliases(config))
    const inputs = new Map(specs.map(({ name, shape }) => [name, input(name, "f32", shape)]))
    const weights = weightsOf(config, name => inputs.get(name)!)
    const { final } = forward(config, weights, input("tokens", "i32", [rows, length]), { causal: true })
    const program = makeProgram({ logits: logits(reshape(final, [rows * length, config.hiddenSize]), weights) })
    const data = yield* engine.allocate("i32", [rows, length])
    yield* engine.upload(data, Int32Array.from(tokens.flat()))
    const output = yield* engine.allocate("f32", [rows * length, config.vocabSize])
    const executable = yield* engine.compile(program)
    yield* engine.run([yield* engine.bind(executable, { ...buffers.views, tokens: data }, { logits: output })])
    return (yield* engine.download(output)) as Float32Array
  })

describe.each(Object.entries(configs))("%s", (_name, json) => {
  it.live("a checkpoint of transformers, in shards too, gives the same logits here", () =>
    Effect.scoped(
      Effect.gen(function* () {
        for (const [dtype, maxShardSize] of [
          ["float32", "5GB"],
          ["bfloat16", "20KB"]
        ] as const) {
          const path = join(directory, dtype)
          const output = join(directory, `${dtype}.safetensors`)
          python("qwen.py", {
            action: "create",
            config: json,
            seed: 3,
            dtype,
            maxShardSize,
            directory: path,
            tokens,
            output
          })
          const written = readdirSync(path).filter(name => name.endsWith(".safetensors")).length
          expect(written > 1).toBe(dtype === "bfloat16")
          const config = yield* decodeModelConfig(JSON.parse(readFileSync(join(path, "config.json"), "utf8")))
          const expected = yield* all(yield* tensorsOf(output), "logits")
          expect(difference(yield* ourLogits(config, path), expected)).toBeLessThan(1e-5)
        }
      })
    )
  )

  it.live("a checkpoint of ours gives the same logits there; loss, gradients and an AdamW step are equal", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const path = join(directory, "ours")
        mkdirSync(path)
        const config = yield* decodeModelConfig({ ...json, initializer_range: 0.1 })
        const engine = yield* makeOrt({ threads: 2 })
        const specs = parameterSpecs(config)
        const buffers = yield* allocateTraining(engine, specs, [])
        yield* initialise(engine, buffers.parameters, 11)
        // Fresh norms and biases are 1 and 0, where mistakes do not show.
        for (const spec of specs.filter(({ shape }) => shape.length === 1)) {
          const noise = normals(randomKey(12, spec.name), spec.shape[0]!)
          const values = initialValues(spec, 11).map((value, i) => value + 0.2 * noise[i]!)
          yield* engine.upload(buffers.parameters.views[spec.name]!, values)
        }
        writeFileSync(join(path, "config.json"), JSON.stringify(encodeModelConfig(config)))
        yield* saveWeights(engine, name => Effect.succeed(join(path, name)), buffers.parameters, {
          format: "F32",
          maxFileBytes: 50_000
        })
        const optimiser = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 }
        const lr = 0.01
        const maxGradNorm = 0.5
        const output = join(directory, "theirs.safetensors")
        python("qwen.py", {
          action: "read",
          directory: path,
          tokens,
          optimiser: { ...optimiser, lr, maxGradNorm },
          output
        })
        const theirs = yield* tensorsOf(output)
        expect(difference(yield* ourLogits(config, path), yield* all(theirs, "logits"))).toBeLessThan(1e-5)

        const sequences = tokens.map(row => Int32Array.from(row))
        const objective = causalObjective(config, {
          sequences,
          epochs: makeEpochs(
            sequences.map(row => row.length),
            { seed: 1, capacity: length, rowsPerStep: rows }
          ),
          microBatchRows: rows,
          length,
          pad: 0,
          averaging: "tokens"
        })
        const trainer = yield* makeTrainer(engine, objective, buffers, {
          optimiser,
          groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
          maxGradNorm,
          checkpointLayers: false
        })
        const outcome = yield* trainer.step(yield* objective.microBatches(0), { lr, update: 1 })
        expect(Math.abs(outcome.losses["loss"]! / (yield* all(theirs, "loss"))[0]! - 1)).toBeLessThan(1e-5)
        expect(Math.abs(outcome.gradientNorm / (yield* all(theirs, "norm"))[0]! - 1)).toBeLessThan(1e-5)
        for (const { name } of specs) {
          const gradient = (yield* engine.download(buffers.gradients.views[name]!)) as Float32Array
          expect(difference(gradient, yield* all(theirs, `gradient/${name}`)), name).toBeLessThan(1e-5)
          const updated = (yield* engine.download(buffers.parameters.views[name]!)) as Float32Array
          const expected = yield* all(theirs, `updated/${name}`)
          // Adam's first step is the sign of a gradient: one next to zero may move a parameter by the learning rate either way.
          const least = 1e-3 * gradient.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
          for (const [i, g] of gradient.entries())
            if (Math.abs(g) > least)
              expect(Math.abs(updated[i]! - expected[i]!), `${name}, element ${i}`).toBeLessThan(2e-5)
        }
      })
    )
  )
})

it.effect("TensorBoard reads the log of a training", () =>
  Effect.gen(function* () {
    const log = yield* openLog(directory, 0, () => Effect.void)
    for (let step = 1; step <= 300; step++) yield* log.write(step, { "training/loss": 1 / step, "eval/x": -step })
    const read = python<{ readonly [tag: string]: ReadonlyArray<readonly [number, number, number]> }>("events.py", {
      directory
    })
    expect(Object.keys(read).sort()).toEqual(["eval/x", "training/loss"])
    expect(read["training/loss"]!.map(([step]) => step)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
    for (const [step, time, value] of read["training/loss"]!) {
      expect(value).toBe(Math.fround(1 / step))
      expect(Math.abs(time - Date.now() / 1000)).toBeLessThan(60)
    }
  })
)
