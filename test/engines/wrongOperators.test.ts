/**
 * What ONNX Runtime was found to compute wrongly, run directly. When one of these tests fails, the runtime was mended: take the detour out of
 * src/engines/ort (named in the test), then the test.
 */
import * as ort from "onnxruntime-node"
import { describe, expect, it } from "vitest"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import { encodeModel, type OnnxModel } from "../../src/engines/ort/onnx.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { input, scatterAdd } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"

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

describe("never written into a model", () => {
  it("ScatterND, whose threads lose updates where indices repeat (a race, so that no run is sure to show it)", () => {
    const x = input("x", "f32", [5, 4, 3])
    const program = makeProgram({
      rows: scatterAdd(x, input("i", "i32", [7]), input("u", "f32", [7, 4, 3])),
      inner: scatterAdd(x, input("j", "i64", [2, 2]), input("v", "f32", [5, 2, 2, 3]), 1)
    })
    const { segments } = segmentsOf(program)
    const operators = segments.flatMap(segment => lowerSegment(program, segment).model.nodes.map(({ op }) => op))
    expect(operators).toContain("ScatterElements")
    expect(operators).not.toContain("ScatterND")
  })
})
