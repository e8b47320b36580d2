/** Weights in NF4 in files: what is written is read again, number by number, and what does not fit together is refused. */
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { nf4Group, quantise, quantisedTensors } from "../../src/formats/bitsandbytes.ts"
import { openTensors, saveTensors, type TensorGroup } from "../../src/formats/tensorFiles.ts"
import { dequantisedAbsmax, dequantisedNf4, nf4Content, type Nf4Layout } from "../../src/tensor/nf4.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const save = (groups: ReadonlyArray<TensorGroup<never>>, maxFileBytes = 1e9) =>
  Effect.gen(function* () {
    const names = yield* saveTensors(name => Effect.succeed(join(directory.path, name)), groups, {
      format: "F32",
      maxFileBytes
    })
    return yield* openTensors(names.map(name => ({ name, path: join(directory.path, name) })))
  })

const group = (name: string, shape: ReadonlyArray<number>, values: Float32Array, layout: Nf4Layout) =>
  nf4Group(name, shape, { layout, format: "BF16" }, Effect.succeed(nf4Content(values, layout)))

const dense = (values: Float32Array, layout: Nf4Layout): Float32Array => {
  const { absmax, packed } = nf4Content(values, layout)
  const magnitudes = absmax instanceof Float32Array ? absmax : dequantisedAbsmax(absmax)
  return dequantisedNf4({ packed, absmax: magnitudes }, values.length, layout.blockSize)
}

const layouts = fc.record({ blockSize: fc.constantFrom(32, 64, 128, 4096), doubleQuant: fc.boolean() })

describe("weights in NF4", () => {
  it.effect("of any shape and layout are read as they were written, whole and in pieces", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 40 }),
          fc.integer({ min: 1, max: 700 }),
          layouts,
          fc.integer({ min: 0, max: 1e6 }),
          fc.float({ min: 0, max: 1, noNaN: true }),
          fc.float({ min: 0, max: 1, noNaN: true }),
          async (rows, columns, layout, seed, first, second) => {
            const n = rows * columns
            const values = normals(randomKey(seed, "weight"), n)
            const raw = await Effect.runPromise(save([group("a.weight", [rows, columns], values, layout)]))
            expect([...raw.keys()].every(name => name.startsWith("a.weight"))).toBe(true)
            expect(raw.size).toBe(layout.doubleQuant ? 6 : 4)
            const found = await Effect.runPromise(quantisedTensors(raw))
            expect([...found.keys()]).toEqual(["a.weight"])
            const tensor = found.get("a.weight")!
            expect(tensor.shape).toEqual([rows, columns])
            expect(tensor.nf4).toMatchObject({ layout, dtype: "bfloat16", shaped: true })
            expect(await Effect.runPromise(tensor.nf4!.content)).toEqual(nf4Content(values, layout))
            const expected = dense(values, layout)
            const [from, to] = [first, second].map(share => Math.floor(share * n)).toSorted((a, b) => a - b) as [
              number,
              number
            ]
            expect(await Effect.runPromise(tensor.floats(from, to))).toEqual(expected.slice(from, to))
            expect(await Effect.runPromise(tensor.floats(0, n))).toEqual(expected)
          }
        ),
        { numRuns: 40 }
      )
    )
  )

  it.effect("lie in shards with others, the parts of each in one file", () =>
    Effect.gen(function* () {
      const layout = { blockSize: 64, doubleQuant: true }
      const values = ["a", "b", "c"].map(name => normals(randomKey(1, name), 300))
      const groups = values.map((each, i) => group(`${"abc"[i]}.weight`, [10, 30], each, layout))
      const raw = yield* save(groups, 4000)
      expect(new Set(Array.from(raw.values(), ({ file }) => file)).size).toBe(2)
      for (const name of ["a.weight", "b.weight", "c.weight"]) {
        const parts = [...raw.values()].filter(tensor => tensor.name.startsWith(name))
        expect(new Set(parts.map(({ file }) => file)).size).toBe(1)
      }
      const found = yield* quantisedTensors(raw)
      for (const [i, each] of values.entries())
        expect(yield* found.get(`${"abc"[i]}.weight`)!.floats(0, 300)).toEqual(dense(each, layout))
    })
  )

  it.effect("have their magnitudes' mean in a text of one length, whatever it is", () =>
    Effect.gen(function* () {
      const layout = { blockSize: 64, doubleQuant: true }
      const sizes = [1, 1e-30, 1 / 3, 0].map(scale => {
        const state = group("w", [1, 64], new Float32Array(64).fill(scale), layout).tensors[1]!
        return state.shape[0]
      })
      expect(new Set(sizes).size).toBe(1)
      const tiny = new Float32Array(64).fill(1.234e-30)
      const found = yield* quantisedTensors(yield* save([group("w", [1, 64], tiny, layout)]))
      expect(yield* found.get("w")!.floats(0, 64)).toEqual(tiny)
    })
  )

  it.effect("with a number that is not finite are not made: its place is named", () =>
    Effect.gen(function* () {
      for (const doubleQuant of [false, true])
        for (const [odd, text] of [
          [NaN, "NaN"],
          [-Infinity, "-Infinity"]
        ] as const) {
          const values = normals(randomKey(1, "w"), 600)
          values[437] = odd
          const { message } = yield* Effect.flip(quantise("model.w", [20, 30], values, { blockSize: 64, doubleQuant }))
          expect(message).toBe(`the weight model.w has ${text} at [14, 17]; it cannot be quantised to NF4`)
        }
    })
  )
})

/** Tensors of a weight [4, 32], and what somebody did to them. */
const damaged = (change: (parts: Map<string, { dtype: string; shape: Array<number>; bytes: Uint8Array }>) => void) =>
  Effect.gen(function* () {
    const made = group("w", [4, 32], normals(randomKey(1, "w"), 128), { blockSize: 32, doubleQuant: true })
    const bytes = yield* made.bytes
    const parts = new Map(
      made.tensors.map(({ dtype, name, shape }, i) => [
        name,
        { dtype: dtype as string, shape: [...shape], bytes: Uint8Array.from(bytes[i]!) }
      ])
    )
    change(parts)
    const tensors = Array.from(parts, ([name, { dtype, shape }]) => ({ name, dtype, shape })) as never
    const raw = yield* save([{ tensors, bytes: Effect.succeed(Array.from(parts.values(), part => part.bytes)) }])
    const found = yield* quantisedTensors(raw)
    return yield* found.get("w")!.floats(0, 128)
  })

const stateName = "w.quant_state.bitsandbytes__nf4"
type Parts = Parameters<Parameters<typeof damaged>[0]>[0]
const restate =
  (change: (state: { [field: string]: unknown }) => void) =>
  (parts: Parts): void => {
    const state = JSON.parse(new TextDecoder().decode(parts.get(stateName)!.bytes)) as { [field: string]: unknown }
    change(state)
    const bytes = new TextEncoder().encode(JSON.stringify(state))
    parts.set(stateName, { dtype: "U8", shape: [bytes.length], bytes })
  }

describe("refused, by the names of weight and part,", () => {
  const cases: ReadonlyArray<readonly [string, (parts: Parts) => void, RegExp]> = [
    ["a missing part", parts => parts.delete("w.nested_absmax"), /weight w in NF4: nested_absmax is missing$/],
    ["a missing weight", parts => parts.delete("w"), /there is no w to it$/],
    [
      "magnitudes of another number",
      parts => parts.set("w.absmax", { dtype: "U8", shape: [5], bytes: new Uint8Array(5) }),
      /absmax is U8 \[5\], expected U8 \[4\]$/
    ],
    [
      "magnitudes of another type",
      parts => parts.set("w.absmax", { dtype: "F32", shape: [4], bytes: new Uint8Array(16) }),
      /absmax is F32 \[4\], expected U8 \[4\]$/
    ],
    [
      "too few codes",
      parts => parts.set("w", { dtype: "U8", shape: [63, 1], bytes: new Uint8Array(63) }),
      /\[4, 32\] takes 64 bytes, there are 63$/
    ],
    [
      "a map of another format",
      parts => parts.get("w.quant_map")!.bytes.fill(0, 12, 16),
      /quant_map is not the one of its format, from number 3 on$/
    ],
    [
      "another dynamic map",
      parts => parts.get("w.nested_quant_map")!.bytes.fill(1, 40, 44),
      /nested_quant_map is not the one of its format, from number 10 on$/
    ],
    [
      "a magnitude that is NaN",
      parts => parts.get("w.nested_absmax")!.bytes.fill(255),
      /the magnitude of one of its blocks is no finite number$/
    ],
    ["another kind of quantisation", restate(state => (state["quant_type"] = "fp4")), /its state: .*"nf4"/s],
    ["an odd block size", restate(state => (state["blocksize"] = 48)), /its state: .*blocksize/s],
    ["a field that is not known", restate(state => (state["zero_point"] = 1)), /its state: .*zero_point/s],
    ["a state without its mean", restate(state => delete state["nested_offset"]), /its state: /],
    ["a mean that is not finite", restate(state => (state["nested_offset"] = "NaN")), /its state: .*nested_offset/s],
    ["a state that is no JSON", parts => parts.get(stateName)!.bytes.fill(0), /weight w in NF4: its state: /],
    [
      "FP4",
      parts => {
        parts.set("w.quant_state.bitsandbytes__fp4", parts.get(stateName)!)
        parts.delete(stateName)
      },
      /it is in fp4; of the formats of bitsandbytes, nf4 alone is supported$/
    ]
  ]
  it.effect.each(cases)("%s", ([, change, expected]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(damaged(change))
      expect(error.message).toMatch(expected)
      expect(error.message).toContain("model.safetensors")
    })
  )

  it.effect("and nothing is when a state leaves the shape to the model, or numbers are packed in floats", () =>
    Effect.gen(function* () {
      const values = yield* damaged(() => {})
      expect(yield* damaged(restate(state => (state["shape"] = null)))).toEqual(values)
      // quant_storage: the same bytes under another type.
      const floats = (parts: Parts) => parts.set("w", { ...parts.get("w")!, dtype: "BF16", shape: [32, 1] })
      expect(yield* damaged(floats)).toEqual(values)
    })
  )
})
