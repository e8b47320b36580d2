/** The recipe "Adding a family" of CONTRIBUTING.md: one with fields, names and layers of its own is read, decoded, trained for a step, and written. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { openTensors, saveTensors } from "../../src/formats/tensorFiles.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { loadParameters, openModel, writeModel } from "../../src/models/artifact.ts"
import { parameterSpecs, refuse } from "../../src/models/config.ts"
import { encodeModelConfig, families } from "../../src/models/families.ts"
import { common, commonFields, makeFamily, Size } from "../../src/models/families/family.ts"
import { trainingFlops } from "../../src/models/flops.ts"
import { mixerOf } from "../../src/models/layers/layer.ts"
import { initialValues } from "../../src/models/parameters.ts"
import { makeCausalWriter } from "../../src/sessions/autoregressive.ts"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { shippedDirectory } from "../support/tokenizers.ts"
import { bruteForward } from "./bruteForce.ts"

/** Wide and narrow layers in turns, of one size of head. */
const hourglass = makeFamily({
  name: "hourglass",
  architecture: "HourglassForCausalLM",
  fields: Schema.Struct({ ...commonFields, model_type: Schema.Literal("hourglass"), widths: Schema.Array(Size) }),
  read: fields => {
    const shared = common(fields)
    if (fields.num_hidden_layers % fields.widths.length !== 0)
      return Effect.fail(refuse("widths", fields.widths, `a divisor of the ${fields.num_hidden_layers} layers`))
    const layers = Array.from({ length: fields.num_hidden_layers }, (_, i) => {
      const width = fields.widths[i % fields.widths.length]!
      return {
        mixer: {
          kind: "attention",
          heads: width,
          keyValueHeads: 1,
          headDim: 4,
          ropeTheta: 100 * width,
          bias: false,
          outputBias: i === 0
        },
        feedForward: { kind: "swiglu", intermediateSize: 4 * width },
        norm: shared.norm
      } as const
    })
    return Effect.succeed({ family: "hourglass", ...shared, layers })
  },
  names: {
    ours: stored => (stored.startsWith("vision.") ? undefined : stored.replace(/^text\./, "model.")),
    stored: ours => ours.replace(/^model\./, "text.")
  },
  write: ({ hiddenSize, initializerRange, layers, norm, tiedHead, vocabSize }) => ({
    hidden_size: hiddenSize,
    num_hidden_layers: layers.length,
    vocab_size: vocabSize,
    rms_norm_eps: norm.epsilon,
    tie_word_embeddings: tiedHead,
    initializer_range: initializerRange,
    widths: [...new Set(layers.map(layer => mixerOf([layer], "attention").heads))]
  })
})
const known = [...families, hourglass]
const fields = {
  model_type: "hourglass",
  hidden_size: 8,
  num_hidden_layers: 4,
  vocab_size: 2048,
  widths: [3, 1],
  tie_word_embeddings: true,
  initializer_range: 0.5
}

it.live(
  "a family that is added here is read, decodes, is trained for a step and written, with layers of two kinds",
  () =>
    Effect.scoped(
      Effect.gen(function* () {
        const directory = yield* Effect.acquireRelease(
          Effect.sync(() => temporaryDirectory()),
          ({ remove }) => Effect.sync(remove)
        )
        const [given, written] = ["given", "written"].map(name => join(directory.path, name)) as [string, string]
        for (const each of [given, written]) mkdirSync(each)
        const filesIn = (path: string) => readdirSync(path).map(name => ({ name, path: join(path, name) }))
        const config = yield* hourglass.read(fields)
        const specs = parameterSpecs(config)
        const values = new Map(specs.map(spec => [spec.name, initialValues(spec, 1)]))

        // As others write it: names of theirs, and a part that has no use here.
        writeFileSync(join(given, "config.json"), JSON.stringify(fields))
        copyFileSync(join(shippedDirectory, "tokenizer.json"), join(given, "tokenizer.json"))
        yield* saveTensors(
          name => Effect.succeed(join(given, name)),
          [
            ...specs.map(({ name, shape }) => ({
              name: name.replace("model.", "text."),
              shape,
              floats: Effect.sync(() => values.get(name)!)
            })),
            { name: "vision.weight", shape: [1], floats: Effect.succeed(Float32Array.of(7)) }
          ],
          { format: "F32" }
        )
        const model = yield* openModel(filesIn(given), known)
        expect(model.config).toEqual(config)
        expect(trainingFlops(config, [5], { causal: true })).toBeGreaterThan(0)

        const engine = makeReference()
        const parameters = yield* loadParameters(engine, model)
        const tokenizer = { ends: new Set<number>(), maskId: -1, padId: 0 }
        const { write } = yield* makeCausalWriter(engine, { config, parameters, tokenizer }, { rows: 1, length: 12 })
        const prompt = [3, 1, 4, 1, 5]
        const { texts } = yield* write({ prompts: [prompt], newTokens: 4, sampling: { temperature: 0 }, seed: 1 })
        const made = texts[0]!.tokens
        const text = [...prompt]
        for (const token of made) {
          const row = bruteForward(config, name => values.get(name)!, text, true).logits.at(-1)!
          expect(token).toBe(row.indexOf(Math.max(...row)))
          text.push(token)
        }
        expect(text).toHaveLength(9)

        const buffers = yield* allocateTraining(engine, specs, [])
        for (const { name } of specs) yield* engine.upload(buffers.parameters.views[name]!, values.get(name)!)
        const objective = causalObjective(config, {
          sequences: [Int32Array.from(text)],
          epochs: makeEpochs([text.length], { seed: 1, capacity: 9, rowsPerStep: 1 }),
          microBatchRows: 1,
          length: 9,
          pad: 0,
          averaging: "tokens"
        })
        const trainer = yield* makeTrainer(engine, objective, buffers, {
          optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
          groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: false }],
          maxGradNorm: 0,
          checkpointLayers: true
        })
        const losses: Array<number> = []
        for (const step of [0, 1]) {
          const { losses: parts } = yield* trainer.step(yield* objective.microBatches(0), {
            lr: 0.01,
            update: step + 1
          })
          losses.push(parts["loss"]!)
        }
        expect(losses[1]).toBeLessThan(losses[0]!)

        const output = {
          reserve: (name: string) => Effect.succeed(join(written, name)),
          write: (name: string, content: unknown) =>
            Effect.sync(() => writeFileSync(join(written, name), String(content)))
        }
        yield* writeModel(
          output as unknown as Parameters<typeof writeModel>[0],
          {
            engine,
            parameters: buffers.parameters,
            config: encodeModelConfig(config, known),
            tokenizer: { json: readFileSync(join(given, "tokenizer.json"), "utf8"), config: undefined },
            format: "F32"
          },
          known
        )
        expect([...(yield* openTensors(filesIn(written))).keys()]).toContain("text.layers.3.mlp.up_proj.weight")
        const again = yield* openModel(filesIn(written), known)
        expect(again.config).toEqual(config)
        const views = yield* loadParameters(engine, again)
        const name = "model.layers.1.self_attn.q_proj.weight"
        expect(yield* engine.download(views[name]!)).toEqual(yield* engine.download(buffers.parameters.views[name]!))
      })
    )
)
