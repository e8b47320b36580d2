/** Ops that combine elements along axes: products of matrices, reductions, normalisations. */
import type { Tensor } from "../Tensor.ts"
import { apply, applyAll, fromStart } from "./apply.ts"

interface Transposed {
  readonly transposeA?: boolean
  readonly transposeB?: boolean
}

/** a [..., M, K] by b [..., K, N] -> [..., M, N]; a transposed operand is given with its last two axes exchanged. */
export const matmul = (a: Tensor, b: Tensor, { transposeA = false, transposeB = false }: Transposed = {}): Tensor =>
  apply("matmul", { transposeA, transposeB }, [a, b], matmul)

/**
 * Rows that lie group by group, a [n, K], each by the matrix of its group, b [G, K, M] (with `transposeB` [G, M, K]) -> [n, M]. sizes i32 or i64 [G]: rows of each group,
 * from the first; rows behind the last group give 0. Takes work for n products of a row with a matrix, however many groups there are.
 */
export const groupedMatmul = (
  a: Tensor,
  b: Tensor,
  sizes: Tensor,
  { transposeB = false }: Pick<Transposed, "transposeB"> = {}
): Tensor => apply("groupedMatmul", { transposeB }, [a, b, sizes], groupedMatmul)

/** For each group the product aT b over its rows: a [n, K], b [n, M], sizes as in `groupedMatmul` -> [G, K, M]; 0 for a group without rows. */
export const groupedOuter = (a: Tensor, b: Tensor, sizes: Tensor): Tensor =>
  apply("groupedOuter", {}, [a, b, sizes], groupedOuter)

type Axes = number | ReadonlyArray<number>

interface ReductionOptions {
  readonly keepDims?: boolean
}

const ascending = (x: Tensor, axes: Axes = x.shape.map((_, axis) => axis)): ReadonlyArray<number> =>
  [axes]
    .flat()
    .map(axis => fromStart(axis, x))
    .toSorted((a, b) => a - b)

/** Sum over axes (all by default). */
export const sum = (x: Tensor, axes?: Axes, { keepDims = false }: ReductionOptions = {}): Tensor =>
  apply("sum", { axes: ascending(x, axes), keepDims }, [x], sum)

/** Largest element over axes (all by default); NaN if there is one. */
export const max = (x: Tensor, axes?: Axes, { keepDims = false }: ReductionOptions = {}): Tensor =>
  apply("max", { axes: ascending(x, axes), keepDims }, [x], max)

/** Index of the first largest element along an axis, i64; the axis goes. */
export const argmax = (x: Tensor, axis = -1): Tensor => apply("argmax", { axis: fromStart(axis, x) }, [x], argmax)

/** The k largest elements along the last axis in descending order, of equals the lower index first, and their i64 indices. */
export const topK = (x: Tensor, k: number): { readonly values: Tensor; readonly indices: Tensor } => {
  const [values, indices] = applyAll("topK", { k }, [x], topK)
  return { values, indices }
}

/** Running sums along an axis, from its start or (reverse) from its end, each including its own element. */
export const cumulativeSum = (
  x: Tensor,
  axis: number,
  { reverse = false }: { readonly reverse?: boolean } = {}
): Tensor => apply("cumulativeSum", { axis: fromStart(axis, x), reverse }, [x], cumulativeSum)

/** exp(x - max) / sum exp(x - max) along an axis. */
export const softmax = (x: Tensor, axis = -1): Tensor => apply("softmax", { axis: fromStart(axis, x) }, [x], softmax)

/** x - max - log sum exp(x - max) along an axis. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor =>
  apply("logSoftmax", { axis: fromStart(axis, x) }, [x], logSoftmax)

/** weight * x / sqrt(mean(x^2) + epsilon) over the last axis; weight: [last]. Zhang & Sennrich 2019. */
export const rmsNorm = (x: Tensor, weight: Tensor, epsilon: number): Tensor =>
  apply("rmsNorm", { epsilon }, [x, weight], rmsNorm)

/**
 * Rotates the pairs (i, i + D / 2) of the last axis of x [B, L, H, D] by angles whose cosines and sines are [B or 1, L, D / 2], of x's dtype: a, b ->
 * a cos - b sin, b cos + a sin (rotary positions, Su et al. 2021; Hugging Face's order of pairs).
 */
export const rotate = (x: Tensor, cosines: Tensor, sines: Tensor): Tensor =>
  apply("rotate", {}, [x, cosines, sines], rotate)

/** The sum of a tensor over all processes that compute together, in each of them; the tensor itself where there is one. */
export const allReduce = (x: Tensor): Tensor => apply("allReduce", {}, [x], allReduce)
