/** Decoder layers by their kind: what each is made of, as plain data, and the functions that compute it. */
import { add } from "../../tensor/ops.ts"
import type { LinearKind } from "../linear/linear.ts"
import { type Part, together } from "../parameters.ts"
import type { FeedForward, Mixer } from "./mixer.ts"
import { type Norm, norm } from "./norm.ts"
import { type SelfAttention, selfAttention } from "./selfAttention.ts"
import { type Swiglu, swiglu } from "./swiglu.ts"

/** What a layer is. Layers of equal kinds compute the same, each with weights of its own. */
export interface LayerKind {
  readonly mixer: SelfAttention
  readonly feedForward: Swiglu
  /** Of what enters the mixer, and the feed-forward network. */
  readonly norm: Norm
}

/** By the name of the kind: adding one is a line here and in the type, and a module beside. */
const mixers = { attention: selfAttention }
const feedForwards = { swiglu }

/** A layer of this kind; names of parameters count from it. */
export const makeLayer = (
  { feedForward, mixer, norm: kind }: LayerKind,
  hiddenSize: number,
  linear: LinearKind
): Mixer =>
  decoderLayer(
    mixers[mixer.kind](mixer, hiddenSize, linear),
    feedForwards[feedForward.kind](feedForward, hiddenSize, linear),
    kind,
    hiddenSize
  )

/** Pre-norm: x + mixer(norm x), and the same with the feed-forward network. */
export const decoderLayer = (mixer: Mixer, feedForward: Part<FeedForward>, kind: Norm, hiddenSize: number): Mixer => {
  const { make, specs } = together({
    mixer,
    feedForward,
    before: norm(kind, "input_layernorm.weight", hiddenSize),
    between: norm(kind, "post_attention_layernorm.weight", hiddenSize)
  })
  return {
    ...mixer,
    specs,
    make: parameter => {
      const { before, between, feedForward: feed, mixer: mix } = make(parameter)
      return context => {
        const mixed = mix(context)
        return x => {
          const h = add(x, mixed(before(x))) // [B, L, d]
          return add(h, feed(between(h))) // [B, L, d]
        }
      }
    }
  }
}
