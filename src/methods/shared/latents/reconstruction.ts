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
  /** Of each sequence: nats, tokens that come back, and tokens. */
  readonly sequences: ReadonlyArray<{ readonly nats: number; readonly right: number; readonly tokens: number }>
}

/** Cross-entropy of each row of hidden states, and 1 where the likeliest token is the target. */
export const judged = (hidden: Tensor, head: Tensor, targets: Tensor, bias?: Tensor) => {
  const [losses, right] = chunkedOfLogits(hidden, head, targets, (rows, own) => {
    const logits = bias === undefined ? rows : add(rows, bias)
    return [softmaxCrossEntropy(logits, own), cast(equal(cast(argmax(logits, 1), "i32"), own), "f32")]
  })
  return { losses: losses!, right: right! }
}

/** Sums over the places that count: those of a sequence, by its number. */
export const total = (
  results: ReadonlyArray<{
    readonly losses: Float32Array
    readonly right: Float32Array
    readonly sequenceOf: (place: number) => number | undefined
  }>,
  sequences: number
): Reconstruction => {
  const each = Array.from({ length: sequences }, () => ({ nats: 0, right: 0, tokens: 0 }))
  for (const { losses, right, sequenceOf } of results)
    for (const [place, loss] of losses.entries()) {
      const own = each[sequenceOf(place) ?? -1]
      if (own === undefined) continue
      own.nats += loss
      own.right += right[place]!
      own.tokens++
    }
  const sum = (of: keyof (typeof each)[number]) => each.reduce((all, sequence) => all + sequence[of], 0)
  const tokens = sum("tokens")
  return { loss: sum("nats") / tokens, accuracy: sum("right") / tokens, tokens, sequences: each }
}

export interface ReconstructionShape {
  readonly rows: number
  readonly pad: number
}
