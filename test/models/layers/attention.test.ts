/** The masks of attention beside plain loops over places, documents and positions; its gradients beside differences, in float64. */
import { describe, expect, it } from "vitest"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { attend, attentionMask, rotation } from "../../../src/models/layers/attention.ts"
import { vjp } from "../../../src/tensor/autodiff.ts"
import { makeProgram } from "../../../src/tensor/Program.ts"
import { input, mul, rotate, sum } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import { below, seeded } from "../../support/random.ts"

/** Rows of documents of any length, one after the other, some of them cut off at the beginning, and padding behind them. */
const drawnRows = (rows: number, length: number, random: () => number) => {
  const segmentIds: Array<number> = []
  const positions: Array<number> = []
  for (let r = 0; r < rows; r++) {
    let [document, position, left] = [0, below(random, 4), 1 + below(random, 9)]
    const padding = below(random, 4)
    for (let i = 0; i < length; i++) {
      if (left === 0) [document, position, left] = [document + 1, 0, 1 + below(random, 9)]
      const padded = i >= length - padding
      segmentIds.push(padded ? -1 : document)
      positions.push(padded ? 0 : position)
      position++
      left--
    }
  }
  return { segmentIds, positions }
}

describe("who may see whom", () => {
  const [rows, length] = [5, 17]
  const shape = [rows, length]
  for (const causal of [true, false])
    for (const blockSize of [undefined, 1, 4, 5, 32])
      for (const packed of [true, false])
        it(`${causal ? "causal" : "not causal"}, blocks of ${blockSize ?? "any size"}, ${packed ? "packed documents" : "one document"}`, () => {
          const { segmentIds, positions } = drawnRows(rows, length, seeded(3))
          const given = packed
            ? { segmentIds: input("segmentIds", "i32", shape), positions: input("positions", "i32", shape) }
            : {}
          const mask = attentionMask(
            { causal, ...given, ...(blockSize === undefined ? {} : { blockSize }) },
            length,
            "f32"
          )
          if (mask === undefined) {
            expect([causal, blockSize, packed]).toEqual([false, undefined, false])
            return
          }
          const values = packed ? { segmentIds, positions } : {}
          const found = evaluateTensors({ added: mask.added }, values)["added"]!
          const ofRows = packed ? rows : 1
          expect(mask.causal).toBe(causal)
          expect(mask.added.shape).toEqual([ofRows, 1, 1, length, length])
          for (let r = 0; r < ofRows; r++)
            for (let q = 0; q < length; q++)
              for (let k = 0; k < length; k++) {
                const [atQ, atK] = [r * length + q, r * length + k]
                const together = !packed || (segmentIds[atK]! >= 0 && segmentIds[atQ] === segmentIds[atK])
                const block = (place: number, at: number): number =>
                  Math.floor((packed ? positions[at]! : place) / (blockSize ?? Infinity))
                const allowed = together && (causal ? k <= q : block(k, atK) <= block(q, atQ))
                const value = found[(r * length + q) * length + k]!
                if (allowed) expect(value).toBe(0)
                else expect(value).toBeLessThan(-1e29)
              }
        })
})

describe("attention in a causal pass", () => {
  for (const length of [255, 256, 300, 514])
    it(`of ${length} tokens is what its mask says, though it leaves out what nobody may see`, () => {
      const [batch, heads, groups, headDim] = [1, 2, 1, 2]
      const padding = length - 20
      const q = input("q", "f32", [batch, length, heads, headDim])
      const k = input("k", "f32", [batch, length, groups, headDim])
      const v = input("v", "f32", [batch, length, groups, headDim])
      const cotangent = input("cotangent", "f32", [batch, length, heads * headDim])
      const segmentIds = input("segmentIds", "i32", [batch, length])
      const mask = attentionMask({ causal: true, segmentIds }, length, "f32")!
      const values = {
        ...Object.fromEntries(
          Object.entries({ q, k, v, cotangent }).map(([name, { shape, size }]) => {
            const width = size / shape[1]!
            const drawn = normals(randomKey(3, name, length), size)
            // What padding gives has no meaning, and nothing comes back to it.
            return [name, name === "cotangent" ? drawn.fill(0, padding * width) : drawn]
          })
        ),
        segmentIds: Int32Array.from({ length }, (_, i) => (i < padding ? Math.floor(i / 200) : -1))
      }
      const results = [false, true].map(causal => {
        const y = attend(q, k, v, { ...mask, causal })
        const [dq, dk, dv] = vjp([y], [cotangent], [q, k, v])
        const outputs = { y, dq: dq!, dk: dk!, dv: dv! }
        return {
          products: makeProgram(outputs).instructions.filter(({ op }) => op === "matmul").length,
          found: evaluateTensors(outputs, values, { exact: true })
        }
      })
      const [whole, blocks] = results as [(typeof results)[0], (typeof results)[0]]
      // Two forward, four backward, for each block.
      expect([whole.products, blocks.products]).toEqual([6, 6 * Math.floor(length / 128)])
      for (const [name, expected] of Object.entries(whole.found))
        for (const [i, value] of expected.entries())
          if (name !== "y" || i < padding * heads * headDim) expect(blocks.found[name]![i]).toBeCloseTo(value, 12)
    })
})

describe("a causal mask", () => {
  it("is refused where queries and keys cannot be the same places, whatever their number", () => {
    for (const length of [6, 256]) {
      const q = input("q", "f32", [1, length, 2, 2])
      const k = input("k", "f32", [1, length + 1, 1, 2])
      expect(() => attend(q, k, k, attentionMask({ causal: true }, length, "f32"))).toThrow(
        `a causal mask needs as many keys as queries, got ${length + 1} and ${length}`
      )
    }
  })
})

describe("the gradients of attention", () => {
  const [batch, length, heads, groups, headDim] = [2, 5, 4, 2, 6]
  const q = input("q", "f32", [batch, length, heads, headDim])
  const k = input("k", "f32", [batch, length, groups, headDim])
  const v = input("v", "f32", [batch, length, groups, headDim])
  const positions = input("positions", "i32", [batch, length])
  const angles = rotation(positions, { headDim, length, theta: 100 })
  const cotangent = input("cotangent", "f32", [batch, length, heads * headDim])
  const given: { readonly [name: string]: ReadonlyArray<number> } = {
    ...Object.fromEntries([q, k, v, cotangent].map((x, i) => [["q", "k", "v", "cotangent"][i]!, drawn(x.size, i)])),
    positions: [0, 1, 2, 0, 1, 3, 1, 4, 1, 5]
  }
  function drawn(size: number, stream: number): ReadonlyArray<number> {
    return [...normals(randomKey(9, "attention", stream), size)]
  }

  for (const [name, mask] of [
    ["causal", attentionMask({ causal: true, positions }, length, "f32")],
    ["without a mask", undefined]
  ] as const)
    it(`are the limits of differences, ${name}`, () => {
      const out = attend(rotate(q, angles.cos, angles.sin), rotate(k, angles.cos, angles.sin), v, mask)
      const loss = sum(mul(out, cotangent))
      const [dq, dk, dv] = vjp([out], [cotangent], [q, k, v])
      const found = evaluateTensors({ dq: dq!, dk: dk!, dv: dv! }, given, { exact: true })
      const at = (changed: string, i: number, by: number): number => {
        const values = { ...given, [changed]: given[changed]!.with(i, given[changed]![i]! + by) }
        return evaluateTensors({ loss }, values, { exact: true })["loss"]![0]!
      }
      const step = 1e-4
      for (const changed of ["q", "k", "v"])
        for (let i = 0; i < given[changed]!.length; i++) {
          const difference = (at(changed, i, step) - at(changed, i, -step)) / (2 * step)
          expect(found[`d${changed}`]![i]).toBeCloseTo(difference, 6)
        }
    })
})
