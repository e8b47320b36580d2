/**
 * What ONNX Runtime was found to compute wrongly, run directly. When one of these tests fails, the runtime was mended: take the detour out of
 * src/engines/ort (named in the test), then the test.
 */
import { describe, expect, it } from "vitest"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import { encodeModel, type OnnxModel } from "../../src/engines/ort/onnx.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { isFloat } from "../../src/tensor/dtype.ts"
import { dequantisedNf4, nf4BlockSize, quantiseNf4 } from "../../src/tensor/nf4.ts"
import { input, matmul, random, scatterAdd, sum, topK } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import { allOps, casesOf, traced } from "./cases.ts"
import * as ort from "../../src/engines/ort/runtime.ts"

const f32 = (name: string, ...shape: ReadonlyArray<number>) => ({ name, type: "f32" as const, shape })
const tensor = (values: ReadonlyArray<number>, shape: ReadonlyArray<number>) =>
  new ort.Tensor("float32", Float32Array.from(values), shape)

const run = async (model: OnnxModel, feeds: Record<string, ort.Tensor>, options: ort.SessionOptions = {}) => {
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

describe("still wrong in ONNX Runtime: MatMulBnb4", () => {
  const [outputs, inputs, rows] = [32, 64, 3]
  const weight = quantiseNf4(normals(randomKey(1, "weight"), outputs * inputs))
  const dense = dequantisedNf4(weight, outputs * inputs)

  /** Error of the product of `rows` rows with the weight [outputs, inputs] or its transpose, relative to the product in float64. */
  const error = async (transB: boolean): Promise<number> => {
    const [from, to] = transB ? [inputs, outputs] : [outputs, inputs]
    const a = normals(randomKey(2, "a"), rows * from)
    const attributes = { K: inputs, N: outputs, block_size: nf4BlockSize, quant_type: 1, transB: Number(transB) }
    const y = await run(
      {
        nodes: [{ op: "MatMulBnb4", domain: "com.microsoft", inputs: ["a", "b", "s"], outputs: ["y"], attributes }],
        constants: [
          { name: "b", type: "u8", shape: [weight.packed.length], data: weight.packed },
          { ...f32("s", weight.absmax.length), data: weight.absmax }
        ],
        inputs: [f32("a", rows, from)],
        outputs: [f32("y", rows, to)]
      },
      { a: tensor([...a], [rows, from]) }
    )
    let [wrong, size] = [0, 0]
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < to; c++) {
        let sum = 0
        for (let i = 0; i < from; i++)
          sum += a[r * from + i]! * (transB ? dense[c * inputs + i]! : dense[i * inputs + c]!)
        wrong += (Number(y.data[r * to + c]) - sum) ** 2
        size += sum ** 2
      }
    return Math.sqrt(wrong / size)
  }

  it("its product with the weight itself, which a gradient needs (expansions.ts: dequantiseNf4)", async () => {
    expect(await error(false)).toBeGreaterThan(0.5)
  })

  it("… while that with its transpose is right", async () => {
    expect(await error(true)).toBeLessThan(1e-5)
  })
})

/** The nodes that a program is written with. */
const nodesOf = (outputs: { readonly [name: string]: Tensor }): OnnxModel["nodes"] => {
  const program = makeProgram(outputs)
  const { segments } = segmentsOf(program)
  return segments.flatMap(segment => lowerSegment(program, segment).nodes)
}
const operatorsOf = (outputs: { readonly [name: string]: Tensor }): ReadonlyArray<string> =>
  nodesOf(outputs).map(({ op }) => op)

describe("never written into a model", () => {
  it("an operator or an output that was found to be wrong, by any op or its gradient", () => {
    const nodes = allOps.flatMap(op =>
      casesOf(op).flatMap(each => {
        const { outputs, x } = traced(op, each)
        const made = Object.values(outputs).filter(({ dtype }) => isFloat(dtype))
        const wanted = x.filter(({ dtype }) => isFloat(dtype))
        const found = made.flatMap(y => gradients(sum(y), wanted))
        return nodesOf({ ...outputs, ...Object.fromEntries(found.map((gradient, i) => [`g${i}`, gradient])) })
      })
    )
    expect(nodes.length).toBeGreaterThan(1000)
    const operators = new Set(nodes.map(({ op }) => op))
    expect([...operators].filter(op => op === "ScatterND" || op === "MatMulBnb4")).toEqual([])
    // Its second output holds anything on some devices.
    const norms = nodes.filter(({ op }) => op === "SimplifiedLayerNormalization")
    expect(norms.length).toBeGreaterThan(0)
    expect(norms.filter(({ outputs }) => outputs.length > 1)).toEqual([])
  })

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
