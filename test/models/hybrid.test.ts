/** Decoders of Gated DeltaNets and gated attention beside the equations; what a token sees, under every choice of both directions. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { evaluateTensors, type Values } from "../../src/engines/reference/evaluate.ts"
import { countParameters, hybridBidirectionals, type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { forward, type ForwardOptions, logits, weightsOf } from "../../src/models/decoder.ts"
import { mixerOf } from "../../src/models/layers/layer.ts"
import { trainingFlops } from "../../src/models/flops.ts"
import { parameterInputs } from "../../src/models/parameters.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { mean, softmaxCrossEntropy } from "../../src/tensor/composites.ts"
import { input, reshape } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { elements } from "../../src/tensor/Tensor.ts"
import { runOnce } from "../engines/runOnce.ts"
import { expertsConfig, hybridConfig } from "../support/tinyModel.ts"
import { bruteForward } from "./bruteForce.ts"

const configs: { readonly [name: string]: ModelConfig } = {
  "attention alone": hybridConfig(),
  "both scans": hybridConfig({ hybrid_bidirectional: "two_scan" }),
  "neither, untied, with biases": hybridConfig({
    hybrid_bidirectional: "none",
    tie_word_embeddings: false,
    attention_bias: true,
    layer_types: ["full_attention", "linear_attention"],
    num_hidden_layers: 2
  }),
  "both scans, blocks of 3": hybridConfig({ hybrid_bidirectional: "two_scan", attention_block_size: 3 }),
  "attention alone, blocks of 3": hybridConfig({ attention_block_size: 3 }),
  "experts, both scans": expertsConfig({ hybrid_bidirectional: "two_scan" })
}

/** Drawn once a model: the equations ask for a weight again for each token. */
const drawn = new WeakMap<ModelConfig, { readonly [name: string]: Float32Array }>()
const weightValues = (config: ModelConfig): { readonly [name: string]: Float32Array } => {
  const known = drawn.get(config)
  if (known !== undefined) return known
  const values = Object.fromEntries(
    parameterSpecs(config).map(({ name, shape }) => [
      name,
      normals(randomKey(1, name), elements(shape)).map(x => 0.4 * x)
    ])
  )
  drawn.set(config, values)
  return values
}

const trace = (config: ModelConfig, rows: ReadonlyArray<ReadonlyArray<number>>, options: ForwardOptions) => {
  const [batch, length] = [rows.length, rows[0]!.length]
  const weights = weightsOf(config, parameterInputs(parameterSpecs(config)))
  const { final, hiddenStates } = forward(config, weights, input("tokens", "i32", [batch, length]), options)
  return {
    values: { ...weightValues(config), tokens: rows.flat() },
    logits: logits(reshape(final, [batch * length, config.hiddenSize]), weights),
    states: hiddenStates
  }
}
const run = (
  config: ModelConfig,
  row: ReadonlyArray<number>,
  options: ForwardOptions,
  more: Values = {}
): Float64Array => {
  const traced = trace(config, [row], options)
  return evaluateTensors({ logits: traced.logits }, { ...traced.values, ...more }, { exact: true })["logits"]!
}
const farthest = (actual: ArrayLike<number>, expected: ArrayLike<number>): number => {
  expect(actual.length).toBe(expected.length)
  return Array.from(expected).reduce((most, value, i) => Math.max(most, Math.abs(actual[i]! - value)), 0)
}

const tokens = [3, 1, 4, 1, 5, 9, 2, 6]
const ofPlace = (config: ModelConfig, all: Float64Array, place: number) =>
  all.subarray(place * config.vocabSize, (place + 1) * config.vocabSize)

describe.each(Object.entries(configs))("a hybrid decoder, %s", (name, config) => {
  it("computes the states and the logits of the equations, causal or not", () => {
    for (const causal of [true, false]) {
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
    }
  })

  it("lets a token see what it says, and nothing else", () => {
    const blockSize = config.attentionBlockSize ?? Infinity
    const seen = (place: number, other: number, causal: boolean): boolean =>
      causal || name.startsWith("neither")
        ? other <= place
        : Math.floor(other / blockSize) <= Math.floor(place / blockSize)
    for (const causal of [true, false]) {
      const before = run(config, tokens, { causal })
      for (const changed of tokens.keys()) {
        const after = run(config, tokens.with(changed, 7), { causal })
        for (const place of tokens.keys()) {
          const apart = farthest(ofPlace(config, after, place), ofPlace(config, before, place))
          if (seen(place, changed, causal)) expect(apart, `${changed} to ${place}`).toBeGreaterThan(1e-6)
          else expect(apart, `${changed} to ${place}`).toBe(0)
        }
      }
    }
  })

  it("keeps packed documents apart from each other and from padding", () => {
    for (const causal of [true, false]) {
      const documents = [tokens, [8], [8, 6, 1, 2, 2], [6, 6]]
      const padding = [0, 7, 0]
      const length = documents.flat().length + padding.length
      const packed = run(
        config,
        [...documents.flat(), ...padding],
        {
          causal,
          segmentIds: input("segmentIds", "i32", [1, length]),
          positions: input("positions", "i32", [1, length])
        },
        {
          segmentIds: [...documents.flatMap((ids, document) => ids.map(() => document)), ...padding.map(() => -1)],
          positions: [...documents.flatMap(ids => [...ids.keys()]), ...padding.map(() => 0)]
        }
      )
      const alone = documents.flatMap(ids => [...run(config, ids, { causal })])
      expect(farthest(packed.subarray(0, alone.length), alone)).toBeLessThan(1e-12)
      expect(packed.every(Number.isFinite)).toBe(true)
    }
  })

  it("computes each layer again without changing a gradient", () => {
    const gradientsWith = (checkpointLayers: boolean) => {
      const specs = parameterSpecs(config)
      const parameter = parameterInputs(specs)
      const weights = weightsOf(config, parameter)
      const length = tokens.length
      const { final } = forward(config, weights, input("tokens", "i32", [1, length]), {
        causal: false,
        checkpointLayers,
        segmentIds: input("segmentIds", "i32", [1, length])
      })
      const all = logits(reshape(final, [length, config.hiddenSize]), weights)
      const loss = mean(softmaxCrossEntropy(all, input("targets", "i32", [length])))
      const found = gradients(
        loss,
        specs.map(spec => parameter(spec.name))
      )
      return evaluateTensors(
        Object.fromEntries(specs.map((spec, i) => [spec.name, found[i]!])),
        { ...weightValues(config), tokens, targets: tokens.toReversed(), segmentIds: [0, 0, 0, 0, 1, 1, 1, 1] },
        { exact: true }
      )
    }
    const [plain, again] = [gradientsWith(false), gradientsWith(true)]
    for (const [key, values] of Object.entries(plain)) {
      expect(farthest(again[key]!, values), key).toBeLessThan(1e-12)
      expect(
        values.some(value => Math.abs(value) > 1e-9),
        key
      ).toBe(true)
    }
  })
})

describe("hybrid decoders", () => {
  it.live("come out the same on ort, rows of more than a chunk", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        for (const config of [hybridConfig(), expertsConfig()]) {
          const rows = [0, 1].map(r => Array.from({ length: 70 }, (_, i) => (i * i + 3 * i + 5 * r) % config.vocabSize))
          const traced = trace(config, rows, { causal: true })
          const { logits: actual } = yield* runOnce(engine, makeProgram({ logits: traced.logits }), traced.values)
          const expected = rows.flatMap(
            row => bruteForward(config, key => weightValues(config)[key]!, row, true).logits
          )
          expect(farthest(actual!, expected.flat())).toBeLessThan(1e-4)
        }
      })
    )
  )

  it("cost what their products with weights cost, and what tokens see of each other", () => {
    const config = hybridConfig()
    const { headDim, heads } = mixerOf(config.layers, "attention")
    const { keyDim, keyHeads, kernelSize, valueDim, valueHeads } = mixerOf(config.layers, "gated_delta_net")
    const weights = parameterSpecs(config).reduce((total, { shape }) => total + elements(shape), 0)
    // Scores and values; four products of a key by a value in each of three layers; backward is twice forward.
    const attention = 3 * 2 * 2 * heads * headDim * (25 + 9)
    const scans = 3 * 3 * 2 * 4 * valueHeads * keyDim * valueDim * 8
    const oneWay = 3 * 2 * weights * 8 + attention + scans
    for (const choice of hybridBidirectionals) {
      const both = hybridConfig({ hybrid_bidirectional: choice })
      expect(trainingFlops(both, [5, 3], { causal: true })).toBe(oneWay)
      // From right to left there is another scan, and the weights before and behind it are read again: a kernel for each channel, and the norm.
      const back = scans + 3 * 3 * 2 * ((2 * keyHeads * keyDim + valueHeads * valueDim) * kernelSize + valueDim) * 8
      expect(trainingFlops(both, [5, 3], { causal: false })).toBe(choice === "two_scan" ? oneWay + back : oneWay)
    }
    // Each of four layers has three experts of three matrices that a token is not sent to.
    const withExperts = expertsConfig()
    const total = parameterSpecs(withExperts).reduce((all, { shape }) => all + elements(shape), 0)
    expect(countParameters(withExperts)).toBe(total)
    const idle = 4 * 3 * 3 * 6 * withExperts.hiddenSize
    expect(trainingFlops(withExperts, [5, 3], { causal: true })).toBe(3 * 2 * (total - idle) * 8 + attention + scans)
  })
})
