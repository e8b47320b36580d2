/** A model run layer by layer from its files is the model. */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { packedArrays } from "../../src/tokens/packing.ts"
import { openTensors } from "../../src/formats/tensorFiles.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { predictionWeights } from "../../src/models/nextTokenLoss.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { residentStates } from "../../src/sessions/hiddenStates.ts"
import { layerwiseStates, makeLayerwiseModel } from "../../src/sessions/layerwise.ts"
import { initialise, initialValues } from "../../src/models/parameters.ts"
import { saveWeights } from "../../src/models/weights.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { expertsConfig, hybridConfig, modelConfig } from "../support/tinyModel.ts"

const base = { layers: 3, heads: 4, keyValueHeads: 2, vocabSize: 23, initializerRange: 0.5 }
const configs: { readonly [name: string]: ModelConfig } = {
  "Qwen3, tied": modelConfig(base),
  "Qwen2, untied": modelConfig({ ...base, family: "qwen2", tiedHead: false, layers: 2 }),
  "Qwen3.5": hybridConfig({ vocab_size: 23, initializer_range: 0.5 }),
  "Qwen3.5 with experts": expertsConfig({ vocab_size: 23, initializer_range: 0.5 })
}

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const [rows, length] = [2, 9]
const sequences = [
  [3, 1, 4, 1, 5, 9, 2, 6, 5],
  [22, 7, 1],
  [0, 11, 4, 8]
].map(ids => Int32Array.from(ids))

describe.each(Object.entries(configs))("%s, layer by layer", (_name, config) => {
  const specs = parameterSpecs(config)
  const prepared = Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: 1 })
    const buffers = yield* allocateTraining(engine, specs, [])
    yield* initialise(engine, buffers.parameters, 9)
    yield* saveWeights(engine, name => Effect.succeed(join(directory.path, name)), buffers.parameters, {
      format: "F32",
      maxFileBytes: 2000
    })
    const files = readdirSync(directory.path).map(name => ({ name, path: join(directory.path, name) }))
    return { engine, buffers, tensors: yield* openTensors(files) }
  })

  it.live("gives the logits of the equations, with the head in blocks of any size", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { engine, tensors } = yield* prepared
        const values = new Map(specs.map(spec => [spec.name, initialValues(spec, 9)]))
        const packed = packedArrays(sequences, [[0], [1, 2]], { capacity: length, pad: 0 })
        // The last token of the first row, the last of the second row's documents.
        const positions = Int32Array.of(8, length + 2, length + 6)
        for (const blockRows of [23, 7, 100]) {
          const model = yield* makeLayerwiseModel(
            engine,
            { config, json: {}, tensors },
            {
              rows,
              length,
              causal: true,
              predictions: 3,
              blockRows
            }
          )
          yield* model.forward(packed)
          const logits = yield* model.logits(positions)
          for (const [i, sequence] of sequences.entries()) {
            const expected = bruteForward(config, name => values.get(name)!, [...sequence], true).logits.at(-1)!
            const row = logits.subarray(i * config.vocabSize, (i + 1) * config.vocabSize)
            for (const [token, logit] of expected.entries()) expect(row[token]).toBeCloseTo(logit, 4)
          }
        }
      })
    )
  )

  it.live("gives the hidden states of the whole program, and reads no layer above those that are asked for", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { buffers, engine, tensors } = yield* prepared
        const read = new Set<string>()
        const watched: typeof tensors = new Map(
          Array.from(tensors, ([name, tensor]) => [
            name,
            {
              ...tensor,
              floats: (from: number, to: number) => {
                read.add(name)
                return tensor.floats(from, to)
              }
            }
          ])
        )
        const options = { causal: true, layers: [0, 1], rows, length }
        const whole = yield* residentStates(engine, config, buffers.parameters.views)(options)
        const layerwise = yield* layerwiseStates(engine, { config, json: {}, tensors: watched })(options)
        for (const filled of [
          [[0], [1, 2]],
          [[2], []]
        ]) {
          const packed = packedArrays(sequences, filled, { capacity: length, pad: 0 })
          expect(yield* layerwise(packed)).toEqual(yield* whole(packed))
        }
        expect([...read].some(name => name.startsWith("model.layers.0."))).toBe(true)
        expect([...read].filter(name => /layers\.[1-9]/.test(name))).toEqual([])
      })
    )
  )

  it.live("gives the loss and the gradients of the whole program", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { buffers, engine, tensors } = yield* prepared
        const epochs = makeEpochs(
          sequences.map(sequence => sequence.length),
          { seed: 1, capacity: length, rowsPerStep: rows }
        )
        const objective = causalObjective(config, {
          sequences,
          epochs,
          microBatchRows: rows,
          length,
          pad: 0,
          averaging: "tokens"
        })
        const trainer = yield* makeTrainer(engine, objective, buffers, {
          optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
          groups: [],
          maxGradNorm: 0,
          checkpointLayers: false
        })
        const { losses } = yield* trainer.step(yield* objective.microBatches(0), { lr: 0, update: 1 })

        const packed = packedArrays(sequences, epochs.rows(0), { capacity: length, pad: 0 })
        const counted = predictionWeights(packed, { rows, length })
        const total = counted.reduce((sum, weight) => sum + weight, 0)
        const targets: Array<number> = []
        const positions: Array<number> = []
        for (let r = 0; r < rows; r++)
          for (let i = 1; i < length; i++) {
            positions.push(r * length + i - 1)
            targets.push(packed.ids[r * length + i]!)
          }
        const model = yield* makeLayerwiseModel(
          engine,
          { config, json: {}, tensors },
          {
            rows,
            length,
            causal: true,
            predictions: positions.length,
            backward: true,
            blockRows: 10
          }
        )
        yield* model.forward(packed)
        const gradients = new Map(
          specs.map(({ name, shape }) => [name, new Float64Array(shape.reduce((a, b) => a * b))])
        )
        const loss = yield* model.backward(
          {
            positions: Int32Array.from(positions),
            targets: Int32Array.from(targets),
            weights: counted.map(weight => weight / total)
          },
          (name, part, firstRow) =>
            Effect.sync(() => {
              const all = gradients.get(name)!
              const offset = firstRow * config.hiddenSize
              for (const [i, value] of part.entries()) all[offset + i]! += value
            })
        )
        expect(loss).toBeCloseTo(losses["loss"]!, 5)
        for (const { name } of specs) {
          const expected = (yield* engine.download(buffers.gradients.views[name]!)) as Float32Array
          const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
          const apart = expected.reduce(
            (most, value, i) => Math.max(most, Math.abs(value - gradients.get(name)![i]!)),
            0
          )
          expect(apart / scale, name).toBeLessThan(1e-5)
        }
      })
    )
  )
})
