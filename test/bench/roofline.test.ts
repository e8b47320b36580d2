import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  causalPasses,
  leastMs,
  maskedPasses,
  type Pass,
  passBytes,
  passFlops,
  workOf
} from "../../bench/decoders/roofline.ts"
import type { MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { forward, logits, weightsOf } from "../../src/models/decoder.ts"
import { parameterInputs } from "../../src/models/parameters.ts"
import { matmulFlops } from "../../src/tensor/flops.ts"
import { gather, input, reshape } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { modelConfig } from "../support/tinyModel.ts"

/** d = 8, two layers, two heads of four with one for keys and values, SwiGLU of 12, 11 tokens. */
const tied = modelConfig()
const untied = modelConfig({ tiedHead: false })

describe("what a pass needs", () => {
  it("is the matrix products of its program, where it sees all", () => {
    for (const config of [tied, untied])
      for (const asked of [1, 7]) {
        const weights = weightsOf(config, parameterInputs(parameterSpecs(config)))
        const { final } = forward(config, weights, input("ids", "i32", [1, 7]), { causal: false })
        const read = gather(reshape(final, [7, config.hiddenSize]), input("places", "i32", [asked]))
        const program = makeProgram({ found: logits(read, weights) })
        expect(passFlops(config, { read: 7, seen: 7, pairs: 49, asked, kept: 0 })).toBe(matmulFlops(program))
      }
  })

  it("is traffic that can be counted tensor by tensor", () => {
    // Of a layer: q 8 -> 8, k and v 8 -> 4, o 8 -> 8, gate and up 8 -> 12, down 12 -> 8; norms of 8, 8, 4 and 4.
    const layer = 64 + 32 + 32 + 64 + 96 + 96 + 96 + (8 + 8 + 4 + 4)
    const weights = 2 * layer + 8 + 11 * 8
    // What the linear maps read and write of a place, of all layers; then queries that attention reads, and what it writes.
    const place = 2 * (16 + 12 + 12 + 16 + 20 + 20 + 20) + 2 * (8 + 8)
    // A key and a value of 4, of all layers.
    const keyAndValue = 2 * (4 + 4)
    for (const config of [tied, untied]) {
      const bytes = (pass: Partial<Pass>) =>
        passBytes(config, { read: 0, seen: 0, pairs: 0, asked: 0, kept: 0, ...pass })
      expect(bytes({})).toBe(4 * weights)
      expect(bytes({ read: 3 })).toBe(4 * (weights + 3 * (8 + place)))
      expect(bytes({ seen: 5 })).toBe(4 * (weights + 5 * keyAndValue))
      expect(bytes({ kept: 2 })).toBe(4 * (weights + 2 * keyAndValue))
      // A state is read, logits are written and read.
      expect(bytes({ asked: 6 })).toBe(4 * (weights + 6 * (8 + 11 + 11)))
      expect(bytes({ read: 3, seen: 5, kept: 2, asked: 6 })).toBe(
        4 * (weights + 3 * (8 + place) + 7 * keyAndValue + 6 * 30)
      )
    }
  })

  it("takes as long as the slower of products and memory, pass by pass", () => {
    const passes = [
      { read: 9, seen: 9, pairs: 81, asked: 9, kept: 9 },
      { read: 1, seen: 9, pairs: 9, asked: 1, kept: 1 }
    ]
    const work = workOf(tied, passes)
    expect(leastMs(tied, passes, { matmul: 1000, bandwidth: Infinity })).toBeCloseTo(work.flops, 6)
    expect(leastMs(tied, passes, { matmul: Infinity, bandwidth: 1000 })).toBeCloseTo(work.bytes, 6)
    // The first is bound by products, the second by memory.
    const [first, second] = passes as [Pass, Pass]
    const between = passFlops(tied, first) / passBytes(tied, first)
    expect(between).toBeGreaterThan(passFlops(tied, second) / passBytes(tied, second))
    const peaks = { matmul: 1000 * (between * 0.99), bandwidth: 1000 }
    expect(leastMs(tied, passes, peaks)).toBeCloseTo(
      passFlops(tied, first) / (between * 0.99) + passBytes(tied, second),
      6
    )
  })
})

const greedy = { temperature: 0, alg: "maskgit_plus", algTemp: 0, schedule: "quota", eps: 1e-3 } as const
/** Eight tokens behind three or four, two a pass. */
const passesOf = (decoding: Partial<MaskDecoding>, promptTokens = 3, attentionBlockSize?: number) =>
  maskedPasses({
    promptTokens,
    newTokens: 8,
    steps: 4,
    tokenShift: false,
    attentionBlockSize,
    decoding: { ...greedy, ...decoding }
  })
const whole = { read: 11, seen: 11, pairs: 121, kept: 0 }

describe("the passes of a decoder", () => {
  it("read all of the text without a cache, and ask for the masks that are left of what has begun", () => {
    expect(passesOf({})).toEqual([8, 6, 4, 2].map(asked => ({ ...whole, asked })))
    expect(passesOf({ blockLength: 4 })).toEqual([4, 2, 4, 2].map(asked => ({ ...whole, asked })))
  })

  it("read what is behind the cache, after a pass that fills it", () => {
    const filling = { ...whole, asked: 4, kept: 11 }
    const rest = (read: number) => ({ read, seen: 11, pairs: 11 * read, asked: 2, kept: 0 })
    expect(passesOf({ blockLength: 4, cache: "prefix" })).toEqual([filling, rest(8), filling, rest(4)])
    expect(passesOf({ blockLength: 4, cache: "dual" })).toEqual([filling, rest(4), filling, rest(4)])
  })

  it("see no later block where attention goes by blocks, and read a decoded block once more", () => {
    expect(passesOf({ blockLength: 4 }, 4, 4)).toEqual([
      { read: 8, seen: 8, pairs: 4 * 4 + 4 * 8, asked: 4, kept: 4 },
      { read: 4, seen: 8, pairs: 4 * 8, asked: 2, kept: 0 },
      { read: 8, seen: 12, pairs: 4 * 8 + 4 * 12, asked: 4, kept: 4 },
      { read: 4, seen: 12, pairs: 4 * 12, asked: 2, kept: 0 }
    ])
  })

  it("read one token a pass behind the prompt where a text is written token by token", () => {
    expect(causalPasses(3, 3)).toEqual([
      { read: 3, seen: 3, pairs: 1 + 2 + 3, asked: 1, kept: 3 },
      { read: 1, seen: 4, pairs: 4, asked: 1, kept: 1 },
      { read: 1, seen: 5, pairs: 5, asked: 1, kept: 1 }
    ])
  })

  it("need less the more a cache holds", () => {
    fc.assert(
      fc.property(
        fc.record({
          promptTokens: fc.integer({ min: 1, max: 40 }),
          blockLength: fc.integer({ min: 1, max: 16 }),
          blocks: fc.integer({ min: 1, max: 5 }),
          tokenShift: fc.boolean()
        }),
        ({ blockLength, blocks, promptTokens, tokenShift }) => {
          const newTokens = blocks * blockLength
          const flopsOf = (cache: "none" | "prefix" | "dual") => {
            const decoding = { ...greedy, blockLength, cache }
            const passes = maskedPasses({ promptTokens, newTokens, steps: newTokens, tokenShift, decoding })
            expect(passes).toHaveLength(newTokens)
            return workOf(tied, passes).flops
          }
          expect(flopsOf("prefix")).toBeLessThanOrEqual(flopsOf("none"))
          expect(flopsOf("dual")).toBeLessThanOrEqual(flopsOf("prefix"))
        }
      )
    )
  })
})
