/**
 * What ONNX Runtime was found to compute wrongly, run directly. When one of these tests fails, the runtime was mended: take the detour out of
 * src/engines/ort (named in the test), then the test.
 */
import * as ort from "onnxruntime-node"
import { describe, expect, it } from "vitest"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import { encodeModel, type OnnxModel } from "../../src/engines/ort/onnx.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { input, matmul, random, scatterAdd, topK } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"

const f32 = (name: string, ...shape: ReadonlyArray<number>) => ({ name, type: "f32" as const, shape })
const tensor = (values: ReadonlyArray<number>, shape: ReadonlyArray<number>) =>
  new ort.Tensor("float32", Float32Array.from(values), shape)

const run = async (
  model: OnnxModel,
  feeds: Record<string, ort.Tensor>,
  options: ort.InferenceSession.SessionOptions = {}
) => {
  const session = await ort.InferenceSession.create(encodeModel(model), { logSeverityLevel: 4, ...options })
  const { y } = await session.run(feeds)
  return y!
}

describe("still wrong in ONNX Runtime", () => {
  it("ReduceMax passes over NaN (lower.ts: max)", async () => {
    const axes = { name: "axes", type: "i64" as const, shape: [1], data: BigInt64Array.of(0n) }
    const y = await run(
      {
        nodes: [{ op: "ReduceMax", domain: "", inputs: ["x", "axes"], outputs: ["y"], attributes: { keepdims: 0 } }],
        constants: [axes],
        inputs: [f32("x", 4)],
        outputs: [f32("y")]
      },
      { x: tensor([1, NaN, 3, 2], [4]) }
    )
    expect(y.data[0]).toBe(3)
  })

  const product: OnnxModel = {
    nodes: [
      { op: "Transpose", domain: "", inputs: ["a"], outputs: ["t"], attributes: { perm: [0, 2, 1] } },
      { op: "MatMul", domain: "", inputs: ["t", "b"], outputs: ["y"], attributes: {} }
    ],
    constants: [],
    inputs: [f32("a", 0, 17, 5), f32("b", 17, 7)],
    outputs: [f32("y", 0, 5, 7)]
  }
  const feeds = { a: tensor([], [0, 17, 5]), b: tensor(Array(119).fill(1), [17, 7]) }

  it("a transpose and a product of an empty batch are fused into one that fails (worker.ts: wrongOptimisers)", async () => {
    await expect(run(product, feeds)).rejects.toThrow(/cannot broadcast/)
  })

  it("… which comes out empty without that fusion", async () => {
    const y = await run(product, feeds, {
      extra: { optimization: { disable_specified_optimizers: "MatmulTransposeFusion" } }
    })
    expect(y.dims).toEqual([0, 5, 7])
  })
})

/** The operators that a program is written with. */
const operatorsOf = (outputs: { readonly [name: string]: Tensor }): ReadonlyArray<string> => {
  const program = makeProgram(outputs)
  const { segments } = segmentsOf(program)
  return segments.flatMap(segment => lowerSegment(program, segment).model.nodes.map(({ op }) => op))
}

describe("never written into a model", () => {
  it("ScatterND, whose threads lose updates where indices repeat (a race, so that no run is sure to show it)", () => {
    const x = input("x", "f32", [5, 4, 3])
    const operators = operatorsOf({
      rows: scatterAdd(x, input("i", "i32", [7]), input("u", "f32", [7, 4, 3])),
      inner: scatterAdd(x, input("j", "i64", [2, 2]), input("v", "f32", [5, 2, 2, 3]), 1)
    })
    expect(operators).toContain("ScatterElements")
    expect(operators).not.toContain("ScatterND")
  })

  it("anything that computes a tensor without elements: TopK never ends, products and scattering fail", () => {
    const operators = operatorsOf({
      largest: topK(input("x", "f32", [3, 0, 4]), 2).values,
      product: matmul(input("a", "f32", [1, 2, 7]), input("b", "f32", [3, 0, 7, 2])),
      drawn: random(input("key", "i64", [2]), [0, 5]),
      added: scatterAdd(input("y", "f32", [0, 7]), input("i", "i32", [2]), input("u", "f32", [0, 2]), 1),
      // Nothing is added.
      kept: scatterAdd(input("z", "f32", [3, 7]), input("j", "i32", [0]), input("v", "f32", [3, 0]), 1),
      // Nothing is summed.
      zeros: matmul(input("c", "f32", [2, 1, 2, 0]), input("d", "f32", [2, 2, 0, 7]))
    })
    expect([...new Set(operators)].toSorted()).toEqual(["Expand", "Identity"])
  })
})
