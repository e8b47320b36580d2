/**
 * The primitive ops: the whole language that engines must speak. Broadcasting is numpy's throughout. Arithmetic on f16 and bf16
 * is done in at least f32 and rounded once at the end.
 */
import type { DType, HostArray } from "./dtype.ts"
import type { Shape, Tensor } from "./Tensor.ts"

interface None {}
interface Axis {
  /** 0 <= axis < rank. */
  readonly axis: number
}
interface Reduction {
  /** Ascending, without repeats. */
  readonly axes: ReadonlyArray<number>
  readonly keepDims: boolean
}

export interface Attributes {
  // Leaves
  input: { readonly name: string; readonly dtype: DType; readonly shape: Shape }
  constant: { readonly dtype: DType; readonly shape: Shape; readonly data: HostArray }
  iota: Axis & { readonly dtype: DType; readonly shape: Shape } // index along the axis
  random: { readonly shape: Shape } // (key i64[2]) -> f32 uniform in [0, 1): Threefry-2x32-20, see random.ts

  // Elementwise, one operand
  neg: None
  abs: None
  sign: None // 0 at 0; NaN stays NaN
  floor: None
  exp: None
  log: None
  sqrt: None
  rsqrt: None
  sin: None
  cos: None
  tanh: None
  erf: None
  sigmoid: None
  not: None // bool
  cast: { readonly dtype: DType } // float to integer truncates; to bool is != 0

  // Elementwise, two operands of one dtype
  add: None
  sub: None
  mul: None
  div: None // integers: truncated
  rem: None // sign of the dividend, as C's fmod
  pow: None
  maximum: None // NaN wins
  minimum: None // NaN wins
  and: None // bool
  or: None // bool
  equal: None // -> bool
  less: None // -> bool
  lessEqual: None // -> bool
  select: None // (condition bool, whenTrue, whenFalse)

  // Contractions and reductions
  matmul: { readonly transposeA: boolean; readonly transposeB: boolean } // last two axes; leading axes broadcast
  sum: Reduction
  max: Reduction // NaN wins
  argmax: Axis // -> i64; the first of equals; the axis goes
  topK: { readonly k: number } // last axis -> values and i64 indices, descending; of equals the lower index first
  cumulativeSum: Axis & { readonly reverse: boolean }
  softmax: Axis
  logSoftmax: Axis
  rmsNorm: { readonly epsilon: number } // (x, weight): weight * x / sqrt(mean(x^2, last axis) + epsilon)
  rotate: None // (x [B, L, H, D], cos and sin [B or 1, L, D / 2]): halves a, b of the last axis -> a cos - b sin, b cos + a sin

  // Quantised weights: (packed u8 [ceil(n / 2)], absmax f32 [ceil(n / blockSize)]) -> floats of n elements; see nf4.ts
  dequantiseNf4: { readonly shape: Shape; readonly blockSize: number; readonly dtype: DType }

  // Several processes
  allReduce: None // the sum over all processes that compute together; the operand itself where there is one

  // Indexing; indices are i32 or i64 and must lie within the axis
  gather: Axis // (x, indices of any shape): numpy's take
  gatherAlong: Axis // (x, indices): numpy's take_along_axis
  scatterAdd: Axis // (x, indices, updates): the transpose of gather; repeated indices add up
  scatterAddAlong: Axis // (x, indices, updates): the transpose of gatherAlong

  // Shape
  reshape: { readonly shape: Shape }
  transpose: { readonly permutation: ReadonlyArray<number> } // out axis i is in axis permutation[i]
  broadcastTo: { readonly shape: Shape }
  concat: Axis
  slice: {
    readonly starts: ReadonlyArray<number>
    readonly ends: ReadonlyArray<number> // exclusive
    readonly strides: ReadonlyArray<number> // positive
  }
  pad: { readonly low: ReadonlyArray<number>; readonly high: ReadonlyArray<number>; readonly value: number }

  // Annotations: values pass unchanged
  stopGradient: None
  checkpoint: { readonly mark: number } // (values…): nodes younger than the mark are recomputed in the backward pass
  customGradient: { readonly rule: CustomRule } // (values…, inputs…): the rule replaces differentiation of what made the values
  after: None // (value, dependency…): the value, computed from here on only when the dependencies are
}

/** Cotangents of the values (undefined: none), and the inputs -> cotangents of the inputs (undefined or left out: none). */
export type CustomRule = (
  gradients: ReadonlyArray<Tensor | undefined>,
  inputs: ReadonlyArray<Tensor>
) => ReadonlyArray<Tensor | undefined>

export type Op = keyof Attributes
