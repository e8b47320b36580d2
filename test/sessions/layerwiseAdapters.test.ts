/** A hybrid model in NF4 under an adapter that has rows of tokens, run layer by layer from its files, is the model; and what it reads at once does not grow with the vocabulary. */
import { mkdirSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { quantisedTensors } from "../../src/formats/bitsandbytes.ts"
import { copyOf, openTensors, type Saved, saveTensors, type StoredTensors } from "../../src/formats/tensorFiles.ts"
import { withAdapterConfig } from "../../src/models/adapter/adapterFiles.ts"
import { adapterSpecs, embeddingKey, headKey, parameterSpecs, tokenRowsKey } from "../../src/models/config.ts"
import { forward, logits, weightsOf } from "../../src/models/decoder.ts"
import { allocateParameters, initialValues, parameterInputs } from "../../src/models/parameters.ts"
import { quantisedCheckpoint, withStoredNf4 } from "../../src/models/quantised.ts"
import { loadWeights } from "../../src/models/weights.ts"
import { makeLayerwiseModel } from "../../src/sessions/layerwise.ts"
import { makeSession } from "../../src/sessions/session.ts"
import { input, reshape } from "../../src/tensor/ops.ts"
import { packedArrays } from "../../src/tokens/packing.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { hybridConfig } from "../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const [vocabSize, length, blockRows] = [23, 7, 5]
const dense = hybridConfig({ vocab_size: vocabSize, tie_word_embeddings: false, initializer_range: 0.4 })
const ids = [3, 22, 4, 1, 22, 9, 3]

const saved = <E>(name: string, tensors: ReadonlyArray<Saved<E>>) =>
  Effect.gen(function* () {
    const path = join(directory.path, name)
    mkdirSync(path)
    yield* saveTensors(file => Effect.succeed(join(path, file)), tensors, { format: "F32", maxFileBytes: 3000 })
    const files = readdirSync(path).map(file => ({ name: file, path: join(path, file) }))
    return yield* Effect.flatMap(openTensors(files), quantisedTensors)
  })

/** The tensors in NF4 of a base, and those of an adapter of which nothing is 0. */
const made = Effect.gen(function* () {
  const fresh = (specs: ReturnType<typeof parameterSpecs>) =>
    specs.map(spec => ({
      ...spec,
      floats: Effect.sync(() => initialValues({ ...spec, initial: { normal: 0.4 } }, 5))
    }))
  const floats = yield* saved("dense", fresh(parameterSpecs(dense)))
  const base = yield* saved(
    "nf4",
    yield* quantisedCheckpoint(
      { config: dense, tensors: floats },
      { blockSize: 32, doubleQuant: true, modules: "auto" }
    )
  )
  const config = yield* withAdapterConfig(yield* withStoredNf4({ config: dense, tensors: base }), {
    targetModules: "auto",
    r: 2,
    alpha: 4,
    rankStabilised: true,
    dropout: 0,
    dora: false,
    rankPattern: {},
    alphaPattern: {},
    trainableTokens: [22, 4]
  })
  const adapter = yield* saved("adapter", fresh(adapterSpecs(config)))
  return { config, tensors: new Map([...base, ...adapter]) as StoredTensors }
})

describe("a hybrid model in NF4 under an adapter with rows of tokens", () => {
  it.live("has the same logits layer by layer, and reads rows of its tokens and blocks of its head", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const { config, tensors } = yield* made
        const specs = parameterSpecs(config)
        const buffers = yield* allocateParameters(engine, specs)
        yield* loadWeights(engine, buffers, tensors)
        const weights = weightsOf(config, parameterInputs(specs))
        const { final } = forward(config, weights, input("tokens", "i32", [1, length]), { causal: true })
        const whole = yield* makeSession(
          engine,
          { logits: logits(reshape(final, [length, config.hiddenSize]), weights) },
          buffers.views
        )
        const expected = (yield* whole.run({ tokens: Int32Array.from(ids) })).logits

        /** The most numbers of a tensor that were asked for at once, and all of them. */
        const asked = new Map<string, { most: number; all: number }>()
        const watched: StoredTensors = new Map(
          Array.from(tensors, ([name, tensor]) => [
            name,
            {
              ...tensor,
              floats: (from: number, to: number) => {
                const { all = 0, most = 0 } = asked.get(name) ?? {}
                asked.set(name, { most: Math.max(most, to - from), all: all + to - from })
                return tensor.floats(from, to)
              }
            }
          ])
        )
        const model = yield* makeLayerwiseModel(
          engine,
          { config, json: {}, tensors: watched },
          { rows: 1, length, causal: true, predictions: length, blockRows }
        )
        yield* model.forward(packedArrays([Int32Array.from(ids)], [[0]], { capacity: length, pad: 0 }))
        const actual = yield* model.logits(Int32Array.from(ids.keys()))
        for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 4)

        const d = config.hiddenSize
        // 3, 1 and 9 are the base's; 22 and 4 have rows of their own.
        expect(asked.get(embeddingKey)).toEqual({ most: d, all: 3 * d })
        expect(asked.get(tokenRowsKey)).toEqual({ most: d, all: 2 * d })
        expect(asked.get(headKey)).toEqual({ most: blockRows * d, all: vocabSize * d })
        // Weights in NF4 come as they are.
        expect([...asked.keys()].filter(name => name.endsWith("proj.weight"))).toEqual([])
      })
    )
  )
})

it.effect("a tensor that stays as it is passes through a new checkpoint in pieces, of whatever size it is", () =>
  Effect.gen(function* () {
    const { tensors } = yield* made
    const shape = [248_320, 5120]
    const size = 2 * shape[0]! * shape[1]!
    const asked: Array<readonly [from: number, to: number]> = []
    const head = {
      ...tensors.get(headKey)!,
      shape,
      size,
      bytes: (from: number, to: number) =>
        Effect.sync(() => {
          asked.push([from, to])
          return new Uint8Array(0)
        })
    }
    yield* Effect.forEach(copyOf(head).pieces, piece => piece)
    expect(asked.map(([from]) => from)).toEqual([0, ...asked.slice(0, -1).map(([, to]) => to)])
    expect(asked.at(-1)![1]).toBe(size)
    expect(Math.max(...asked.map(([from, to]) => to - from))).toBeLessThanOrEqual(2 ** 26)
  })
)
