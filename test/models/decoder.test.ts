import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import { encodeModel } from "../../src/engines/ort/onnx.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { evaluateTensors, type Values } from "../../src/engines/reference/evaluate.ts"
import { countParameters, type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig } from "../../src/models/families.ts"
import {
  chunkedCrossEntropy,
  chunkedOfLogits,
  forward,
  type ForwardOptions,
  logits,
  weightsOf
} from "../../src/models/decoder.ts"
import { mixerOf } from "../../src/models/layers/layer.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { mean, softmaxCrossEntropy } from "../../src/tensor/composites.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { elements, type Tensor } from "../../src/tensor/Tensor.ts"
import { runOnce } from "../engines/runOnce.ts"
import { modelConfig, type ModelSizes } from "../support/tinyModel.ts"
import { bruteForward } from "./bruteForce.ts"

const tiny = (changes: ModelSizes = {}): ModelConfig =>
  modelConfig({
    hiddenSize: 12,
    intermediateSize: 20,
    heads: 4,
    keyValueHeads: 2,
    headDim: 6,
    vocabSize: 17,
    initializerRange: 0.02,
    ...changes
  })
const families: { readonly [name: string]: ModelConfig } = {
  "Qwen3, tied": tiny(),
  "Qwen3, untied, with biases": tiny({ tiedHead: false, attentionBias: true, layers: 3 }),
  Qwen2: tiny({ family: "qwen2", attentionBias: true, keyValueHeads: 1, headDim: 4 }),
  "Qwen3, blocks of 3": tiny({ attentionBlockSize: 3 })
}

const weightValues = (config: ModelConfig): { readonly [name: string]: Float32Array } =>
  Object.fromEntries(
    parameterSpecs(config).map(({ name, shape }) => [
      name,
      normals(randomKey(1, name), elements(shape)).map(x => (name.includes("norm") ? 1 + 0.2 * x : 0.4 * x))
    ])
  )

interface Traced {
  readonly values: Values
  readonly logits: Tensor
  readonly states: ReadonlyArray<Tensor>
}

const trace = (config: ModelConfig, rows: ReadonlyArray<ReadonlyArray<number>>, options: ForwardOptions): Traced => {
  const [batch, length] = [rows.length, rows[0]!.length]
  const inputs = new Map(parameterSpecs(config).map(({ name, shape }) => [name, ops.input(name, "f32", shape)]))
  const weights = weightsOf(config, name => inputs.get(name)!)
  const { final, hiddenStates } = forward(config, weights, ops.input("tokens", "i32", [batch, length]), options)
  return {
    values: { ...weightValues(config), tokens: rows.flat() },
    logits: logits(ops.reshape(final, [batch * length, config.hiddenSize]), weights),
    states: hiddenStates
  }
}
const run = (
  config: ModelConfig,
  rows: ReadonlyArray<ReadonlyArray<number>>,
  options: ForwardOptions,
  more: Values = {}
): Float64Array => {
  const traced = trace(config, rows, options)
  return evaluateTensors({ logits: traced.logits }, { ...traced.values, ...more }, { exact: true })["logits"]!
}
const farthest = (actual: ArrayLike<number>, expected: ReadonlyArray<number>): number => {
  expect(actual.length).toBe(expected.length)
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(actual[i]! - value)), 0)
}

const tokens = [3, 1, 4, 1, 5, 9, 2]

describe("Qwen decoders", () => {
  for (const [name, config] of Object.entries(families))
    for (const causal of [true, false])
      it(`${name}, ${causal ? "causal" : "not causal"}: states and logits are the equations'`, () => {
        const traced = trace(config, [tokens], { causal })
        const outputs = {
          logits: traced.logits,
          ...Object.fromEntries(traced.states.map((state, i) => [`s${i}`, state]))
        }
        const actual = evaluateTensors(outputs, traced.values, { exact: true })
        const expected = bruteForward(config, key => weightValues(config)[key]!, tokens, causal)
        // Constants such as frequencies and 1/sqrt(headDim) are f32 in the program.
        expect(farthest(actual["logits"]!, expected.logits.flat())).toBeLessThan(1e-5)
        for (const [i, state] of expected.states.entries())
          expect(farthest(actual[`s${i}`]!, state.flat())).toBeLessThan(1e-5)
      })

  it.live("come out the same on ort", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        for (const config of Object.values(families)) {
          const traced = trace(config, [tokens, tokens.toReversed()], { causal: true })
          const { logits: actual } = yield* runOnce(engine, makeProgram({ logits: traced.logits }), traced.values)
          const expected = [tokens, tokens.toReversed()].flatMap(
            row => bruteForward(config, key => weightValues(config)[key]!, row, true).logits
          )
          expect(farthest(actual!, expected.flat())).toBeLessThan(1e-4)
        }
      })
    )
  )

  it("a changed right-hand token changes what is left of it, unless the model is causal", () => {
    const config = families["Qwen3, tied"]!
    const changed = tokens.with(tokens.length - 1, 7)
    const firsts = (row: ReadonlyArray<number>, causal: boolean) => [
      ...run(config, [row], { causal }).subarray(0, config.vocabSize)
    ]
    expect(firsts(changed, true)).toEqual(firsts(tokens, true))
    expect(farthest(firsts(changed, false), firsts(tokens, false))).toBeGreaterThan(1e-3)
  })

  it("by blocks: a changed token changes its own block and later ones, and nothing before", () => {
    const blockSize = 3
    const config = tiny({ attentionBlockSize: blockSize })
    const before = run(config, [tokens], { causal: false })
    for (const changed of tokens.keys()) {
      const after = run(config, [tokens.with(changed, 7)], { causal: false })
      for (const place of tokens.keys()) {
        const of = (all: Float64Array) => [...all.subarray(place * config.vocabSize, (place + 1) * config.vocabSize)]
        if (Math.floor(place / blockSize) < Math.floor(changed / blockSize)) expect(of(after)).toEqual(of(before))
        else expect(farthest(of(after), of(before)), `${changed} to ${place}`).toBeGreaterThan(1e-4)
      }
    }
  })

  it("packed documents do not see each other or the padding; blocks begin with their document", () => {
    for (const [config, causal] of [
      [families["Qwen3, tied"]!, true],
      [families["Qwen3, tied"]!, false],
      [families["Qwen3, blocks of 3"]!, false]
    ] as const) {
      const packed = run(
        config,
        [[...tokens, 8, 6, 0, 0]],
        {
          causal,
          segmentIds: ops.input("segmentIds", "i32", [1, 11]),
          positions: ops.input("positions", "i32", [1, 11])
        },
        { segmentIds: [0, 0, 0, 0, 0, 0, 0, 1, 1, -1, -1], positions: [0, 1, 2, 3, 4, 5, 6, 0, 1, 0, 0] }
      )
      const alone = [...run(config, [tokens], { causal }), ...run(config, [[8, 6]], { causal })]
      expect(farthest(packed.subarray(0, alone.length), alone)).toBeLessThan(1e-12)
      expect(packed.every(Number.isFinite)).toBe(true)
    }
  })

  it("compute each layer again without changing a gradient", () => {
    const config = families["Qwen2"]!
    const gradientsWith = (checkpointLayers: boolean) => {
      const inputs = new Map(parameterSpecs(config).map(({ name, shape }) => [name, ops.input(name, "f32", shape)]))
      const weights = weightsOf(config, name => inputs.get(name)!)
      const { final } = forward(config, weights, ops.input("tokens", "i32", [1, 7]), {
        causal: false,
        checkpointLayers
      })
      const loss = mean(
        softmaxCrossEntropy(logits(ops.reshape(final, [7, 12]), weights), ops.input("targets", "i32", [7]))
      )
      const found = gradients(loss, [...inputs.values()])
      return evaluateTensors(
        Object.fromEntries([...inputs.keys()].map((name, i) => [name, found[i]!])),
        { ...weightValues(config), tokens, targets: tokens.toReversed() },
        { exact: true }
      )
    }
    const plain = gradientsWith(false)
    const again = gradientsWith(true)
    for (const [name, values] of Object.entries(plain))
      expect(farthest(again[name]!, [...values]), name).toBeLessThan(1e-12)
  })
})

describe("chunked cross-entropy", () => {
  it("is the dense one, with the same gradients", () => {
    const hidden = ops.input("hidden", "f32", [7, 5])
    const head = ops.input("head", "f32", [11, 5])
    const targets = ops.input("targets", "i32", [7])
    const weights = ops.input("weights", "f32", [7])
    const values = {
      hidden: normals(randomKey(1, "h"), 35),
      head: normals(randomKey(1, "w"), 55),
      targets: [0, 3, 10, 3, 1, 2, 7],
      weights: [1, 0, 2, 1, 0.5, 1, 3]
    }
    const results = [1, 3 * 11 * 4, 1e9].map(maxBytes => {
      const rows = chunkedCrossEntropy(hidden, head, targets, { maxBytes })
      const [dh, dw] = gradients(ops.sum(ops.mul(rows, weights)), [hidden, head])
      return evaluateTensors({ rows, dh: dh!, dw: dw! }, values, { exact: true })
    })
    for (const chunked of results.slice(0, 2))
      for (const name of ["rows", "dh", "dw"])
        expect(farthest(chunked[name]!, [...results[2]![name]!])).toBeLessThan(1e-12)
  })

  it("has the logits of one chunk at a time, in both passes, and one compiled program for all chunks alike", () => {
    const [n, vocabSize, rows] = [64, 32, 8]
    for (const ahead of [0, 1]) {
      const hidden = ops.input("hidden", "f32", [n, 4])
      const head = ops.input("head", "f32", [vocabSize, 4])
      const losses = chunkedOfLogits(
        hidden,
        head,
        ops.input("targets", "i32", [n]),
        (all, ids, own) => [softmaxCrossEntropy(ops.sliceAxis(all, 0, 0, own), ops.sliceAxis(ids, 0, 0, own))],
        { ahead, maxBytes: rows * vocabSize * 4 }
      )
      const [dh, dw] = gradients(ops.sum(losses[0]!), [hidden, head])
      const program = makeProgram({ dh: dh!, dw: dw! })
      const { segments } = segmentsOf(program)
      const size = (value: number): number => elements(program.values[value]!.shape)
      // Nothing as large as a chunk's logits goes from a segment to another; the head's gradient is smaller here.
      for (const { outputs } of segments.slice(0, -1))
        for (const output of outputs) expect(size(output)).toBeLessThan((rows * vocabSize) / 2 + n * 4)
      // The first pass is not needed for the gradients. Chunks but the first and the last are alike; with rows ahead, the last one has none.
      expect(segments.filter(({ instructions }) => instructions.some(({ op }) => op === "logSoftmax"))).toHaveLength(
        n / rows
      )
      const models = new Set(
        segments.map(segment => Buffer.from(encodeModel(lowerSegment(program, segment))).toString("latin1"))
      )
      expect(models.size).toBeLessThanOrEqual(4)
    }
  })

  it("never holds logits of more rows than the limit allows", () => {
    const hidden = ops.input("hidden", "f32", [64, 4])
    const head = ops.input("head", "f32", [32, 4])
    const rows = chunkedCrossEntropy(hidden, head, ops.input("targets", "i32", [64]), { maxBytes: 8 * 32 * 4 })
    const program = makeProgram({ dw: gradients(ops.sum(rows), [head])[0]! })
    const largest = Math.max(
      ...program.instructions
        .filter(({ op }) => op === "matmul")
        .map(({ outputs }) => elements(program.values[outputs[0]!]!.shape))
    )
    expect(largest).toBe(8 * 32)
  })
})

describe("config.json", () => {
  const base = {
    model_type: "qwen3",
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    vocab_size: 151_936,
    tie_word_embeddings: true
  }
  const decode = (json: unknown) => Effect.runSync(Effect.result(decodeModelConfig(json)))

  it("counts the published numbers of parameters", () => {
    const count = (changes: object) => countParameters(Effect.runSync(decodeModelConfig({ ...base, ...changes })))
    expect(count({})).toBe(596_049_920)
    expect(count({ hidden_size: 2048, intermediate_size: 6144 })).toBe(1_720_574_976)
  })

  it("takes theta from either place, and biases from the family", () => {
    const mixer = (changes: object) =>
      mixerOf(Effect.runSync(decodeModelConfig({ ...base, ...changes })).layers, "attention")
    const theta = (changes: object) => mixer(changes).ropeTheta
    expect(theta({ rope_theta: 1e6 })).toBe(1e6)
    expect(theta({ rope_parameters: { rope_type: "default", rope_theta: 5e5 } })).toBe(5e5)
    expect(mixer({ model_type: "qwen2" }).bias).toBe(true)
    expect(mixer({}).bias).toBe(false)
  })

  it("is written so that it is read again", () => {
    for (const config of Object.values(families))
      expect(Effect.runSync(decodeModelConfig(encodeModelConfig(config)))).toEqual(config)
  })

  it("fills in what a file leaves out as transformers does", () => {
    const { head_dim: _, ...without } = base
    const read = (json: object) => Effect.runSync(decodeModelConfig(json))
    expect(read({ ...without, num_attention_heads: 32, num_key_value_heads: null }).layers[0]!.mixer).toMatchObject({
      headDim: 128,
      keyValueHeads: 32
    })
    expect(mixerOf(read({ ...without, model_type: "qwen2" }).layers, "attention").headDim).toBe(1024 / 16)
    expect(read({ ...base, layer_types: Array(28).fill("full_attention") })).toEqual(read(base))
  })

  it("refuses what would be computed differently", () => {
    const message = (changes: object) => {
      const result = decode({ ...base, ...changes })
      return result._tag === "Failure" ? result.failure.message : "accepted"
    }
    expect(message({ rope_scaling: { type: "yarn" } })).toBe(
      'config.json: rope_scaling.type is "yarn"; supported is "default"'
    )
    expect(message({ rope_parameters: { rope_type: "yarn" } })).toBe(
      'config.json: rope_parameters.rope_type is "yarn"; supported is "default"'
    )
    // Layers from `max_window_layers` on have windows: where a file does not say from which on, that is from 28 on, as in transformers, and these are 28.
    expect(message({ use_sliding_window: true })).toBe("accepted")
    expect(message({ use_sliding_window: true, num_hidden_layers: 29 })).toMatch(/use_sliding_window/)
    expect(message({ use_sliding_window: true, max_window_layers: 27 })).toMatch(/use_sliding_window/)
    expect(message({ layer_types: ["full_attention", "full_attention"] })).toMatch(/layer_types is .* 28, kinds/)
    expect(message({ layer_types: Array(28).fill("full_attention").with(1, "sliding_attention") })).toBe(
      'config.json: layer_types[1] is "sliding_attention"; supported is "full_attention"'
    )
    expect(message({ model_type: "qwen2", attention_bias: false })).toMatch(
      /attention_bias is false; supported is true/
    )
    expect(message({ hidden_act: "gelu" })).toMatch(/hidden_act is "gelu"/)
    expect(message({ num_key_value_heads: 3 })).toMatch(/a divisor of the 16 attention heads/)
    expect(message({ head_dim: 7 })).toMatch(/head_dim is 7; supported is an even number/)
    expect(message({ model_type: "llama" })).toMatch(/model_type/)
    expect(message({ hidden_size: -1 })).toMatch(/hidden_size/)
    expect(message({ attention_block_size: 0 })).toMatch(/attention_block_size/)
  })
})
