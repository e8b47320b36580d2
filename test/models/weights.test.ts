import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { openTensors, type SaveOptions } from "../../src/formats/tensorFiles.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import {
  absmaxName,
  allocateParameters,
  initialise,
  initialValues,
  type ParameterSpec
} from "../../src/models/parameters.ts"
import { loadWeights, saveWeights } from "../../src/models/weights.ts"
import { bf16Bits, fromBf16Bits } from "../../src/tensor/dtype.ts"
import { quantiseNf4 } from "../../src/tensor/nf4.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const specs: ReadonlyArray<ParameterSpec> = [
  { name: "embed.weight", shape: [7, 4], initial: { normal: 0.5 } },
  { name: "layer.bias", shape: [4], initial: "zeros" },
  { name: "layer.norm", shape: [4], initial: "ones" },
  { name: "layer.weight", shape: [4, 4], initial: { normal: 0.5 } }
]

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const engine = makeReference()
const filesOf = (path: string) => readdirSync(path).map(name => ({ name, path: join(path, name) }))

const save = (options: SaveOptions, named = specs, folder = "model") =>
  Effect.gen(function* () {
    const path = join(directory.path, folder)
    mkdirSync(path, { recursive: true })
    const buffers = yield* allocateParameters(engine, named)
    yield* initialise(engine, buffers, 5)
    const names = yield* saveWeights(engine, name => Effect.succeed(join(path, name)), buffers, options)
    expect([...names].sort()).toEqual(readdirSync(path).sort())
    return path
  })
const load = (path: string, wanted = specs, aliases = {}) =>
  Effect.gen(function* () {
    const buffers = yield* allocateParameters(engine, wanted)
    yield* loadWeights(engine, buffers, yield* openTensors(filesOf(path)), aliases)
    return (yield* engine.download(buffers.flat)) as Float32Array
  })
const expected = specs.flatMap(spec => [...initialValues(spec, 5)])
const messageOf = <A, E extends Error, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ message }) => message)

describe("weights", () => {
  it("start from the seed and the name alone, with the spread of their spec", () => {
    const spec: ParameterSpec = { name: "w", shape: [200, 100], initial: { normal: 0.02 } }
    const values = initialValues(spec, 1)
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length
    expect(Math.abs(mean)).toBeLessThan((4 * 0.02) / Math.sqrt(values.length))
    expect(Math.sqrt(variance)).toBeCloseTo(0.02, 3)
    expect(initialValues(spec, 1)).toEqual(values)
    expect(initialValues({ ...spec, name: "v" }, 1)).not.toEqual(values)
  })

  it.effect("come back from one file and from shards", () =>
    Effect.scoped(
      Effect.gen(function* () {
        expect([...(yield* load(yield* save({ format: "F32" })))]).toEqual(expected)
        const sharded = yield* save({ format: "F32", maxFileBytes: 80 }, specs, "sharded")
        expect(readdirSync(sharded)).toContain("model-00002-of-00003.safetensors")
        expect([...(yield* load(sharded))]).toEqual(expected)
        const half = yield* save({ format: "BF16" }, specs, "half")
        expect([...(yield* load(half))]).toEqual(expected.map(x => fromBf16Bits(bf16Bits(x))))
      })
    )
  )

  it.effect("in 4 bits are read from the same files", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const path = yield* save({ format: "F32" })
        const [embedding, ...others] = specs
        const wanted = [{ ...embedding!, storage: "nf4" } as const, ...others]
        const buffers = yield* allocateParameters(engine, wanted)
        yield* loadWeights(engine, buffers, yield* openTensors(filesOf(path)))
        const { absmax, packed } = quantiseNf4(initialValues(embedding!, 5))
        expect(yield* engine.download(buffers.views["embed.weight"]!)).toEqual(packed)
        expect(yield* engine.download(buffers.views[absmaxName("embed.weight")]!)).toEqual(absmax)
        expect([...((yield* engine.download(buffers.flat)) as Float32Array)]).toEqual(expected.slice(28))
      })
    )
  )

  it.effect("that are missing, unknown or of another shape are named, all of them", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const path = yield* save({ format: "F32" })
        const others: ReadonlyArray<ParameterSpec> = [
          { name: "embed.weight", shape: [4, 7], initial: "zeros" },
          { name: "layer.bias", shape: [4], initial: "zeros" },
          { name: "layer.gate", shape: [4], initial: "zeros" },
          { name: "layer.norm", shape: [4], initial: "zeros" }
        ]
        expect(yield* messageOf(load(path, others))).toBe(
          "the weights do not fit the model's config.json; missing: layer.gate; unknown: layer.weight; " +
            "of another shape: embed.weight is [7, 4], expected [4, 7]"
        )
      })
    )
  )

  it.effect("that a file gives endless names and shapes leave the message short", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const endless = "x".repeat(100_000)
        const many: ParameterSpec = { ...specs[0]!, shape: Array(50_000).fill(1) }
        const path = yield* save({ format: "F32" }, [many, { name: endless, shape: [1], initial: "zeros" }])
        expect(yield* messageOf(load(path, specs.slice(0, 1)))).toMatch(
          /unknown: x{99}…; of another shape: embed.weight is of 50000 axes, expected \[7, 4\]$/
        )
        const index = JSON.stringify({ weight_map: { [endless]: endless } })
        writeFileSync(join(path, "model.safetensors.index.json"), index)
        expect((yield* messageOf(load(path))).length).toBeLessThan(400)
      })
    )
  )

  it.effect("may hold a tied head twice", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const path = yield* save({ format: "F32" }, [...specs, { name: "head", shape: [7, 4], initial: "zeros" }])
        expect(yield* messageOf(load(path))).toMatch(/unknown: head/)
        expect([...(yield* load(path, specs, { head: "embed.weight" }))]).toEqual(expected)
      })
    )
  )

  it.effect("whose index names what is not there, or that lie in two files, are refused", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const path = yield* save({ format: "F32", maxFileBytes: 80 })
        const index = join(path, "model.safetensors.index.json")
        const text = readFileSync(index, "utf8")
        writeFileSync(index, text.replace('"layer.norm": "model-00002', '"layer.norm": "model-00001'))
        expect(yield* messageOf(load(path))).toMatch(/says that the tensor layer.norm is in model-00001-of-00003/)
        writeFileSync(index, text.replace('"layer.norm": "model-00002', '"layer.norm": "model-00007'))
        expect(yield* messageOf(load(path))).toMatch(
          /says that the tensor layer.norm is in model-00007.*, which is not there/
        )
        writeFileSync(index, "{")
        expect(yield* messageOf(load(path))).toMatch(/^model.safetensors.index.json: /)
        writeFileSync(index, text)
        writeFileSync(join(path, "again.safetensors"), readFileSync(join(path, "model-00001-of-00003.safetensors")))
        expect(yield* messageOf(load(path))).toMatch(/is in again.safetensors and in model-00001/)
      })
    )
  )

  it.effect("that are no floating-point numbers are refused", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const path = yield* save({ format: "F32" })
        const file = join(path, "model.safetensors")
        const bytes = readFileSync(file)
        const from = bytes.indexOf('"F32","shape":[4]')
        bytes.set(Buffer.from('"I32"'), from)
        writeFileSync(file, bytes)
        expect(yield* messageOf(load(path))).toMatch(/the tensor layer.bias is I32; weights are F32, BF16, F16 or F64/)
      })
    )
  )
})
