/** What the models for ONNX Runtime look like where that decides about time and memory, not about results. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as ort from "onnxruntime-node"
import { describe, expect, it } from "vitest"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import { encodeModel } from "../../src/engines/ort/onnx.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { square } from "../../src/tensor/composites.ts"
import { input, matmul, sum, tanh } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"

const lowered = (outputs: { readonly [name: string]: Tensor }) => {
  const program = makeProgram(outputs)
  return lowerSegment(program, segmentsOf(program).segments[0]!)
}

describe("the order of results", () => {
  it("has a gradient made once its cotangent is there, by ONNX Runtime too", async () => {
    const layers = 6
    const weights = Array.from({ length: layers }, (_, i) => input(`w${i}`, "f32", [8, 8]))
    const out = weights.reduce((x, weight) => tanh(matmul(x, weight)), input("x", "f32", [4, 8]))
    const { model } = lowered(
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

describe("sums of squares", () => {
  const operators = (outputs: { readonly [name: string]: Tensor }) => lowered(outputs).model.nodes.map(({ op }) => op)
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
