/**
 * Products of rows with the matrices of their groups, for WebGPU: without loops, and with sizes that are known before. The rows of each group are cut into blocks of one size, the last of
 * them filled up with zeros; each block has a copy of its group's matrix.
 */
import type { Builder, LoweringOf } from "./builder.ts"

/** Rows of a block, as many as groups have in the mean, and the most blocks that there can be. Together they have at most twice the rows. */
const blocksFor = (rows: number, groups: number): { readonly size: number; readonly count: number } => {
  const size = Math.ceil(rows / groups)
  return { size, count: Math.floor((rows + groups * (size - 1)) / size) }
}

/** Copies of matrices take at most so many bytes at once, unless one alone has more. */
const copiedBytes = 64 * 2 ** 20

/** Parts of at most so many of a total. */
const parts = (total: number, most: number): ReadonlyArray<readonly [from: number, to: number]> => {
  const size = Math.max(1, Math.floor(most))
  return Array.from({ length: Math.ceil(total / size) }, (_, i) => [i * size, Math.min(total, (i + 1) * size)])
}

const joined = (b: Builder, all: ReadonlyArray<string>, axis: number): string =>
  all.length === 1 ? all[0]! : b.one("Concat", all, { axis })

/** Numbers from 0 on. */
const line = (b: Builder, length: number): string =>
  b.constant(
    "f32",
    [length],
    Float32Array.from({ length }, (_, i) => i)
  )

/** Where rows and blocks are. Whole numbers are f32, exact below 2^24: WebGPU has every operator for them. */
const blocksOf = (b: Builder, sizes: string, rows: number, groups: number) => {
  const { count, size } = blocksFor(rows, groups)
  const lower = Float32Array.from({ length: groups ** 2 }, (_, i) => Number(i % groups <= Math.floor(i / groups)))
  const op = (name: string, x: string, y: string | number): string =>
    b.one(name, [x, typeof y === "number" ? b.f32(y) : y])
  const at = (x: string, index: string): string => b.one("Gather", [x, index], { axis: 0 })
  /** Sums up to each group, its own included. */
  const upTo = (x: string): string =>
    b.reshape(b.one("MatMul", [b.constant("f32", [groups, groups], lower), b.reshape(x, [groups, 1])]), [groups])
  /** The group in which each of so many places lies, i32: it has reached the ends of those before. */
  const groupOf = (place: string, length: number, ends: string): string => {
    const reached = b.cast(
      b.one("GreaterOrEqual", [b.reshape(place, [length, 1]), b.reshape(ends, [1, groups])]),
      "f32"
    )
    return b.cast(op("Min", b.one("ReduceSum", [reached, b.i64([1])], { keepdims: 0 }), groups - 1), "i32")
  }

  const counts = b.cast(sizes, "f32")
  // Half a row less keeps the quotient away from whole numbers, where a device may round it to either side.
  const blocks = op("Add", b.one("Floor", [op("Div", op("Sub", counts, 0.5), size)]), 1)
  const [ends, blockEnds] = [upTo(counts), upTo(blocks)]
  const [starts, blockStarts] = [op("Sub", ends, counts), op("Sub", blockEnds, blocks)]
  const block = line(b, count)
  const group = groupOf(block, count, blockEnds)
  const first = op("Add", at(starts, group), op("Mul", op("Sub", block, at(blockStarts, group)), size))
  const row = op("Add", b.reshape(first, [count, 1]), b.reshape(line(b, size), [1, size]))
  const isOwn = b.reshape(op("Less", row, b.reshape(at(ends, group), [count, 1])), [count, size, 1])
  const taken = b.reshape(b.cast(op("Min", row, rows - 1), "i32"), [-1])
  const own = line(b, rows)
  const ofRow = groupOf(own, rows, ends)
  const place = op("Add", op("Mul", at(blockStarts, ofRow), size), op("Sub", own, at(starts, ofRow)))
  const placed = b.cast(op("Min", place, count * size - 1), "i32")
  const isOfGroup = b.reshape(b.one("Less", [own, b.slice(ends, 0, groups - 1, groups)]), [rows, 1])
  return {
    count,
    size,
    /** Of each block, i32 [count]. */
    group,
    /** The first block of each group, i32 [G], and whether it has any, bool [G, 1, 1]. */
    firstBlocks: b.cast(op("Min", blockStarts, count - 1), "i32"),
    hasBlocks: b.reshape(op("Greater", counts, 0), [groups, 1, 1]),
    /** Rows [rows, width] -> [count, size, width]. */
    cut: (x: string, width: number): string =>
      b.one("Where", [isOwn, b.reshape(at(x, taken), [count, size, width]), b.f32(0)]),
    /** And back. */
    back: (x: string, width: number): string =>
      b.one("Where", [isOfGroup, at(b.reshape(x, [count * size, width]), placed), b.f32(0)])
  }
}

export const groupedMatmulOfBlocks = ({
  attributes: { transposeB },
  b,
  inputs: [rows, matrices, sizes],
  out,
  types
}: LoweringOf<"groupedMatmul">): string => {
  const [[n, k], [groups]] = [types[0].shape as [number, number], types[1].shape as [number]]
  const m = out.shape[1]!
  const { back, count, cut, group } = blocksOf(b, sizes, n, groups)
  const blocks = cut(rows, k)
  const products = parts(count, copiedBytes / (4 * k * m)).map(([from, to]) => {
    const copies = b.one("Gather", [matrices, b.slice(group, 0, from, to)], { axis: 0 })
    const turned = transposeB ? b.one("Transpose", [copies], { perm: [0, 2, 1] }) : copies
    return b.one("MatMul", [b.slice(blocks, 0, from, to), turned])
  })
  return back(joined(b, products, 0), m)
}

/** Each block's product; those of a group add up to that of its first block, in so many steps as a number of blocks can be doubled. */
export const groupedOuterOfBlocks = ({ b, inputs: [x, y, sizes], out, types }: LoweringOf<"groupedOuter">): string => {
  const [groups, k, m] = out.shape as [number, number, number]
  const { count, cut, firstBlocks, group, hasBlocks, size } = blocksOf(b, sizes, types[0].shape[0]!, groups)
  const [left, right] = [b.one("Transpose", [cut(x, k)], { perm: [0, 2, 1] }), cut(y, m)]
  const mostOfGroup = Math.min(count, Math.ceil(types[0].shape[0]! / size))
  const steps = Array.from({ length: Math.ceil(Math.log2(mostOfGroup)) }, (_, i) => 2 ** i).map(ahead => ({
    ahead,
    same: b.reshape(b.one("Equal", [b.slice(group, 0, 0, count - ahead), b.slice(group, 0, ahead, count)]), [-1, 1, 1])
  }))
  const columns = parts(k, copiedBytes / (4 * count * m)).map(([from, to]) => {
    let sums = b.one("MatMul", [b.slice(left, 1, from, to), right]) // [count, columns, m]
    for (const { ahead, same } of steps) {
      const added = b.one("Where", [same, b.slice(sums, 0, ahead, count), b.f32(0)])
      sums = b.one(
        "Concat",
        [b.one("Add", [b.slice(sums, 0, 0, count - ahead), added]), b.slice(sums, 0, count - ahead, count)],
        { axis: 0 }
      )
    }
    return b.one("Where", [hasBlocks, b.one("Gather", [sums, firstBlocks], { axis: 0 }), b.f32(0)])
  })
  return joined(b, columns, 1)
}
