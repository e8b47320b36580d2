/** Products of the engine `torch` in 16 bits, trainings that use them, and attention in one kernel. */
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import type { Precision } from "../../src/engines/names.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { evaluate, evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { makeTorch } from "../../src/engines/torch/torch.ts"
import { attend, attentionMask } from "../../src/models/layers/attention.ts"
import { vjp } from "../../src/tensor/autodiff.ts"
import { encodeProgram } from "../../src/tensor/encode.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { runOnce } from "../engines/runOnce.ts"
import { trainTiny } from "../support/tinyTraining.ts"
import { interpreterVariable, python } from "./python.ts"

const interpreter = process.env[interpreterVariable]!
const [rows, inner, columns] = [6, 32, 5]
const a = ops.input("a", "f32", [rows, inner])
const b = ops.input("b", "f32", [columns, inner])

/** The product as a precision says: operands rounded, sums exact, the result rounded. */
const rounded = (
  precision: "bf16" | "f16",
  values: { readonly a: ArrayLike<number>; readonly b: ArrayLike<number> }
) => {
  const y = ops.cast(ops.matmul(ops.cast(a, precision), ops.cast(b, precision), { transposeB: true }), "f32")
  return evaluateTensors({ y }, values)["y"]!
}
const close = (actual: ArrayLike<number | bigint>, expected: ArrayLike<number>, relative: number): void => {
  expect(actual.length).toBe(expected.length)
  for (let i = 0; i < expected.length; i++)
    expect(Math.abs(Number(actual[i]) - expected[i]!), `element ${i}`).toBeLessThanOrEqual(
      relative * Math.max(1, Math.abs(expected[i]!))
    )
}
/** One process for each precision: importing PyTorch takes seconds. */
const scope = Effect.runSync(Scope.make())
const engines = new Map<Precision, Engine>()
beforeAll(async () => {
  for (const precision of ["f32", "bf16", "f16"] as const)
    engines.set(
      precision,
      await Effect.runPromise(
        Effect.provideService(
          makeTorch({ python: interpreter, device: "cpu", precision, threads: 1 }),
          Scope.Scope,
          scope
        )
      )
    )
}, 180_000)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
const within = (precision: Precision, body: (engine: Engine) => Effect.Effect<void, EngineError, Scope.Scope>) =>
  Effect.scoped(body(engines.get(precision)!))

describe.each([
  ["bf16", 2 ** -8],
  ["f16", 2 ** -11]
] as const)("precision %s", (precision, unit) => {
  it.live("rounds the operands of products, of weights and of what is computed, and nothing else", () =>
    within(precision, engine =>
      Effect.gen(function* () {
        expect(engine.numericClass).toBe(`torch/cpu/${precision}`)
        const values = { a: normals(randomKey(1, "a"), rows * inner), b: normals(randomKey(1, "b"), columns * inner) }
        const sums = ops.add(ops.mul(a, 3), 1e-4)
        const program = makeProgram({
          direct: ops.matmul(a, b, { transposeB: true }),
          computed: ops.matmul(ops.exp(a), ops.neg(b), { transposeB: true }),
          sums
        })
        const actual = yield* runOnce(engine, program, values)
        close(actual["direct"]!, rounded(precision, values), 2 * unit)
        close(
          actual["computed"]!,
          rounded(precision, { a: values.a.map(Math.exp), b: values.b.map(x => -x) }),
          2 * unit
        )
        close(actual["sums"]!, evaluate(makeProgram({ sums }), values)["sums"]!, 1e-6)
        // The rounding can be seen: it is not f32 under another name.
        const exact = evaluateTensors({ y: ops.matmul(a, b, { transposeB: true }) }, values)["y"]!
        expect(exact.some((x, i) => Math.abs(Number(actual["direct"]![i]) - x) > unit / 16)).toBe(true)
      })
    )
  )

  it.live("leaves products alone that a program has in 16 bits itself", () =>
    within(precision, engine =>
      Effect.gen(function* () {
        const [x, w] = [ops.input("x", "bf16", [rows, inner]), ops.input("w", "bf16", [inner, columns])]
        const program = makeProgram({ y: ops.matmul(x, w) })
        const values = { x: normals(randomKey(2, "x"), rows * inner), w: normals(randomKey(2, "w"), inner * columns) }
        close((yield* runOnce(engine, program, values))["y"]!, evaluate(program, values)["y"]!, 2 ** -6)
      })
    )
  )

  it.live("follows weights that are written: uploaded, through a view, by another program", () =>
    within(precision, engine =>
      Effect.scoped(
        Effect.gen(function* () {
          const x = yield* engine.allocate("f32", [rows, inner])
          const flat = yield* engine.allocate("f32", [2 * columns * inner])
          const w = yield* engine.view(flat, columns * inner, [columns, inner])
          const y = yield* engine.allocate("f32", [rows, columns])
          const product = yield* engine.bind(
            yield* engine.compile(makeProgram({ y: ops.matmul(a, b, { transposeB: true }) })),
            { a: x, b: w },
            { y }
          )
          const doubled = yield* engine.bind(
            yield* engine.compile(makeProgram({ next: ops.mul(ops.input("b", "f32", [columns, inner]), 2) }), {
              inPlace: { next: "b" }
            }),
            { b: w },
            { next: w }
          )
          const ones = new Float32Array(rows * inner).fill(1)
          yield* engine.upload(x, ones)
          const sum = Effect.gen(function* () {
            yield* engine.run([product])
            return Number((yield* engine.download(y))[0])
          })
          expect(yield* sum).toBe(0)
          yield* engine.upload(w, new Float32Array(columns * inner).fill(1))
          expect(yield* sum).toBe(inner)
          yield* engine.upload(flat, new Float32Array(2 * columns * inner).fill(3))
          expect(yield* sum).toBe(3 * inner)
          yield* engine.run([doubled])
          expect(yield* sum).toBe(6 * inner)
        })
      )
    )
  )

  it.live("computes norms and their gradients in f32, whatever the size of a cotangent", () => {
    const [size, scale] = [64, 2 ** 16]
    const x = ops.input("x", "f32", [4, 64, size])
    const w = ops.input("w", "f32", [size])
    const g = ops.input("g", "f32", x.shape)
    const y = ops.rmsNorm(x, w, 1e-6)
    const [dx, dw] = vjp([y], [g], [x, w])
    const program = makeProgram({ y, dx: dx!, dw: dw! })
    const values = {
      x: normals(randomKey(6, "x"), x.size),
      w: normals(randomKey(6, "w"), size),
      g: normals(randomKey(6, "g"), x.size).map(value => value * scale)
    }
    return within(precision, engine =>
      Effect.gen(function* () {
        const found = yield* runOnce(engine, program, values)
        for (const [name, expected] of Object.entries(evaluate(program, values))) {
          const unscaled = (values: ArrayLike<number | bigint>): ReadonlyArray<number> =>
            Array.from(values, value => Number(value) / (name === "y" ? 1 : scale))
          close(unscaled(found[name]!), unscaled(expected), 1e-5)
        }
      })
    )
  })

  it.live("trains to the losses of f32 within its rounding", () =>
    Effect.gen(function* () {
      const settings = { steps: 20, microBatchRows: 2 }
      const expected = yield* Effect.scoped(
        Effect.flatMap(makeOrt({ threads: 1 }), engine => trainTiny(engine, settings))
      )
      yield* within(precision, engine =>
        Effect.gen(function* () {
          const actual = yield* trainTiny(engine, {
            ...settings,
            ...(precision === "f16" ? { lossScale: 2 ** 12 } : {})
          })
          for (const [i, loss] of expected.losses.entries())
            expect(Math.abs(actual.losses[i]! / loss - 1), `step ${i}`).toBeLessThan(8 * unit)
          expect(actual.losses).not.toEqual(expected.losses)
          // Only the first step has the same parameters: AdamW's first updates have the size of the rate whatever the gradient's, so that rounding decides
          // the sign of small ones, and the norms of later steps are those of other parameters.
          expect(Math.abs(actual.norms[0]! / expected.norms[0]! - 1), "norm of the first step").toBeLessThan(2 * unit)
        })
      )
    })
  )
})

describe("attention", () => {
  const [batch, length, heads, groups, width] = [2, 7, 6, 2, 8]
  const q = ops.input("q", "f32", [batch, length, heads, width])
  const k = ops.input("k", "f32", [batch, length, groups, width])
  const v = ops.input("v", "f32", [batch, length, groups, width])
  const segmentIds = ops.input("segmentIds", "i32", [batch, length])
  const values = {
    q: normals(randomKey(4, "q"), batch * length * heads * width),
    k: normals(randomKey(4, "k"), batch * length * groups * width),
    v: normals(randomKey(4, "v"), batch * length * groups * width),
    // Two documents, and a row that is padding at its end.
    segmentIds: Float64Array.of(0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, -1, -1, -1)
  }
  /** Elements of the result that are no padding: what padding sees has no meaning. */
  const rowsThatCount = (ofToken: ArrayLike<number> | undefined) => (y: ArrayLike<number>) =>
    Array.from(y).filter((_, i) => ofToken === undefined || ofToken[Math.floor(i / (heads * width))]! >= 0)
  const masks = {
    none: undefined,
    causal: attentionMask({ causal: true }, length, "f32"),
    segmentIds: attentionMask({ causal: false, segmentIds }, length, "f32")
  }
  for (const [name, mask] of Object.entries(masks)) {
    const program = makeProgram({ y: attend(q, k, v, mask) })
    it(`with mask ${name} is found in a program`, () => {
      const { ops: found } = python<{ readonly ops: ReadonlyArray<string> }>("fusion.py", {
        program: encodeProgram(program)
      })
      expect(found.filter(op => op === "attention")).toHaveLength(1)
      expect(found.filter(op => op === "matmul" || op === "softmax")).toEqual([])
    })
    for (const [precision, tolerance] of [
      ["f32", 2e-6],
      ["bf16", 2 ** -6],
      ["f16", 2 ** -9]
    ] as const)
      it.live(`with mask ${name} gives in ${precision} what its parts give`, () =>
        within(precision, engine =>
          Effect.gen(function* () {
            const known = Object.fromEntries(
              program.inputs.map(({ name: input }) => [input, values[input as keyof typeof values]])
            )
            const { y } = yield* runOnce(engine, program, known)
            const counts = rowsThatCount(name === "segmentIds" ? values.segmentIds : undefined)
            close(counts(y!), counts(evaluate(program, known)["y"]!), tolerance)
          })
        )
      )
  }

  it("is left in its parts where they are needed elsewhere, as by a backward pass", () => {
    const scores = ops.matmul(ops.transpose(q, [0, 2, 1, 3]), ops.transpose(q, [0, 2, 1, 3]), { transposeB: true })
    const weights = ops.softmax(scores)
    const program = makeProgram({ y: ops.matmul(weights, ops.transpose(q, [0, 2, 1, 3])), weights })
    const { ops: found } = python<{ readonly ops: ReadonlyArray<string> }>("fusion.py", {
      program: encodeProgram(program)
    })
    expect(found).toContain("softmax")
    expect(found).not.toContain("attention")
  })
})
