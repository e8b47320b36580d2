/** Layers are put together from parts: other ways to store weights and other kinds of layers fit in without a change of what is there. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { parameterSpecs } from "../../../src/models/config.ts"
import { decoderLayer, makeLayer } from "../../../src/models/layers/layer.ts"
import type { Mixer } from "../../../src/models/layers/mixer.ts"
import { dense, type LinearKind } from "../../../src/models/linear/linear.ts"
import {
  absmaxName,
  allocateParameters,
  initialise,
  initialValues,
  parameterInputs
} from "../../../src/models/parameters.ts"
import { forward, layerContext, logits, weightsOf } from "../../../src/models/decoder.ts"
import { gradients } from "../../../src/tensor/autodiff.ts"
import { add, input, matmul, mul, reshape, sum } from "../../../src/tensor/ops.ts"
import { makeProgram } from "../../../src/tensor/Program.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import { dequantisedNf4, quantiseNf4 } from "../../../src/tensor/nf4.ts"
import { matmulNf4 } from "../../../src/tensor/quantised.ts"
import { splitParameters } from "../../../src/training/groups.ts"
import { modelConfig } from "../../support/tinyModel.ts"
import { bruteForward } from "../bruteForce.ts"

const config = modelConfig({ layers: 1, initializerRange: 0.5 })
const length = 5

/** Weights in 4 bits, left alone in training, and a product of rank 2 that is trained. */
const adapted: LinearKind = ({ inputs, name, outputs }) => ({
  specs: [
    { name: `${name}.weight`, shape: [outputs, inputs], initial: { normal: 0.5 }, storage: "nf4", trained: false },
    { name: `${name}.down`, shape: [2, inputs], initial: { normal: 0.3 } },
    { name: `${name}.up`, shape: [outputs, 2], initial: { normal: 0.3 } }
  ],
  make: parameter => x => {
    const [packed, absmax] = [parameter(`${name}.weight`), parameter(absmaxName(`${name}.weight`))]
    const low = matmul(x, parameter(`${name}.down`), { transposeB: true })
    return add(
      matmulNf4(x, { packed, absmax, out: outputs }),
      matmul(low, parameter(`${name}.up`), { transposeB: true })
    )
  }
})
const layerOfKind = (kind: LinearKind) =>
  makeLayer(config.layers[0]!, { hiddenSize: config.hiddenSize, linear: kind, deviation: 0.5 })

describe("layers", () => {
  it.live("compute with weights that are stored in 4 bits and carry an adapter, which alone is trained", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { make, specs } = layerOfKind(adapted)
        const plain = layerOfKind(dense(0.5))
        const x = input("x", "f32", [1, length, config.hiddenSize])
        const context = layerContext(config, length, "f32", { causal: true })
        const parameter = parameterInputs(specs)
        const y = make(parameter)(context)(x)
        const trained = splitParameters(specs, ["norm"]).trainable.map(({ name }) => name)
        expect(trained).toHaveLength(2 * 7)
        const found = gradients(
          sum(mul(y, y)),
          trained.map(name => parameter(name))
        )
        const program = makeProgram({ y, ...Object.fromEntries(trained.map((name, i) => [`g/${name}`, found[i]!])) })

        const values = Object.fromEntries(specs.map(spec => [spec.name, initialValues(spec, 1)]))
        const data = normals(randomKey(2, "x"), length * config.hiddenSize)

        const engine = yield* makeOrt({ threads: 1 })
        const parameters = yield* allocateParameters(engine, specs)
        yield* initialise(engine, parameters, 1)
        const outputs = Object.fromEntries(
          yield* Effect.forEach(program.outputs, ({ name, value }) =>
            Effect.map(engine.allocate("f32", program.values[value]!.shape), buffer => [name, buffer] as const)
          )
        )
        const xBuffer = yield* engine.allocate("f32", x.shape)
        yield* engine.upload(xBuffer, data)
        const call = yield* engine.bind(yield* engine.compile(program), { ...parameters.views, x: xBuffer }, outputs)
        yield* engine.run([call])

        // The same with dense weights that are the sum of both.
        const dense64 = Object.fromEntries(
          plain.specs.map(({ name, shape }) => {
            const module = name.replace(/\.weight$/, "")
            if (shape.length === 1) return [name, values[name]!]
            const [rows, columns] = shape as [number, number]
            const base = dequantisedNf4(quantiseNf4(values[name]!), rows * columns)
            const [down, up] = [values[`${module}.down`]!, values[`${module}.up`]!]
            return [
              name,
              Float64Array.from({ length: rows * columns }, (_, at) => {
                const [r, c] = [Math.floor(at / columns), at % columns]
                return base[at]! + up[2 * r]! * down[c]! + up[2 * r + 1]! * down[columns + c]!
              })
            ]
          })
        )
        const expected = evaluateTensors(
          { y: plain.make(parameterInputs(plain.specs))(context)(x) },
          { ...dense64, x: data },
          { exact: true }
        )["y"]!
        const actual = (yield* engine.download(outputs["y"]!)) as Float32Array
        for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 4)
        for (const name of trained) {
          const gradient = (yield* engine.download(outputs[`g/${name}`]!)) as Float32Array
          expect(gradient.some(element => Math.abs(element) > 1e-4)).toBe(true)
        }
      })
    )
  )

  it("of different kinds make one stack", () => {
    const tokens = [3, 1, 4, 1, 5]
    const specs = parameterSpecs(config)
    const weights = weightsOf(config, parameterInputs(specs))
    // A layer of other parts, which leaves everything as it is.
    const nothing: Mixer = { specs: [], make: () => () => x => mul(x, 0), cache: () => [], flops: () => 0 }
    const other = decoderLayer(nothing, { specs: [], make: () => x => mul(x, 0) }, config.norm, config.hiddenSize)
    const layers = [other.make(parameterInputs(other.specs)), ...weights.layers]
    const { final, hiddenStates } = forward(config, { ...weights, layers }, input("tokens", "i32", [1, length]), {
      causal: true
    })
    expect(hiddenStates).toHaveLength(3)
    const values = Object.fromEntries(specs.map(spec => [spec.name, initialValues(spec, 5)]))
    const ones = Object.fromEntries(other.specs.map(spec => [spec.name, initialValues(spec, 5)]))
    const actual = evaluateTensors(
      { logits: logits(reshape(final, [length, config.hiddenSize]), weights) },
      { ...ones, ...values, tokens },
      { exact: true }
    )["logits"]!
    const expected = bruteForward(config, name => values[name]!, tokens, true).logits.flat()
    expect(actual).toHaveLength(expected.length)
    for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 5)
  })
})
