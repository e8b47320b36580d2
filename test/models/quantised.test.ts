/** Models in NF4: their checkpoints, what an engine holds of them, layer by layer, and trainings of their adapters. */
import { mkdirSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { nf4Group, quantisedTensors } from "../../src/formats/bitsandbytes.ts"
import type { FileError } from "../../src/formats/fileError.ts"
import {
  openTensors,
  type Saved,
  saveTensorFile,
  saveTensors,
  type TensorFilesError
} from "../../src/formats/tensorFiles.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { withAdapterConfig } from "../../src/models/adapter/adapterFiles.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "../../src/models/config.ts"
import type { Adapter } from "../../src/models/linear/linearMaps.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { quantisedCheckpoint, withStoredNf4 } from "../../src/models/quantised.ts"
import { loadWeights, saveWeights } from "../../src/models/weights.ts"
import { residentStates } from "../../src/sessions/hiddenStates.ts"
import { layerwiseStates, makeLayerwiseModel } from "../../src/sessions/layerwise.ts"
import { nf4Content } from "../../src/tensor/nf4.ts"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { packedArrays } from "../../src/tokens/packing.ts"
import { withDropout } from "../../src/training/dropout.ts"
import { splitParameters } from "../../src/training/groups.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { modelConfig } from "../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const config = modelConfig({ layers: 2, vocabSize: 23, heads: 4, keyValueHeads: 2, initializerRange: 0.4 })
const layout = { blockSize: 32, doubleQuant: true }
const dense = parameterSpecs(config)
const adapter: Adapter = {
  targetModules: ["q_proj", "v_proj", "down_proj"],
  r: 2,
  alpha: 4,
  rankStabilised: true,
  dropout: 0.2,
  dora: false,
  rankPattern: {},
  alphaPattern: {},
  trainableTokens: []
}
const isWeightOfLayer = (name: string): boolean => name.endsWith("proj.weight")

const tensorsIn = (path: string) =>
  Effect.flatMap(openTensors(readdirSync(path).map(name => ({ name, path: join(path, name) }))), quantisedTensors)
const save = (name: string, tensors: ReadonlyArray<Saved<FileError | TensorFilesError>>, maxFileBytes = 3000) =>
  Effect.gen(function* () {
    const path = join(directory.path, name)
    mkdirSync(path)
    yield* saveTensors(file => Effect.succeed(join(path, file)), tensors, { format: "F32", maxFileBytes })
    return yield* tensorsIn(path)
  })
const denseTensors = save(
  "dense",
  dense.map(spec => ({ name: spec.name, shape: spec.shape, floats: Effect.sync(() => initialValues(spec, 5)) }))
)
const packedTensors = Effect.gen(function* () {
  const tensors = yield* denseTensors
  return {
    tensors,
    packed: yield* save("packed", yield* quantisedCheckpoint({ config, tensors }, { ...layout, modules: "auto" }))
  }
})

describe("a checkpoint in NF4", () => {
  it.effect("has the weights of all linear maps quantised, and all else byte by byte as it was", () =>
    Effect.gen(function* () {
      const { packed, tensors } = yield* packedTensors
      expect([...packed.keys()].toSorted()).toEqual([...tensors.keys()].toSorted())
      for (const spec of dense) {
        const [before, after] = [tensors.get(spec.name)!, packed.get(spec.name)!]
        if (isWeightOfLayer(spec.name)) {
          expect(after.nf4).toMatchObject({ layout, dtype: "float32" })
          expect(yield* after.nf4!.content).toEqual(nf4Content(initialValues(spec, 5), layout))
        } else {
          expect(after.nf4).toBeUndefined()
          expect(yield* after.bytes(0, after.size)).toEqual(yield* before.bytes(0, before.size))
        }
      }
      const some = yield* quantisedCheckpoint({ config, tensors }, { ...layout, modules: ["q_proj"] })
      expect(some.filter(saved => "tensors" in saved)).toHaveLength(2)
    })
  )

  it.effect("lies on an engine as in its files, and is written with the same bytes", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        const { packed } = yield* packedTensors
        const quantised = yield* withStoredNf4({ config, tensors: packed })
        expect(quantised.linear?.nf4?.modules).toHaveLength(14)
        const buffers = yield* allocateParameters(engine, parameterSpecs(quantised))
        yield* loadWeights(engine, buffers, packed, parameterAliases(config))
        const path = join(directory.path, "again")
        mkdirSync(path)
        yield* saveWeights(engine, name => Effect.succeed(join(path, name)), buffers, { format: "F32" })
        const again = yield* tensorsIn(path)
        for (const [name, tensor] of packed) {
          if (tensor.nf4 === undefined) continue
          expect(yield* again.get(name)!.nf4!.content).toEqual(yield* tensor.nf4.content)
        }
      })
    )
  )

  it.effect("is never quantised twice, and is read in the layout it has", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { packed, tensors } = yield* packedTensors
        const twice = yield* Effect.flip(
          quantisedCheckpoint({ config, tensors: packed }, { ...layout, modules: "auto" })
        )
        expect(twice.message).toBe(
          "the weight model.layers.0.self_attn.q_proj.weight is in NF4 already; to quantise it again would lose more of it"
        )

        const other: ModelConfig = {
          ...config,
          linear: { nf4: { blockSize: 64, doubleQuant: false, modules: "auto" } }
        }
        const engine = makeReference()
        const buffers = yield* allocateParameters(engine, parameterSpecs(other))
        const { message } = yield* Effect.flip(loadWeights(engine, buffers, packed, parameterAliases(config)))
        expect(message).toMatch(
          /q_proj.weight is stored in NF4 in blocks of 32 with double quantisation, the model wants it in blocks of 64 without double quantisation/
        )

        const mixed = new Map(packed)
        const single = yield* save(
          "single",
          yield* quantisedCheckpoint({ config, tensors }, { blockSize: 64, doubleQuant: false, modules: "auto" })
        )
        const name = "model.layers.1.mlp.up_proj.weight"
        mixed.set(name, single.get(name)!)
        expect((yield* Effect.flip(withStoredNf4({ config, tensors: mixed }))).message).toMatch(
          /layers.0.self_attn.q_proj and model.layers.1.mlp.up_proj lie in NF4 in different layouts/
        )
      })
    )
  )

  it.effect("is read as dense weights too, by a model that wants them so", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { packed } = yield* packedTensors
        const engine = makeReference()
        const buffers = yield* allocateParameters(engine, dense)
        yield* loadWeights(engine, buffers, packed, parameterAliases(config))
        for (const { name } of dense) {
          const tensor = packed.get(name)!
          const values = yield* tensor.floats(
            0,
            tensor.shape.reduce((n, size) => n * size, 1)
          )
          expect(yield* engine.download(buffers.views[name]!)).toEqual(values)
        }
      })
    )
  )

  it.effect("is not made of weights with a number that is not finite", () =>
    Effect.gen(function* () {
      const tensors = new Map(yield* denseTensors)
      const name = "model.layers.1.mlp.gate_proj.weight"
      const damaged = tensors.get(name)!
      tensors.set(name, {
        ...damaged,
        floats: (from, to) => Effect.map(damaged.floats(from, to), values => values.fill(NaN, 70, 71))
      })
      const saved = yield* quantisedCheckpoint({ config, tensors }, { ...layout, modules: "auto" })
      const { message } = yield* Effect.flip(save("damaged", saved))
      expect(message).toBe(`the weight ${name} has NaN at [8, 6]; it cannot be quantised to NF4`)
    })
  )

  it.effect("whose states leave shapes to the model is read by it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { packed } = yield* packedTensors
        const name = "model.layers.0.mlp.up_proj.weight"
        const tensor = packed.get(name)!
        const group = nf4Group(name, [12 * 8], { layout, format: "F32" }, tensor.nf4!.content)
        const path = join(directory.path, "flat")
        mkdirSync(path)
        yield* saveTensorFile(join(path, "model.safetensors"), [group], "F32")
        const flat = (yield* tensorsIn(path)).get(name)!
        const unshaped = new Map(packed)
        unshaped.set(name, { ...flat, nf4: { ...flat.nf4!, shaped: false } })
        const engine = makeReference()
        for (const each of [config, yield* withStoredNf4({ config, tensors: unshaped })]) {
          const buffers = yield* allocateParameters(engine, parameterSpecs(each))
          yield* loadWeights(engine, buffers, unshaped, parameterAliases(config))
        }
        const buffers = yield* allocateParameters(engine, dense)
        unshaped.set(name, flat)
        const { message } = yield* Effect.flip(loadWeights(engine, buffers, unshaped, parameterAliases(config)))
        expect(message).toMatch(/of another shape: model.layers.0.mlp.up_proj.weight is \[96\], expected \[12, 8\]/)
      })
    )
  )
})

const [rows, length] = [2, 9]
const sequences = [
  [3, 1, 4, 1, 5, 9, 2, 6, 5],
  [22, 7, 1, 8, 2, 8, 1, 8, 2]
].map(ids => Int32Array.from(ids))

/** A model in NF4 under an adapter, its parameters on an engine, and its tensors with the adapter's. */
const adapted = Effect.gen(function* () {
  const engine = yield* makeOrt({ threads: 1 })
  const { packed } = yield* packedTensors
  const both = yield* withAdapterConfig(yield* withStoredNf4({ config, tensors: packed }), adapter)
  const { frozen, trainable } = splitParameters(parameterSpecs(both), [])
  expect(trainable.every(({ name }) => name.includes("lora_"))).toBe(true)
  expect(trainable).toHaveLength(2 * 3 * 2)
  const buffers = yield* allocateTraining(engine, trainable, frozen)
  yield* loadWeights(engine, buffers.frozen, packed, parameterAliases(config))
  yield* initialise(engine, buffers.parameters, 3)
  return { engine, both, buffers, packed }
})

describe("a model in NF4 with adapters", () => {
  const objectiveOf = (both: ModelConfig) =>
    withDropout(
      causalObjective(both, {
        sequences,
        epochs: makeEpochs([9, 9], { seed: 1, capacity: length, rowsPerStep: rows }),
        microBatchRows: 1,
        length,
        pad: 0,
        averaging: "tokens"
      }),
      7
    )
  const settings = {
    optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
    maxGradNorm: 0,
    checkpointLayers: true
  }

  it.live("learns by its adapters, and its frozen bytes stay as they are", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { both, buffers, engine } = yield* adapted
        const bytes = () =>
          Effect.forEach(Object.values(buffers.frozen.views), view => Effect.map(engine.download(view), Array.from))
        const before = yield* bytes()
        const objective = objectiveOf(both)
        const size = buffers.parameters.flat.shape[0]!
        const trainer = yield* makeTrainer(engine, objective, buffers, {
          ...settings,
          groups: [{ offset: 0, size, rateFactor: 1, decays: false }]
        })
        const losses: Array<number> = []
        for (let step = 0; step < 12; step++) {
          const outcome = yield* trainer.step(yield* objective.microBatches(step % 2), { lr: 0.03, update: step + 1 })
          expect(outcome.updated).toBe(true)
          losses.push(outcome.losses["loss"]!)
        }
        expect(losses.at(-1)!).toBeLessThan(0.7 * losses[0]!)
        expect(yield* bytes()).toEqual(before)
      })
    )
  )

  it.live("has the same gradients with layers computed again, though inputs are dropped at random", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { both, buffers, engine } = yield* adapted
        // B is 0 in a fresh adapter, and no gradient reaches A.
        for (const [name, view] of Object.entries(buffers.parameters.views))
          yield* engine.upload(view, initialValues({ name, shape: view.shape, initial: { normal: 0.4 } }, 8))
        const objective = objectiveOf(both)
        const found: Array<ReadonlyArray<number>> = []
        for (const checkpointLayers of [false, true]) {
          const trainer = yield* makeTrainer(engine, objective, buffers, { ...settings, checkpointLayers, groups: [] })
          const [first] = yield* objective.microBatches(0)
          yield* trainer.step([first!], { lr: 0, update: 1 })
          found.push(Array.from((yield* engine.download(buffers.gradients.flat)) as Float32Array))
        }
        const scale = Math.max(...found[0]!.map(Math.abs))
        expect(scale).toBeGreaterThan(0.01)
        for (const [i, value] of found[0]!.entries()) expect(Math.abs(found[1]![i]! - value) / scale).toBeLessThan(1e-5)
        const keys = (yield* objective.microBatches(0)).map(({ inputs }) => String(inputs["dropoutKey"]))
        expect(new Set(keys).size).toBe(keys.length)
        expect((yield* objective.microBatches(0)).map(({ inputs }) => String(inputs["dropoutKey"]))).toEqual(keys)
      })
    )
  )

  it.live("is the same layer by layer from its files, and its adapters have the same gradients", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { both, buffers, engine, packed } = yield* adapted
        const adapterPath = join(directory.path, "adapter.safetensors")
        const { specs } = buffers.parameters
        for (const { name, shape } of specs)
          yield* engine.upload(
            buffers.parameters.views[name]!,
            initialValues({ name, shape, initial: { normal: 0.4 } }, 8)
          )
        yield* saveTensorFile(
          adapterPath,
          specs.map(({ name, shape }) => ({
            name,
            shape,
            floats: Effect.map(engine.download(buffers.parameters.views[name]!), data =>
              Float32Array.from(data as Float32Array)
            )
          })),
          "F32"
        )
        const tensors = new Map([
          ...packed,
          ...(yield* openTensors([{ name: "adapter.safetensors", path: adapterPath }]))
        ])
        const model = { config: both, json: {}, tensors }
        const batch = packedArrays(sequences, [[0], [1]], { capacity: length, pad: 0 })
        const wanted = { rows, length, causal: true, layers: [0, 1, 2] }
        const whole = yield* residentStates(engine, both, { ...buffers.frozen.views, ...buffers.parameters.views })(
          wanted
        )
        const apart = yield* layerwiseStates(engine, model)(wanted)
        const [expected, actual] = [yield* whole(batch), yield* apart(batch)]
        for (const [i, states] of expected.entries())
          for (const [j, value] of states.entries()) expect(actual[i]![j]).toBeCloseTo(value, 5)

        const layerwise = yield* makeLayerwiseModel(engine, model, {
          rows,
          length,
          causal: true,
          backward: true,
          predictions: 2
        })
        yield* layerwise.forward(batch)
        const gradients = new Map<string, number>()
        yield* layerwise.backward(
          { positions: Int32Array.of(3, 12), targets: Int32Array.of(5, 6), weights: Float32Array.of(1, 1) },
          (name, values) =>
            Effect.sync(
              () => void gradients.set(name, Math.max(...Array.from(values, Math.abs), gradients.get(name) ?? 0))
            )
        )
        const ofLayers = [...gradients.keys()].filter(name => name.startsWith("model.layers."))
        expect(ofLayers.toSorted()).toEqual(specs.map(({ name }) => name).toSorted())
        for (const name of ofLayers) expect(gradients.get(name)).toBeGreaterThan(1e-6)
      })
    )
  )
})
