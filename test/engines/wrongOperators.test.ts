/**
 * What ONNX Runtime was found to compute wrongly, run directly. When one of these tests fails, the runtime was mended: take the detour out of
 * src/engines/ort (named in the test), then the test.
 */
import * as ort from "onnxruntime-node"
import { describe, expect, it } from "vitest"
import { encodeModel, type OnnxModel } from "../../src/engines/ort/onnx.ts"

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
      { op: "Transpose", domain: "", inputs: ["b"], outputs: ["t"], attributes: { perm: [0, 1, 3, 2] } },
      { op: "MatMul", domain: "", inputs: ["a", "t"], outputs: ["y"], attributes: {} }
    ],
    constants: [],
    inputs: [f32("a", 3, 2, 4), f32("b", 2, 1, 5, 4)],
    outputs: [f32("y", 2, 3, 2, 5)]
  }
  const feeds = { a: tensor(Array(24).fill(1), [3, 2, 4]), b: tensor(Array(40).fill(1), [2, 1, 5, 4]) }

  it("a transpose and a product that broadcasts are fused into one that cannot (worker.ts: wrongOptimisers)", async () => {
    await expect(run(product, feeds)).rejects.toThrow(/cannot broadcast/)
  })

  it("… and are right without that fusion", async () => {
    const y = await run(product, feeds, {
      extra: { optimization: { disable_specified_optimizers: "MatmulTransposeFusion" } }
    })
    expect([...(y.data as Float32Array)]).toEqual(Array(60).fill(4))
  })
})
