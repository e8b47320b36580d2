import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { packedArrays, packRows } from "../../src/tokens/packing.ts"

const lengthsUpTo = (most: number) => fc.array(fc.integer({ min: 1, max: most }), { maxLength: 60 })

describe("packing", () => {
  it("places every sequence once, in rows that hold it", () => {
    fc.assert(
      fc.property(lengthsUpTo(16), fc.integer({ min: 1, max: 20 }), (lengths, bufferSize) => {
        const rows = packRows(lengths, lengths.keys(), { capacity: 16, bufferSize })
        expect(rows.flat().toSorted((a, b) => a - b)).toEqual([...lengths.keys()])
        for (const row of rows) expect(row.reduce((sum, i) => sum + lengths[i]!, 0)).toBeLessThanOrEqual(16)
      }),
      { seed: 3 }
    )
  })

  it("takes in the buffer's order whatever fits, and the first in any case", () => {
    expect(packRows([5, 4, 3, 2], [0, 1, 2, 3], { capacity: 8 })).toEqual([
      [0, 2],
      [1, 3]
    ])
    expect(packRows([5, 4, 3, 2], [0, 1, 2, 3], { capacity: 8, bufferSize: 1 })).toEqual([[0], [1], [2], [3]])
    expect(packRows([9, 1], [0, 1], { capacity: 8 })).toEqual([[0], [1]])
  })

  it("restarts positions at each sequence and marks padding", () => {
    const arrays = packedArrays([[7, 8, 9], [5], [1, 2, 3, 4, 5, 6, 7]], [[0, 1], [2]], { capacity: 6, pad: 99 })
    expect([...arrays.ids]).toEqual([7, 8, 9, 5, 99, 99, 1, 2, 3, 4, 5, 6])
    expect([...arrays.segmentIds]).toEqual([0, 0, 0, 1, -1, -1, 0, 0, 0, 0, 0, 0])
    expect([...arrays.positions]).toEqual([0, 1, 2, 0, 0, 0, 0, 1, 2, 3, 4, 5])
  })

  it("leaves little room unused when lengths are mixed", () => {
    const lengths = Array.from({ length: 500 }, (_, i) => 1 + ((i * 7919) % 256))
    const rows = packRows(lengths, lengths.keys(), { capacity: 256 })
    const used = lengths.reduce((sum, length) => sum + length, 0) / (rows.length * 256)
    expect(used).toBeGreaterThan(0.95)
  })
})
