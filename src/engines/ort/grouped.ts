/**
 * Products of rows with the matrices of their groups. On the processor a loop of ONNX goes through the groups: each takes as many rows as it has, so that nothing is computed twice or for
 * nothing. For WebGPU, which has no loops, see groupedBlocks.ts.
 */
import { elements, type Shape } from "../../tensor/Tensor.ts"
import type { Builder, Lower, Target } from "./builder.ts"
import { fusedMatmul } from "./expansions.ts"
import { groupedMatmulOfBlocks, groupedOuterOfBlocks } from "./groupedBlocks.ts"

/** a [M, K] by b [K, N], either given transposed. */
const product = (b: Builder, target: Target, x: string, y: string, transposed: "left" | "right" | "none"): string => {
  if (transposed === "none") return b.one("MatMul", [x, y])
  if (target === "cpu")
    return fusedMatmul(b, x, y, { transposeA: transposed === "left", transposeB: transposed === "right" })
  const turned = (z: string): string => b.one("Transpose", [z], { perm: [1, 0] })
  return transposed === "left" ? b.one("MatMul", [turned(x), y]) : b.one("MatMul", [x, turned(y)])
}

/** Where groups end, and how many rows they have, i64 [G]. */
const borders = (b: Builder, sizes: string) => {
  const counts = b.cast(sizes, "i64")
  return { counts, ends: b.one("CumSum", [counts, b.i64Scalar(0)]) }
}

const vector = (b: Builder, scalar: string): string => b.reshape(scalar, [1])

/** The rows of a group, [size, …]. */
const rowsOf = (b: Builder, x: string, end: string, size: string): string =>
  b.one("Slice", [x, vector(b, b.one("Sub", [end, size])), vector(b, end), b.i64([0]), b.i64([1])])

const zeros = (b: Builder, shape: Shape): string => b.one("Expand", [b.f32(0), b.i64(shape)])

/** Goes through the groups that have rows, one product each, and puts the products one behind the other. */
export const groupedMatmul: Lower<"groupedMatmul"> = context => {
  const { attributes, b, inputs, out, target, types } = context
  const [rows, matrices, sizes] = inputs
  const [n, m] = out.shape as [number, number]
  if (types.some(({ shape }) => elements(shape) === 0)) return zeros(b, out.shape)
  if (target === "webgpu") return groupedMatmulOfBlocks(context)
  const { counts, ends } = borders(b, sizes)
  const filled = b.reshape(b.one("NonZero", [counts]), [-1])
  const body = b.within(
    [
      { type: "i64", kind: "scalar" },
      { type: "bool", kind: "scalar" },
      { type: "f32", kind: "sequence" }
    ],
    [
      { type: "bool", kind: "scalar" },
      { type: "f32", kind: "sequence" }
    ],
    (turn, going, before) => {
      const group = b.one("Gather", [filled, turn!], { axis: 0 })
      const [end, size] = [ends, counts].map(x => b.one("Gather", [x, group], { axis: 0 })) as [string, string]
      const matrix = b.one("Gather", [matrices, group], { axis: 0 })
      const made = product(b, target, rowsOf(b, rows, end, size), matrix, attributes.transposeB ? "right" : "none")
      return [b.one("Identity", [going!]), b.one("SequenceInsert", [before!, made])]
    }
  )
  const none = b.one("SequenceEmpty", [], { dtype: 1 })
  const products = b.one("Loop", [b.one("Size", [filled]), "", none], { body })
  const last = b.slice(ends, 0, types[2].shape[0]! - 1, types[2].shape[0]!)
  const behind = b.one("Concat", [b.one("Sub", [b.i64([n]), last]), b.i64([m])], { axis: 0 })
  const all = b.one("SequenceInsert", [products, b.one("ConstantOfShape", [behind])])
  return b.reshape(b.one("ConcatFromSequence", [all], { axis: 0 }), out.shape)
}

/** Goes through all groups: each product is written where it belongs. A row of zeros is added to the rows of each group, which may have none. */
export const groupedOuter: Lower<"groupedOuter"> = context => {
  const { b, inputs, out, target, types } = context
  const [x, y, sizes] = inputs
  if (types.some(({ shape }) => elements(shape) === 0)) return zeros(b, out.shape)
  if (target === "webgpu") return groupedOuterOfBlocks(context)
  const { counts, ends } = borders(b, sizes)
  const [k, m] = out.shape.slice(1) as [number, number]
  const [zerosOfX, zerosOfY] = [zeros(b, [1, k]), zeros(b, [1, m])]
  const place = { type: "i64", kind: "scalar" } as const
  const body = b.within([place, place], [{ type: "f32", kind: "tensor" }], (end, size) => {
    const filled = (rows: string, zero: string): string =>
      b.one("Concat", [rowsOf(b, rows, end!, size!), zero], { axis: 0 })
    return [product(b, target, filled(x, zerosOfX), filled(y, zerosOfY), "left")]
  })
  // Not reshaped, which would copy it: all experts' gradients are as large as the experts.
  return b.one("Scan", [ends, counts], { body, num_scan_inputs: 2 })
}
