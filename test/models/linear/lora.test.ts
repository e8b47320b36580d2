/** Adapters of low rank against their equations in 64 bits, over weights of every storage. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { linearKind, linearMap, type Adapter, type LinearMap } from "../../../src/models/linear/linearMaps.ts"
import { type Dropout, loraScale } from "../../../src/models/linear/lora.ts"
import { allocateParameters, fill, initialValues, parameterInputs } from "../../../src/models/parameters.ts"
import { gradients } from "../../../src/tensor/autodiff.ts"
import { dequantisedAbsmax, dequantisedNf4, nf4Content } from "../../../src/tensor/nf4.ts"
import { cast, checkpoint, input, mul, sum } from "../../../src/tensor/ops.ts"
import { makeProgram } from "../../../src/tensor/Program.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import type { Tensor } from "../../../src/tensor/Tensor.ts"
import { splitParameters } from "../../../src/training/groups.ts"

const [rows, inputs, outputs, r] = [6, 40, 27, 3]
const plainLora = { r, alpha: 5, rankStabilised: false, dropout: 0, dora: false }
const module = { name: "q_proj", inputs, outputs, bias: true }
const x = normals(randomKey(1, "x"), rows * inputs)
const seed = normals(randomKey(1, "seed"), rows * outputs)

/** Values of all parameters; an adapter's are never at their start, where mistakes do not show. */
const valuesOf = (map: LinearMap): { readonly [name: string]: Float32Array } =>
  Object.fromEntries(
    linearKind(map, { deviation: 0.5 })(module).specs.map(spec => {
      const noise = normals(randomKey(2, spec.name), initialValues(spec, 1).length)
      return [spec.name, spec.name.includes("magnitude") ? noise.map(n => 2 + 0.3 * n) : noise.map(n => 0.5 * n)]
    })
  )

/** The weight as it is multiplied with. */
const stored = (values: Float32Array, { nf4 }: LinearMap): Float32Array => {
  if (nf4 === undefined) return values
  const { absmax, packed } = nf4Content(values, nf4)
  const magnitudes = absmax instanceof Float32Array ? absmax : dequantisedAbsmax(absmax)
  return dequantisedNf4({ packed, absmax: magnitudes }, values.length, nf4.blockSize)
}

interface Found {
  readonly y: ArrayLike<number>
  readonly dx: ArrayLike<number>
  readonly dA: ArrayLike<number>
  readonly dB: ArrayLike<number>
  readonly dM: ArrayLike<number>
}

/** By loops: y = W x + s B A x + b and the gradients of the sum of seed y; with DoRA W + s B A has rows of the magnitudes' lengths, and lengths are constants. */
const byEquations = (map: LinearMap, values: { readonly [name: string]: Float32Array }): Found => {
  const lora = map.lora!
  const s = lora.alpha / (lora.rankStabilised ? Math.sqrt(lora.r) : lora.r)
  const w = stored(values["q_proj.weight"]!, map)
  const [a, b] = [values["q_proj.lora_A.weight"]!, values["q_proj.lora_B.weight"]!]
  const bias = values["q_proj.bias"]!
  const magnitude = values["q_proj.lora_magnitude_vector"]
  const v = Float64Array.from({ length: outputs * inputs }, (_, at) => {
    const [o, i] = [Math.floor(at / inputs), at % inputs]
    let change = 0
    for (let k = 0; k < r; k++) change += b[o * r + k]! * a[k * inputs + i]!
    return w[at]! + s * change
  })
  const stretch = Float64Array.from({ length: outputs }, (_, o) => {
    if (magnitude === undefined) return 1
    let square = 0
    for (let i = 0; i < inputs; i++) square += v[o * inputs + i]! ** 2
    return magnitude[o]! / Math.sqrt(square)
  })
  const found = {
    y: new Float64Array(rows * outputs),
    dx: new Float64Array(rows * inputs),
    dA: new Float64Array(r * inputs),
    dB: new Float64Array(outputs * r),
    dM: new Float64Array(magnitude === undefined ? 0 : outputs)
  }
  for (let n = 0; n < rows; n++)
    for (let o = 0; o < outputs; o++) {
      const g = seed[n * outputs + o]!
      let product = 0
      for (let i = 0; i < inputs; i++) {
        product += v[o * inputs + i]! * x[n * inputs + i]!
        found.dx[n * inputs + i]! += g * stretch[o]! * v[o * inputs + i]!
        for (let k = 0; k < r; k++) {
          found.dA[k * inputs + i]! += g * stretch[o]! * s * b[o * r + k]! * x[n * inputs + i]!
          found.dB[o * r + k]! += g * stretch[o]! * s * a[k * inputs + i]! * x[n * inputs + i]!
        }
      }
      found.y[n * outputs + o] = stretch[o]! * product + bias[o]!
      if (magnitude !== undefined) found.dM[o]! += (g * stretch[o]! * product) / magnitude[o]!
    }
  return found
}

const adapterParameters = (map: LinearMap): { readonly [name: string]: string } => ({
  dA: "q_proj.lora_A.weight",
  dB: "q_proj.lora_B.weight",
  ...(map.lora?.dora === true ? { dM: "q_proj.lora_magnitude_vector" } : {})
})

const traced = (map: LinearMap) => {
  const { make, specs } = linearKind(map, { deviation: 0.5 })(module)
  const parameter = parameterInputs(specs)
  const given = input("x", "f32", [rows, inputs])
  const y = make(parameter)(given)
  const trained = Object.entries(adapterParameters(map))
  const loss = sum(mul(y, input("seed", "f32", [rows, outputs])))
  const [dx, ...others] = gradients(loss, [given, ...trained.map(([, name]) => parameter(name))])
  return { specs, outputs: { y, dx: dx!, ...Object.fromEntries(trained.map(([key], i) => [key, others[i]!])) } }
}

const expectClose = (actual: ArrayLike<number>, expected: ArrayLike<number>, bound: number): void => {
  expect(actual.length).toBe(expected.length)
  const scale = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9)
  for (let i = 0; i < expected.length; i++)
    expect(Math.abs(actual[i]! - expected[i]!) / scale, `number ${i}`).toBeLessThan(bound)
}

const bases: { readonly [name: string]: LinearMap } = {
  "dense weights": {},
  NF4: { nf4: { blockSize: 64, doubleQuant: false } },
  "NF4 with double quantisation": { nf4: { blockSize: 32, doubleQuant: true } }
}
const kinds = {
  LoRA: plainLora,
  rsLoRA: { ...plainLora, rankStabilised: true },
  DoRA: { ...plainLora, dora: true }
}

describe.each(Object.entries(bases))("over %s", (_base, base) => {
  it.live.each(Object.entries(kinds))("%s and its gradients are those of the equations", ([, lora]) =>
    Effect.scoped(
      Effect.gen(function* () {
        const map = { ...base, lora }
        const values = valuesOf(map)
        const expected = byEquations(map, values)
        const { outputs: wanted, specs } = traced(map)
        const engine = yield* makeOrt({ threads: 1 })
        const { views } = yield* allocateParameters(engine, specs)
        for (const spec of specs) yield* fill(engine, spec, views, values[spec.name]!)
        const buffers: { [name: string]: (typeof views)[string] } = { ...views }
        for (const [name, data, shape] of [
          ["x", x, [rows, inputs]],
          ["seed", seed, [rows, outputs]]
        ] as const) {
          buffers[name] = yield* engine.allocate("f32", shape)
          yield* engine.upload(buffers[name], data)
        }
        const program = makeProgram(wanted)
        const results: { [name: string]: (typeof views)[string] } = {}
        for (const [name, tensor] of Object.entries<Tensor>(wanted))
          results[name] = yield* engine.allocate("f32", tensor.shape)
        const used = Object.fromEntries(program.inputs.map(({ name }) => [name, buffers[name]!]))
        yield* engine.run([yield* engine.bind(yield* engine.compile(program), used, results)])
        for (const name of Object.keys(wanted) as Array<keyof Found>)
          expectClose((yield* engine.download(results[name]!)) as Float32Array, expected[name], 5e-6)
      })
    )
  )

  it("alone is trained, and the weight is made again for the backward pass", () => {
    const map = { ...base, lora: plainLora }
    const { outputs: wanted, specs } = traced(map)
    expect(splitParameters(specs, []).trainable.map(({ name }) => name)).toEqual([
      "q_proj.lora_A.weight",
      "q_proj.lora_B.weight"
    ])
    const made = makeProgram(wanted).instructions.filter(({ op }) => op === "dequantiseNf4")
    expect(made).toHaveLength(base.nf4 === undefined ? 0 : 2)
  })

  it("of 16-bit activations is computed in f32 and cast back", () => {
    const { make, specs } = linearKind({ ...base, lora: plainLora }, { deviation: 0.5 })({ ...module, bias: false })
    const asIs = parameterInputs(specs)
    // The base in the activations' dtype, as an engine of lower precision has it.
    const parameter = (name: string): Tensor =>
      name === "q_proj.weight" && base.nf4 === undefined ? cast(asIs(name), "bf16") : asIs(name)
    expect(make(parameter)(cast(input("x", "f32", [rows, inputs]), "bf16")).dtype).toBe("bf16")
  })
})

describe("an adapter", () => {
  it("has the published scales", () => {
    expect(loraScale({ r: 16, alpha: 32, rankStabilised: true })).toBe(8)
    expect(loraScale({ r: 16, alpha: 32, rankStabilised: false })).toBe(2)
  })

  it("begins within Kaiming's bound, and changes nothing", () => {
    const { specs } = linearKind({ lora: plainLora }, { deviation: 0.5 })({ ...module, inputs: 4000, outputs: 9 })
    const [a, b] = specs.slice(-2).map(spec => initialValues(spec, 7)) as [Float32Array, Float32Array]
    const bound = 1 / Math.sqrt(4000)
    const most = a.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
    expect(most).toBeLessThanOrEqual(bound)
    expect(most).toBeGreaterThan(0.999 * bound)
    const variance = a.reduce((total, value) => total + value ** 2, 0) / a.length
    expect(variance / (bound ** 2 / 3)).toBeCloseTo(1, 1)
    expect(Math.abs(a.reduce((total, value) => total + value, 0) / a.length)).toBeLessThan(0.03 * bound)
    expect(b.every(value => value === 0)).toBe(true)
  })

  it("is chosen by the names of modules, and its rank and alpha by patterns, of which the first decides", () => {
    const adapter: Adapter = {
      ...plainLora,
      targetModules: ["q_proj", "layers.1.mlp.down_proj"],
      rankPattern: { "layers\\.0\\..*": 7, q_proj: 9 },
      alphaPattern: { "model.layers.3.self_attn.q_proj": 1, proj: 99 },
      trainableTokens: []
    }
    const at = (name: string) => linearMap({ adapter }, `model.layers.${name}`).lora
    expect(at("0.self_attn.q_proj")).toMatchObject({ r: 7, alpha: 5 })
    expect(at("2.self_attn.q_proj")).toMatchObject({ r: 9, alpha: 5 })
    expect(at("3.self_attn.q_proj")).toMatchObject({ r: 9, alpha: 1 })
    expect(at("1.mlp.down_proj")).toMatchObject({ r: 3 })
    expect(at("11.mlp.down_proj")).toBeUndefined()
    expect(at("2.self_attn.k_proj")).toBeUndefined()
    expect(at("2.self_attn.my_q_proj")).toBeUndefined()
    expect(
      linearMap({ adapter: { ...adapter, targetModules: "auto" } }, "model.layers.2.mlp.up_proj").lora
    ).toBeDefined()
  })
})

describe("dropout", () => {
  const rate = 0.25
  const map: LinearMap = { lora: { ...plainLora, dropout: rate } }
  const values = valuesOf(map)
  const key = input("key", "i64", [2])
  const wide = 400
  const run = (random: Dropout | undefined, words: readonly [number, number], again = false) => {
    const { make, specs } = linearKind(map, { deviation: 0.5, ...(random === undefined ? {} : { random }) })(module)
    const parameter = parameterInputs(specs)
    const given = input("x", "f32", [wide, inputs])
    const layer = make(parameter)
    const y = again ? checkpoint(() => layer(given)) : layer(given)
    const [dA] = gradients(sum(mul(y, y)), [parameter("q_proj.lora_A.weight")])
    const data = { ...values, x: normals(randomKey(3, "x"), wide * inputs), key: [...words] }
    return evaluateTensors({ y, dA: dA! }, data, { exact: true })
  }

  it("is the same for the same key and module, and another for another", () => {
    const at = (name: string) => ({ key, module: name })
    const first = run(at("a"), [1, 2])
    expect(run(at("a"), [1, 2])).toEqual(first)
    expect(run(at("b"), [1, 2])["y"]).not.toEqual(first["y"])
    expect(run(at("a"), [1, 3])["y"]).not.toEqual(first["y"])
    expect(run(at("a"), [2 ** 32 - 1, 2 ** 32 - 1])["y"]).not.toEqual(first["y"])
  })

  it("drops the same in a layer that is computed again for the backward pass", () => {
    const first = run({ key, module: "a" }, [5, 6])
    const again = run({ key, module: "a" }, [5, 6], true)
    expect(again["y"]).toEqual(first["y"])
    expectClose(again["dA"]!, first["dA"]!, 1e-12)
  })

  it("drops its share and keeps the mean; without a key nothing is dropped", () => {
    // With A and B that add up all inputs, y - W x - b is s times the sum of what was kept.
    const { make, specs } = linearKind(map, { deviation: 0.5, random: { key, module: "a" } })({
      ...module,
      inputs: 1,
      outputs: 1,
      bias: false
    })
    const many = 20_000
    const y = make(parameterInputs(specs))(input("x", "f32", [many, 1]))
    const all = { "q_proj.weight": [0], "q_proj.lora_A.weight": [1, 0, 0], "q_proj.lora_B.weight": [3 / 5, 0, 0] }
    const { y: kept } = evaluateTensors(
      { y },
      { ...all, x: new Float32Array(many).fill(1), key: [1, 1] },
      { exact: true }
    )
    const zeros = kept!.filter(value => value === 0).length
    // Four standard deviations of a count.
    expect(Math.abs(zeros - rate * many)).toBeLessThan(4 * Math.sqrt(many * rate * (1 - rate)))
    for (const value of kept!) if (value !== 0) expect(value).toBeCloseTo(1 / (1 - rate), 6)
    expect(run(undefined, [1, 2])["y"]).not.toEqual(run({ key, module: "a" }, [1, 2])["y"])
  })
})
