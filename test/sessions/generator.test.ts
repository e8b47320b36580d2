import { describe, expect, it } from "vitest"
import { rowsThatFit, untilEnd } from "../../src/sessions/generator.ts"

describe("a generator", () => {
  it("takes as many prompts at once as their logits leave room for, and at least one", () => {
    // 2^28 bytes hold 512 rows of 64 tokens of 2,048 logits.
    expect(rowsThatFit(2048, { prompts: 12, promptTokens: 16, newTokens: 64 })).toBe(12)
    expect(rowsThatFit(2048, { prompts: 900, promptTokens: 16, newTokens: 64 })).toBe(512)
    expect(rowsThatFit(151_936, { prompts: 64, promptTokens: 16, newTokens: 64 })).toBe(6)
    expect(rowsThatFit(151_936, { prompts: 64, promptTokens: 16, newTokens: 4096 })).toBe(1)
  })

  it("has texts that end before the first end of text", () => {
    expect([...untilEnd(Int32Array.of(4, 5, 2, 6, 2), new Set([6, 2]))]).toEqual([4, 5])
    expect([...untilEnd(Int32Array.of(4, 5), new Set([2]))]).toEqual([4, 5])
    expect([...untilEnd(Int32Array.of(2, 5), new Set([5, 2]))]).toEqual([])
  })
})
