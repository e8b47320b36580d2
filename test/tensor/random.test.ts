import { describe, expect, it } from "vitest"
import { normals, permutation, randomKey, threefry, uniforms } from "../../src/tensor/random.ts"

const hex = (words: ReadonlyArray<number>): string => words.map(word => word.toString(16).padStart(8, "0")).join(" ")

describe("random numbers", () => {
  it("are Threefry-2x32-20's published ones", () => {
    expect(hex(threefry([0, 0], [0, 0]))).toBe("6b200159 99ba4efe")
    expect(hex(threefry([0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff]))).toBe("1cb996fc bb002be7")
    expect(hex(threefry([0x13198a2e, 0x03707344], [0x243f6a88, 0x85a308d3]))).toBe("c4923a9c 483df7a0")
  })

  it("are uniform in [0, 1)", () => {
    const u = uniforms(randomKey(1, "test"), 40_000)
    expect(Math.min(...u.subarray(0, 1000))).toBeGreaterThanOrEqual(0)
    expect(u.every(x => x < 1)).toBe(true)
    const mean = u.reduce((sum, x) => sum + x, 0) / u.length
    const variance = u.reduce((sum, x) => sum + (x - mean) ** 2, 0) / u.length
    expect(mean).toBeCloseTo(0.5, 2)
    expect(variance).toBeCloseTo(1 / 12, 2)
  })

  it("that are normal come from two uniform ones each", () => {
    const key = randomKey(3, "test")
    const u = uniforms(key, 14)
    const expected = Array.from({ length: 7 }, (_, i) =>
      Math.fround(Math.sqrt(-2 * Math.log(1 - u[2 * i]!)) * Math.cos(2 * Math.PI * u[2 * i + 1]!))
    )
    expect([...normals(key, 7)]).toEqual(expected)
  })

  it("have the moments of the normal distribution", () => {
    const x = normals(randomKey(2, "test"), 40_000)
    const moment = (k: number) => x.reduce((sum, value) => sum + value ** k, 0) / x.length
    expect(moment(1)).toBeCloseTo(0, 1)
    expect(moment(2)).toBeCloseTo(1, 1)
    expect(moment(4)).toBeCloseTo(3, 0)
  })

  it("differ by seed, purpose and each counter", () => {
    const keys = [
      randomKey(1, "mask"),
      randomKey(2, "mask"),
      randomKey(1 + 2 ** 32, "mask"),
      randomKey(1, "order"),
      randomKey(1, "mask", 0),
      randomKey(1, "mask", 1),
      randomKey(1, "mask", 0, 1),
      randomKey(1, "mask", 1, 0)
    ]
    expect(new Set(keys.map(hex)).size).toBe(keys.length)
    expect(randomKey(1, "mask", 3)).toEqual(randomKey(1, "mask", 3))
  })

  it("order every permutation equally often", () => {
    const counts = new Map<string, number>()
    for (let i = 0; i < 6000; i++) {
      const order = permutation(randomKey(5, "order", i), 3).join("")
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    expect(counts.size).toBe(6)
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })
})
