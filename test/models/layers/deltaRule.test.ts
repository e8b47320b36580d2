/** The gated delta rule in its three forms beside the recurrence in plain loops. */
import * as fc from "fast-check"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { chunkedDeltaRule } from "../../../src/models/layers/chunkedDeltaRule.ts"
import { type DeltaInputs, type DeltaRule, recurrentDeltaRule } from "../../../src/models/layers/deltaRule.ts"
import { vjp } from "../../../src/tensor/autodiff.ts"
import { input } from "../../../src/tensor/ops.ts"
import { makeProgram } from "../../../src/tensor/Program.ts"
import { normals, randomKey, uniforms } from "../../../src/tensor/random.ts"
import { runOnce } from "../../engines/runOnce.ts"
import { asHeads, type Brought, documentsOf, type Heads, recurrence } from "./gatedDelta.ts"

interface Rows extends Heads {
  readonly batch: number
  readonly length: number
}

/** Numbers of every input, [batch, length, …] each; `decay` is the largest -g. */
const drawn = ({ batch, keyDim, keyHeads, length, valueDim, valueHeads }: Rows, seed: number, decay = 1) => {
  const of = (name: string, size: number) => normals(randomKey(seed, name), batch * length * size)
  const unit = (flat: Float32Array, scale: number): Float64Array =>
    Float64Array.from(flat, (x, i) => {
      const from = i - (i % keyDim)
      return (scale * x) / Math.hypot(...flat.subarray(from, from + keyDim))
    })
  const n = batch * length * valueHeads
  return {
    queries: unit(of("queries", keyHeads * keyDim), keyDim ** -0.5),
    keys: unit(of("keys", keyHeads * keyDim), 1),
    values: Float64Array.from(of("values", valueHeads * valueDim)),
    logDecay: Float64Array.from(uniforms(randomKey(seed, "decay"), n), x => -decay * x),
    beta: Float64Array.from(uniforms(randomKey(seed, "beta"), n))
  }
}
type Drawn = ReturnType<typeof drawn>

const inputsOf = ({ batch, keyDim, keyHeads, length, valueDim, valueHeads }: Rows) => {
  const rows = [batch, length]
  const given = (name: string, ...shape: ReadonlyArray<number>) => input(name, "f32", shape)
  return {
    queries: given("queries", ...rows, keyHeads, keyDim),
    keys: given("keys", ...rows, keyHeads, keyDim),
    values: given("values", ...rows, valueHeads, valueDim),
    logDecay: given("logDecay", ...rows, valueHeads),
    beta: given("beta", ...rows, valueHeads),
    state: given("state", batch, valueHeads, keyDim, valueDim)
  }
}

/** The tokens from `from` to `to`, counted through the rows. */
const part = (heads: Heads, all: Drawn, from: number, to: number): Brought => {
  const { keyDim, keyHeads, valueDim, valueHeads } = heads
  const cut = (flat: Float64Array, count: number, size: number) =>
    asHeads(flat.subarray(from * count * size, to * count * size), count, size)
  return {
    queries: cut(all.queries, keyHeads, keyDim),
    keys: cut(all.keys, keyHeads, keyDim),
    values: cut(all.values, valueHeads, valueDim),
    logDecay: cut(all.logDecay, 1, valueHeads).flat(),
    beta: cut(all.beta, 1, valueHeads).flat()
  }
}

/** Outputs of all documents of all rows; zeros for padding. */
const expected = (rows: Rows, all: Drawn, segmentIds: ReadonlyArray<number>): Float64Array => {
  const size = rows.valueHeads * rows.valueDim
  const found = new Float64Array(rows.batch * rows.length * size)
  for (let r = 0; r < rows.batch; r++)
    for (const [from, to] of documentsOf(segmentIds.slice(r * rows.length, (r + 1) * rows.length))) {
      const [first, last] = [r * rows.length + from, r * rows.length + to]
      found.set(recurrence(rows, part(rows, all, first, last)).outputs.flat(2), first * size)
    }
  return found
}

/** Rows of documents of any length, and padding behind them. */
const drawnSegments = ({ batch, length }: Rows, seed: number): ReadonlyArray<number> => {
  const random = uniforms(randomKey(seed, "documents"), batch * (length + 1))
  return Array.from({ length: batch }, (_r, r) => {
    const padding = Math.floor(random[r]! * Math.min(4, length))
    let document = 0
    return Array.from({ length }, (_i, i) => {
      if (i > 0 && random[batch + r * length + i]! < 0.15) document++
      return i >= length - padding ? -1 : document
    })
  }).flat()
}

const sizes: Heads = { keyHeads: 2, valueHeads: 4, keyDim: 3, valueDim: 5 }
const farthest = (found: ArrayLike<number>, wanted: ArrayLike<number>, counts: (i: number) => boolean): number => {
  expect(found.length).toBe(wanted.length)
  let most = 0
  for (let i = 0; i < wanted.length; i++) if (counts(i)) most = Math.max(most, Math.abs(found[i]! - wanted[i]!))
  return most
}
const forms: { readonly [name: string]: DeltaRule } = { recurrent: recurrentDeltaRule, chunked: chunkedDeltaRule }

describe("the gated delta rule", () => {
  for (const [name, rule] of Object.entries(forms))
    it(`${name}: is the recurrence of each document, whatever the lengths of rows and documents`, () => {
      fc.assert(
        fc.property(
          fc.record({
            batch: fc.integer({ min: 1, max: 2 }),
            // Up to three chunks, also whole ones.
            length: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 60, max: 140 }), fc.constant(128)),
            shared: fc.integer({ min: 1, max: 3 }),
            keyHeads: fc.integer({ min: 1, max: 2 }),
            decay: fc.constantFrom(0, 1, 60),
            seed: fc.integer({ min: 0, max: 1e6 }),
            packed: fc.boolean()
          }),
          ({ decay, packed, seed, shared, ...drawnRows }) => {
            const rows: Rows = { ...drawnRows, valueHeads: shared * drawnRows.keyHeads, keyDim: 3, valueDim: 2 }
            const all = drawn(rows, seed, decay)
            const ids = packed ? drawnSegments(rows, seed) : Array<number>(rows.batch * rows.length).fill(0)
            const { state: _, ...inputs } = inputsOf(rows)
            const { outputs } = rule(packed ? input("ids", "i32", [rows.batch, rows.length]) : undefined)(inputs)
            const found = evaluateTensors({ outputs }, packed ? { ...all, ids } : { ...all }, { exact: true })[
              "outputs"
            ]!
            const size = rows.valueHeads * rows.valueDim
            const isText = (i: number): boolean => ids[Math.floor(i / size)]! >= 0
            expect(farthest(found, expected(rows, all, ids), isText)).toBeLessThan(1e-9)
            expect(found.every(Number.isFinite)).toBe(true)
          }
        ),
        { numRuns: 25, seed: 1 }
      )
    })

  it("goes on from a state: in parts of any size, and token by token", () => {
    const rows: Rows = { ...sizes, batch: 1, length: 75 }
    const all = drawn(rows, 3)
    const whole = recurrence(rows, part(rows, all, 0, rows.length))
    for (const cuts of [[0, 75], [0, 64, 75], [0, 7, 30, 75], Array.from({ length: 76 }, (_, i) => i)]) {
      let state = new Float64Array(sizes.valueHeads * sizes.keyDim * sizes.valueDim)
      const outputs: Array<number> = []
      for (const [i, to] of cuts.entries()) {
        const from = cuts[i - 1]
        if (from === undefined) continue
        const own: Rows = { ...rows, length: to - from }
        const values = Object.fromEntries(
          Object.entries(all).map(([name, flat]) => {
            const each = flat.length / rows.length
            return [name, flat.subarray(from * each, to * each)]
          })
        )
        const rule = to - from === 1 ? recurrentDeltaRule : chunkedDeltaRule
        const found = evaluateTensors({ ...rule(undefined)(inputsOf(own)) }, { ...values, state }, { exact: true })
        state = Float64Array.from(found["state"]!)
        outputs.push(...found["outputs"]!)
      }
      expect(farthest(outputs, whole.outputs.flat(2), () => true)).toBeLessThan(1e-10)
      expect(farthest(state, whole.state.flat(2), () => true)).toBeLessThan(1e-10)
    }
  })

  it("has, in chunks, the gradients of the recurrence, and that has those of differences", () => {
    const rows: Rows = { ...sizes, batch: 2, length: 70 }
    const all = drawn(rows, 4)
    const ids = drawnSegments(rows, 4)
    for (const packed of [true, false]) {
      const { state, ...others } = inputsOf(rows)
      const inputs: DeltaInputs = packed ? others : { ...others, state }
      const names = Object.keys(inputs)
      const cotangent = input("cotangent", "f32", [rows.batch, rows.length, rows.valueHeads, rows.valueDim])
      const values = {
        ...all,
        ...(packed ? { ids } : { state: normals(randomKey(5, "state"), state.size) }),
        cotangent: normals(randomKey(6, "cotangent"), cotangent.size).map((x, i) =>
          packed && ids[Math.floor(i / (rows.valueHeads * rows.valueDim))]! < 0 ? 0 : x
        )
      }
      const of = (rule: DeltaRule) => {
        const { outputs } = rule(packed ? input("ids", "i32", [rows.batch, rows.length]) : undefined)(inputs)
        const found = vjp([outputs], [cotangent], Object.values(inputs))
        return evaluateTensors(
          { outputs, ...Object.fromEntries(names.map((name, i) => [`d/${name}`, found[i]!])) },
          values,
          { exact: true }
        )
      }
      const [chunked, recurrent] = [of(chunkedDeltaRule), of(recurrentDeltaRule)]
      for (const name of names)
        expect(
          farthest(chunked[`d/${name}`]!, recurrent[`d/${name}`]!, () => true),
          name
        ).toBeLessThan(1e-10)

      const { outputs } = recurrentDeltaRule(packed ? input("ids", "i32", [rows.batch, rows.length]) : undefined)(
        inputs
      )
      const program = { outputs }
      const { cotangent: weights, ...given } = values
      const loss = (changed: typeof given): number =>
        evaluateTensors(program, changed, { exact: true })["outputs"]!.reduce((sum, y, i) => sum + y * weights[i]!, 0)
      const step = 1e-5
      for (const name of names) {
        const flat = [...given[name as keyof typeof given]!]
        for (const i of [0, Math.floor(flat.length / 3), flat.length - 1]) {
          const [up, down] = [step, -step].map(by => loss({ ...given, [name]: flat.with(i, flat[i]! + by) }))
          expect(recurrent[`d/${name}`]![i], name).toBeCloseTo((up! - down!) / (2 * step), 5)
        }
      }
    }
  })

  it.live("is exact to f32 on ort, in chunks, also of one token that repeats and of a state that hardly fades", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        const rows: Rows = { batch: 1, length: 300, keyHeads: 1, valueHeads: 2, keyDim: 16, valueDim: 16 }
        const fresh = drawn(rows, 7, 0.01)
        const repeated = (flat: Float64Array): Float64Array =>
          flat.map((_, i) => flat[i % (flat.length / rows.length)]!)
        const same = {
          ...fresh,
          queries: repeated(fresh.queries),
          keys: repeated(fresh.keys),
          beta: fresh.beta.fill(0.99),
          logDecay: fresh.logDecay.fill(-1e-4)
        }
        const { state: _, ...inputs } = inputsOf(rows)
        const { outputs } = chunkedDeltaRule(undefined)(inputs)
        for (const all of [drawn(rows, 7, 0.01), drawn(rows, 8, 20), same]) {
          const found = yield* runOnce(engine, makeProgram({ outputs }), all)
          const wanted = expected(rows, all, Array<number>(rows.length).fill(0))
          expect(farthest(found["outputs"]!, wanted, () => true)).toBeLessThan(1e-5)
        }
      })
    )
  )
})
