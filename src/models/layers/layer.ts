/** Decoder layers by their kind: what each is made of, as plain data, and the functions that compute it. */
import { add } from "../../tensor/ops.ts"
import { type GatedDeltaNet, gatedDeltaNet } from "./gatedDeltaNet.ts"
import type { LinearKind } from "../linear/linear.ts"
import { type Part, together } from "../parameters.ts"
import type { FeedForward, Mixer } from "./mixer.ts"
import { type Norm, norm } from "./norm.ts"
import { type SelfAttention, selfAttention } from "./selfAttention.ts"
import { type Swiglu, swiglu } from "./swiglu.ts"

/** Mixers by the name of their kind: adding one is a line here and in `mixers`, and a module beside. */
interface MixerKinds {
  readonly attention: SelfAttention
  readonly gated_delta_net: GatedDeltaNet
}
export type MixerKind = MixerKinds[keyof MixerKinds]

/** What a layer is. Layers of equal kinds compute the same, each with weights of its own. */
export interface LayerKind {
  readonly mixer: MixerKind
  readonly feedForward: Swiglu
  /** Of what enters the mixer, and the feed-forward network. */
  readonly norm: Norm
}

const mixers: {
  readonly [kind in keyof MixerKinds]: (mixer: MixerKinds[kind], hiddenSize: number, linear: LinearKind) => Mixer
} = { attention: selfAttention, gated_delta_net: gatedDeltaNet }
/** Whether a mixer goes from token to token, from left to right; else every token looks for itself. */
export const isRecurrent = ({ kind }: MixerKind): boolean => kind !== "attention"

/** By the name of the kind, as mixers. */
const feedForwards = { swiglu }

const makeMixer = <Kind extends keyof MixerKinds>(
  mixer: { readonly [kind in Kind]: { readonly kind: kind } & MixerKinds[kind] }[Kind],
  hiddenSize: number,
  linear: LinearKind
): Mixer => mixers[mixer.kind](mixer, hiddenSize, linear)

/** The first mixer of a kind among layers; where all of the kind are alike, it says what each is. Throws where there is none. */
export const mixerOf = <Kind extends keyof MixerKinds>(
  layers: ReadonlyArray<LayerKind>,
  kind: Kind
): MixerKinds[Kind] => {
  const found = layers.find(({ mixer }) => mixer.kind === kind)
  if (found === undefined) throw new Error(`no layer has a mixer of the kind ${kind}`)
  return found.mixer as MixerKinds[Kind]
}

/** A layer of this kind; names of parameters count from it. */
export const makeLayer = (
  { feedForward, mixer, norm: kind }: LayerKind,
  hiddenSize: number,
  linear: LinearKind
): Mixer =>
  decoderLayer(
    makeMixer(mixer, hiddenSize, linear),
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
