/** Products in groups as they are written for each target, all run on the processor. */
import { describe, expect, it } from "vitest"
import { exportOnnx } from "../../src/engines/ort/export.ts"
import type { Target } from "../../src/engines/ort/builder.ts"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import { encodeModel, Subgraph } from "../../src/engines/ort/onnx.ts"
import { webgpuOpset } from "../../src/engines/ort/protocol.ts"
import * as ort from "../../src/engines/ort/runtime.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { evaluate } from "../../src/engines/reference/evaluate.ts"
import { groupedMatmul, groupedOuter, input } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"

/** Sizes of groups, and rows behind them: more groups than rows, groups of many rows, and none in any. */
const cases = [
  { sizes: [2, 0, 1, 2], behind: 1 },
  { sizes: [0, 0, 1, 0, 0, 0, 1, 0], behind: 0 },
  { sizes: [40, 1, 0, 0], behind: 0 },
  { sizes: [0, 0], behind: 3 },
  { sizes: [17], behind: 0 }
]
const [k, m] = [5, 3]

const programOf = (n: number, groups: number) => {
  const [a, g] = [input("a", "f32", [n, k]), input("g", "f32", [n, m])]
  const b = input("b", "f32", [groups, k, m])
  const sizes = input("sizes", "i32", [groups])
  return makeProgram({
    y: groupedMatmul(a, b, sizes),
    x: groupedMatmul(g, b, sizes, { transposeB: true }),
    outer: groupedOuter(a, g, sizes)
  })
}

const valuesOf = (n: number, groups: number, sizes: ReadonlyArray<number>) => ({
  a: normals(randomKey(1, "a"), n * k),
  b: normals(randomKey(1, "b"), groups * k * m),
  g: normals(randomKey(1, "g"), n * m),
  sizes: Int32Array.from(sizes)
})

const tensorOf = (values: Float32Array | Int32Array, shape: ReadonlyArray<number>): ort.Tensor =>
  values instanceof Int32Array ? new ort.Tensor("int32", values, shape) : new ort.Tensor("float32", values, shape)

describe.each(["cpu", "webgpu", "standard"] as ReadonlyArray<Target>)("grouped products for %s", target => {
  it.each(cases)("are those of the reference, with groups of %o", async ({ behind, sizes }) => {
    const n = sizes.reduce((sum, size) => sum + size, behind)
    const program = programOf(n, sizes.length)
    const values = valuesOf(n, sizes.length, sizes)
    const { outputs, segments } = segmentsOf(program)
    const [segment] = segments
    const model = lowerSegment(program, segment!, target)
    const bytes = target === "webgpu" ? encodeModel(model, webgpuOpset) : encodeModel(model)
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
    const feeds = Object.fromEntries(
      segment!.inputs.map((value, i) => {
        const { name } = program.inputs.find(each => each.value === value)!
        return [model.inputs[i]!.name, tensorOf(values[name as "a"], program.values[value]!.shape)]
      })
    )
    const found = await session.run(feeds)
    const expected = evaluate(program, values)
    for (const { name, value } of outputs) {
      const made = found[model.outputs[segment!.outputs.indexOf(value)]!.name]!
      expect(made.dims).toEqual(program.values[value]!.shape)
      for (const [i, number] of expected[name]!.entries())
        expect(Math.abs(Number(made.data[i]) - number)).toBeLessThan(1e-5)
    }
    await session.release()
  })
})

it("a file for other tools has loops, which read its inputs by their names", async () => {
  const { behind, sizes } = cases[0]!
  const n = sizes.reduce((sum, size) => sum + size, behind)
  const program = programOf(n, sizes.length)
  const { a, b, g, sizes: given } = valuesOf(n, sizes.length, sizes)
  const session = await ort.InferenceSession.create(exportOnnx(program, { b }), { logSeverityLevel: 3 })
  const { outer, y } = await session.run({
    a: tensorOf(a, [n, k]),
    g: tensorOf(g, [n, m]),
    sizes: tensorOf(given, [sizes.length])
  })
  const expected = evaluate(program, { a, b, g, sizes: given })
  for (const [name, made] of Object.entries({ y: y!, outer: outer! }))
    for (const [i, number] of expected[name]!.entries())
      expect(Math.abs(Number(made.data[i]) - number)).toBeLessThan(1e-5)
  await session.release()
})

it("a program for WebGPU has no loops", () => {
  const program = programOf(6, 4)
  const { nodes } = lowerSegment(program, segmentsOf(program).segments[0]!, "webgpu")
  expect(nodes.flatMap(({ attributes }) => Object.values(attributes)).some(each => each instanceof Subgraph)).toBe(
    false
  )
})
