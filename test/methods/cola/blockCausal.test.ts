/** Who sees whom among Cola's latents, as patterns and in the network's own answers. */
import { describe, expect, it } from "vitest"
import { complementary, coupledTail, drawnTail } from "../../../src/methods/cola/latentNoising.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import {
  blockCausal,
  type BlockCausalShape,
  type BlockShape,
  blockCausalSpecs,
  ranks
} from "../../../src/methods/cola/blockCausal.ts"
import { seenByRank } from "../../../src/models/layers/attention.ts"
import { initialValues } from "../../../src/models/parameters.ts"
import { constant, input } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"

const shape = { globals: 2, locals: 4, block: 2 }
/** 1 where latent q may see latent k, row by row. */
const visibility = (given: BlockShape, causal: boolean): ReadonlyArray<number> => [
  ...evaluateTensors({ seen: seenByRank(constant(ranks(given, causal), "i32", [1, 6])) }, {})["seen"]!
]
const rows = (bits: ReadonlyArray<number>): ReadonlyArray<string> =>
  Array.from({ length: 6 }, (_, q) => bits.slice(6 * q, 6 * q + 6).join(""))

describe("latents see", () => {
  it("the globals; locals those of their block and of earlier ones", () => {
    expect(rows(visibility(shape, false))).toEqual(["110000", "110000", "111100", "111100", "111111", "111111"])
  })

  it("in card the globals and locals up to themselves", () => {
    expect(rows(visibility(shape, true))).toEqual(["110000", "110000", "111000", "111100", "111110", "111111"])
  })

  it.each([
    ["block-causal", { causal: false, shifted: false }],
    ["card", { causal: true, shifted: false }],
    ["fast_block", { causal: false, shifted: true }]
  ] as const)("%s: what one latent holds changes the answer just of those that may see it", (_name, changes) => {
    const given: BlockCausalShape = { ...shape, ...changes, width: 4, depth: 2, heads: 2, positions: true }
    const specs = blockCausalSpecs(given)
    // Gates and the last map begin at 0: for this, everything is drawn.
    const values = Object.fromEntries(
      specs.map(spec => [spec.name, initialValues({ ...spec, initial: { normal: 0.5 } }, 3)])
    )
    const weights = new Map(specs.map(spec => [spec.name, input(spec.name, "f32", spec.shape)]))
    const out = blockCausal(name => weights.get(name)!, given, input("x", "f32", [1, 6, 4]), input("t", "f32", [1]))
    const answer = (x: Float32Array) => evaluateTensors({ out }, { ...values, x, t: [0.3] }, { exact: true })["out"]!
    const x = normals(randomKey(1, "latents"), 24)
    const before = answer(x)
    const allowed = visibility(given, given.causal)
    for (let k = 0; k < 6; k++) {
      const changed = x.slice()
      changed[4 * k]! += 1
      const after = answer(changed)
      for (let q = 0; q < 6; q++) {
        const moved = [0, 1, 2, 3].some(i => Math.abs(after[4 * q + i]! - before[4 * q + i]!) > 1e-9)
        // The shifted map reads the state of the local before, which sees what that one may see.
        const byShift = given.shifted && q > given.globals && allowed[6 * (q - 1) + k] === 1
        expect(moved, `latent ${k} and answer ${q}`).toBe(allowed[6 * q + k] === 1 || byShift)
      }
    }
  })

  it("and the network begins with nothing: its answer is 0", () => {
    const given: BlockCausalShape = {
      ...shape,
      causal: false,
      shifted: true,
      width: 4,
      depth: 2,
      heads: 2,
      positions: true
    }
    const specs = blockCausalSpecs(given)
    const values = Object.fromEntries(specs.map(spec => [spec.name, initialValues(spec, 3)]))
    const weights = new Map(specs.map(spec => [spec.name, input(spec.name, "f32", spec.shape)]))
    const x = input("x", "f32", [1, 6, 4])
    const out = blockCausal(name => weights.get(name)!, given, x, input("t", "f32", [1]))
    const found = evaluateTensors({ out }, { ...values, x: normals(randomKey(1, "latents"), 24), t: [0.3] })["out"]!
    expect([...found].every(value => value === 0)).toBe(true)
  })
})

describe("what is noised", () => {
  const noised = (bits: Uint8Array): number => bits.reduce((a, b) => a + b, 0)

  it("in card is a tail of any length, its beginning included; in the seed's never", () => {
    const drawn = Array.from({ length: 200 }, (_, i) => drawnTail(80, randomKey(1, "tail", i)).views[0]!)
    for (const bits of drawn) expect([...bits]).toEqual([...bits].sort((a, b) => a - b))
    const sizes = drawn.map(noised)
    expect(Math.min(...sizes)).toBeLessThan(8)
    expect(Math.max(...sizes)).toBeGreaterThan(72)
    // floor(max(1, floor(64 t)) 0.6): 38 of 64 locals at most, one at least.
    const tail = (time: number): number => noised(coupledTail(16, 64, time, 0.6).views[0]!)
    expect([0, 0.02, 0.25, 0.5, 1].map(tail)).toEqual([1, 1, 9, 19, 38])
  })

  it("in fast_block is in exactly one of two views", () => {
    for (let i = 0; i < 50; i++) {
      const [first, second] = complementary(10, randomKey(2, "views", i)).views
      expect([...first!].map((bit, j) => bit + second![j]!)).toEqual(Array<number>(10).fill(1))
    }
  })
})
