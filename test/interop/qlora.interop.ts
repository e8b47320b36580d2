/** NF4 against bitsandbytes and transformers: the same bytes and numbers in both directions. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { nf4Group, quantisedTensors } from "../../src/formats/bitsandbytes.ts"
import { torchNames } from "../../src/formats/floats.ts"
import { saveTensorFile } from "../../src/formats/tensorFiles.ts"
import { nf4Content } from "../../src/tensor/nf4.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { elements } from "../../src/tensor/Tensor.ts"
import { python } from "./python.ts"
import {
  all,
  denseModel,
  difference,
  inNf4,
  logitsJob,
  opened,
  ourLogits,
  qwen2,
  qwen3,
  tensorsOf
} from "./smallModels.ts"

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "interop-qlora-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** A file of a job. */
const outputOf = (name: string): string => join(directory, `${name}.safetensors`)

/** Short last blocks, odd numbers, blocks of zeros, more magnitudes than one nested block, more than a thread's worth of them, and extremes. */
const weights: { readonly [name: string]: readonly [shape: ReadonlyArray<number>, values: (i: number) => number] } = {
  square: [[64, 64], i => Math.sin(i * 1.7) * 0.02],
  odd: [[3, 7], i => Math.cos(i)],
  short: [[50, 30], i => Math.sin(i * i)],
  zeros: [[3, 50], i => (i < 64 ? 0 : i < 128 ? Math.sin(i) : 0)],
  nothing: [[4, 64], () => 0],
  alike: [[40, 64], () => 0.25],
  extremes: [[8, 64], i => (i % 3 === 0 ? 1e30 : i % 3 === 1 ? -1e-30 : i * 1e-3)]
}
const random: { readonly [name: string]: ReadonlyArray<number> } = { nested: [300, 160], large: [1100, 2048] }

const valuesOf = (): ReadonlyArray<{
  readonly name: string
  readonly shape: ReadonlyArray<number>
  readonly values: Float32Array<ArrayBuffer>
}> => [
  ...Object.entries(weights).map(([name, [shape, at]]) => ({
    name,
    shape,
    values: Float32Array.from({ length: elements(shape) }, (_, i) => at(i))
  })),
  ...Object.entries(random).map(([name, shape]) => ({
    name,
    shape,
    values: normals(randomKey(1, name), elements(shape)).map(x => x * 0.02)
  }))
]

const layouts = [
  { blockSize: 64, doubleQuant: false },
  { blockSize: 64, doubleQuant: true },
  { blockSize: 32, doubleQuant: true },
  { blockSize: 4096, doubleQuant: true }
]

it.live("weights in NF4 have the bytes of bitsandbytes, and its numbers when they are read, in both directions", () =>
  Effect.gen(function* () {
    const given = valuesOf()
    const dense = join(directory, "dense.safetensors")
    yield* saveTensorFile(
      dense,
      given.map(({ name, shape, values }) => ({ name, shape, floats: Effect.succeed(values) })),
      "F32"
    )
    const fileOf = (what: string, i: number): string => outputOf(`${what}-${i}`)
    for (const [i, layout] of layouts.entries())
      yield* saveTensorFile(
        fileOf("ours", i),
        given.map(({ name, shape, values }) =>
          nf4Group(name, shape, { layout, format: "F32" }, Effect.succeed(nf4Content(values, layout)))
        ),
        "F32"
      )
    python(
      "qlora.py",
      layouts.flatMap((layout, i) => [
        { action: "quantise", input: dense, ...layout, output: fileOf("theirs", i) },
        { action: "dequantise", input: fileOf("ours", i), output: fileOf("read", i) }
      ])
    )
    for (const [i, layout] of layouts.entries()) {
      const theirs = yield* quantisedTensors(yield* tensorsOf(fileOf("theirs", i)))
      const ours = yield* quantisedTensors(yield* tensorsOf(fileOf("ours", i)))
      const read = yield* tensorsOf(fileOf("read", i))
      for (const { name, shape, values } of given) {
        const text = `${name} in blocks of ${layout.blockSize}, double: ${layout.doubleQuant}`
        const { nf4 } = theirs.get(name)!
        expect(nf4!.layout).toEqual(layout)
        expect(yield* nf4!.content, text).toEqual(nf4Content(values, layout))
        expect(yield* all(theirs, name), text).toEqual(yield* all(theirs, `dequantised/${name}`))
        expect(read.get(name)!.shape).toEqual(shape)
        expect(yield* all(read, name), text).toEqual(yield* all(ours, name))
      }
    }
  })
)

it.live("a model in NF4 of transformers has our bytes and logits, and ours its", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const models = yield* Effect.forEach(
        [
          { json: qwen3, format: "F32", doubleQuant: false },
          { json: qwen2, format: "F32", doubleQuant: true },
          { json: qwen3, format: "BF16", doubleQuant: true }
        ] as const,
        ({ doubleQuant, format, json }, i) =>
          Effect.gen(function* () {
            const base = yield* denseModel(join(directory, `dense-${i}`), json, format)
            const ours = yield* inNf4(join(directory, `ours-${i}`), yield* opened(base), doubleQuant)
            return { name: String(i), base, ours, saved: join(directory, `theirs-${i}`), doubleQuant, format }
          })
      )
      python(
        "qlora.py",
        models.flatMap(({ base, doubleQuant, name, ours, saved }) => [
          logitsJob(outputOf(`theirs-${name}`), { directory: base, quantise: { doubleQuant }, saveModel: saved }),
          logitsJob(outputOf(`ours-${name}`), { directory: ours })
        ])
      )
      for (const { format, name, ours: path, saved } of models) {
        const [ours, theirs] = [yield* opened(path), yield* opened(saved)]
        expect([...ours.tensors.keys()].toSorted()).toEqual([...theirs.tensors.keys()].toSorted())
        for (const [key, { nf4 }] of ours.tensors)
          if (nf4 !== undefined) {
            expect(nf4.dtype).toBe(torchNames[format])
            expect(yield* nf4.content, key).toEqual(yield* theirs.tensors.get(key)!.nf4!.content)
          }
        for (const [model, who] of [
          [ours, "ours"],
          [theirs, "theirs"]
        ] as const) {
          const there = yield* all(yield* tensorsOf(outputOf(`${who}-${name}`)), "logits")
          expect(difference(yield* ourLogits(model), there), `${who}-${name}`).toBeLessThan(1e-5)
        }
      }
    })
  )
)
