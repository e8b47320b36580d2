/** Causal depthwise convolution along a row, which begins anew with each document. */
import { add, concat, mul, pad, reshape, select, sliceAxis } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { sameDocument } from "./documents.ts"

export interface Convolved {
  /** [B, L, C]. */
  readonly x: Tensor
  /** [C, 1, K]: a kernel for each channel, its last tap for the token itself, as in a convolution with C groups. */
  readonly weight: Tensor
  /** [B, K - 1, C]: the tokens before the row's first. Left out: there are none, or zeros. */
  readonly before?: Tensor | undefined
}

/**
 * y_t = sum over j of weight[K - 1 - j] x_{t - j}, [B, L, C], over those j whose token is of t's document. segmentIds i32 [B, L]; left out, a row is one document. `size` is K.
 */
export const causalConvolution = (segmentIds: Tensor | undefined, size: number): ((of: Convolved) => Tensor) => {
  const distances = Array.from({ length: size }, (_, j) => j)
  const own = distances.map(distance =>
    segmentIds === undefined || distance === 0
      ? undefined
      : reshape(sameDocument(segmentIds, distance), [...segmentIds.shape, 1])
  )
  return ({ before, weight, x }) => {
    const [length, channels] = x.shape.slice(1) as [number, number]
    const all = before === undefined ? pad(x, [0, size - 1, 0], [0, 0, 0]) : concat([before, x], 1)
    const taps = distances.map(distance => {
      const from = size - 1 - distance
      const shifted = sliceAxis(all, 1, from, from + length)
      const seen = own[distance] === undefined ? shifted : select(own[distance], shifted, 0)
      return mul(seen, reshape(sliceAxis(weight, 2, from, from + 1), [channels]))
    })
    return taps.reduce((sum, tap) => add(sum, tap))
  }
}
