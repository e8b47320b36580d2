/** What the models for ONNX Runtime look like where that decides about time and memory, not about results. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import type { Target } from "../../src/engines/ort/builder.ts"
import { encodeModel } from "../../src/engines/ort/onnx.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { square } from "../../src/tensor/composites.ts"
import { add, div, input, matmul, mul, sliceAxis, sub, sum, tanh } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import { runOnce } from "./runOnce.ts"
import * as ort from "../../src/engines/ort/runtime.ts"

const lowered = (outputs: { readonly [name: string]: Tensor }, target?: Target) => {
  const program = makeProgram(outputs)
  return lowerSegment(program, segmentsOf(program).segments[0]!, target)
}

describe("the order of results", () => {
  it("has a gradient made once its cotangent is there, by ONNX Runtime too", async () => {
    const layers = 6
    const weights = Array.from({ length: layers }, (_, i) => input(`w${i}`, "f32", [8, 8]))
    const out = weights.reduce((x, weight) => tanh(matmul(x, weight)), input("x", "f32", [4, 8]))
    const model = lowered(
      Object.fromEntries(gradients(sum(out), weights).map((gradient, i) => [`gradient of ${i}`, gradient]))
    )
    const directory = mkdtempSync(join(tmpdir(), "order-"))
    try {
      const session = await ort.InferenceSession.create(encodeModel(model), {
        graphOptimizationLevel: "all",
        enableProfiling: true,
        profileFilePrefix: join(directory, "run")
      })
      const feed = (rows: number) =>
        new ort.Tensor(
          "float32",
          Float32Array.from({ length: rows * 8 }, (_, i) => Math.sin(i)),
          [rows, 8]
        )
      await session.run(Object.fromEntries(model.inputs.map(({ name, shape }) => [name, feed(Number(shape[0]))])))
      session.endProfiling()
      const events = JSON.parse(readFileSync(join(directory, readdirSync(directory)[0]!), "utf8")) as ReadonlyArray<{
        readonly name: string
        readonly args?: { readonly op_name?: string; readonly input_type_shape?: unknown }
      }>
      const products = events
        .filter(({ args, name }) => /MatMul/.test(args?.op_name ?? "") && name.endsWith("_kernel_time"))
        .map(({ args }) => JSON.stringify(args!.input_type_shape))
      // x^T dy of a layer: [4, 8] times [4, 8]. Between two of them is the product that carries the cotangent on.
      const ofWeights = products.flatMap((shapes, i) => (shapes === products.at(-1) ? [i] : []))
      expect(products).toHaveLength(3 * layers - 1)
      expect(ofWeights).toEqual(Array.from({ length: layers }, (_, i) => layers + 2 * i))
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})

const operators = (outputs: { readonly [name: string]: Tensor }, target?: Target) =>
  lowered(outputs, target).nodes.map(({ op }) => op)

describe("sums of squares", () => {
  const x = input("x", "f32", [3, 2048])

  it("along long rows are products, without squares in memory", () => {
    expect(operators({ y: sum(square(x), [1]) })).not.toContain("Mul")
  })

  it("are not where rows are short, or the squares are wanted", () => {
    expect(operators({ y: sum(square(input("x", "f32", [3, 64])), [1]) })).toContain("Mul")
    expect(operators({ y: sum(square(x), [0]) })).toContain("Mul")
    expect(operators({ y: sum(square(input("x", "f32", [3, 0, 2048])), [2]) })).not.toContain("FusedMatMul")
    expect(operators({ y: sum(square(x), [1]), z: square(x) })).toContain("Mul")
    expect(operators({ y: sum(square(x), [1]), z: sum(square(x), [0]) })).toContain("Mul")
  })
})

describe("a column and a scalar", () => {
  const long = input("long", "f32", [4, 256, 1])

  it("are computed flat on the processor where the column is long", () => {
    for (const y of [mul(long, 2), sub(1, long)]) {
      expect(operators({ y }).filter(op => op === "Reshape")).toHaveLength(2)
      expect(operators({ y }, "webgpu")).not.toContain("Reshape")
    }
    const others = [mul(input("short", "f32", [4, 1]), 2), mul(input("wide", "f32", [4, 256]), 2), mul(long, long)]
    for (const y of others) expect(operators({ y })).not.toContain("Reshape")
  })

  it.effect("give what plain loops give", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        const values = { long: normals(randomKey(7, "long"), long.size) }
        const outputs = { product: mul(long, 2), difference: sub(1, long), sum: add(long, 3), quotient: div(5, long) }
        const expected = evaluateTensors(outputs, values)
        const found = yield* runOnce(engine, makeProgram(outputs), values)
        for (const [name, exact] of Object.entries(expected)) expect([...found[name]!]).toEqual([...exact])
      })
    )
  )
})

describe("sums along axes", () => {
  const x = input("x", "f32", [2, 3, 8])
  const w = input("w", "f32", [8])

  it("of rows times a vector, and of all rows, are products", () => {
    for (const y of [mul(x, w), mul(w, x)]) {
      expect(operators({ y: sum(y, [2]) })).toContain("MatMul")
      expect(operators({ y: sum(y, [2]) })).not.toContain("Mul")
    }
    expect(operators({ y: sum(x, [0, 1]) })).toContain("MatMul")
    expect(operators({ y: sum(x, [0, 1]) })).not.toContain("ReduceSum")
  })

  it("are not otherwise", () => {
    const others = [
      { y: sum(mul(x, w), [1]) },
      { y: sum(mul(x, w), [2]), z: mul(x, w) },
      { y: sum(mul(x, input("v", "f32", [3, 1])), [2]) },
      { y: sum(mul(x, input("v", "f32", [1])), [2]) },
      { y: sum(mul(input("narrow", "f32", [2, 3, 1]), w), [2]) },
      { y: sum(mul(input("h", "bf16", [2, 8]), input("v", "bf16", [8])), [1]) },
      { y: sum(x, [0]) },
      { y: sum(input("i", "i32", [2, 8]), [0]) }
    ]
    for (const outputs of others) {
      expect(operators(outputs)).toContain("ReduceSum")
      expect(operators(outputs)).not.toContain("MatMul")
    }
  })

  it.each(["webgpu", "standard"] as const)("are not for %s", target => {
    const outputs = {
      weighted: sum(mul(x, w), [2]),
      rows: sum(x, [0, 1]),
      squares: sum(square(input("s", "f32", [2, 2048])), [1])
    }
    const found = operators(outputs, target)
    expect(found.filter(op => op === "ReduceSum")).toHaveLength(3)
    expect(found.filter(op => op.includes("MatMul"))).toEqual([])
  })

  it.effect("give what plain loops give", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        const outputs = {
          weighted: sum(mul(x, w), [2]),
          kept: sum(mul(w, x), 2, { keepDims: true }),
          rows: sum(x, [0, 1]),
          rowsKept: sum(x, [0, 1], { keepDims: true }),
          ofOne: sum(mul(x, sliceAxis(w, 0, 0, 1)), 2),
          spread: sum(mul(sliceAxis(x, 2, 0, 1), w), 2),
          noRows: sum(sliceAxis(x, 0, 0, 0), [0, 1])
        }
        const values = { x: normals(randomKey(5, "x"), x.size), w: normals(randomKey(5, "w"), w.size) }
        const expected = evaluateTensors(outputs, values, { exact: true })
        const found = yield* runOnce(engine, makeProgram(outputs), values)
        for (const [name, exact] of Object.entries(expected))
          for (const [i, value] of exact.entries()) expect(found[name]![i]).toBeCloseTo(value, 5)
      })
    )
  )
})
