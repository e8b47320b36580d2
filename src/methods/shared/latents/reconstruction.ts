/** How much of a text survives in latents: encoded and decoded again, without noise and without diffusion. What is counted, for every method that has latents. */
import { chunkedOfLogits } from "../../../models/decoder.ts"
import { softmaxCrossEntropy } from "../../../tensor/composites.ts"
import { add, argmax, cast, equal } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"

export interface Reconstruction {
  /** Mean cross-entropy, nats per token. */
  readonly loss: number
  /** Share of tokens of which the likeliest is the right one. */
  readonly accuracy: number
  readonly tokens: number
}

/** Cross-entropy of each row of hidden states, and 1 where the likeliest token is the target. */
export const judged = (hidden: Tensor, head: Tensor, targets: Tensor, bias?: Tensor) => {
  const [losses, right] = chunkedOfLogits(hidden, head, targets, (rows, own) => {
    const logits = bias === undefined ? rows : add(rows, bias)
    return [softmaxCrossEntropy(logits, own), cast(equal(cast(argmax(logits, 1), "i32"), own), "f32")]
  })
  return { losses: losses!, right: right! }
}

/** Sums over the places that count. */
export const total = (
  results: ReadonlyArray<{
    readonly losses: Float32Array
    readonly right: Float32Array
    readonly counts: ArrayLike<number>
  }>
): Reconstruction => {
  let [loss, right, tokens] = [0, 0, 0]
  for (const each of results)
    for (let i = 0; i < each.losses.length; i++) {
      if (each.counts[i] !== 1) continue
      loss += each.losses[i]!
      right += each.right[i]!
      tokens++
    }
  return { loss: loss / tokens, accuracy: right / tokens, tokens }
}

export interface ReconstructionShape {
  readonly rows: number
  readonly pad: number
}
