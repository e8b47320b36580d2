/** Decoder layers by their kind: what each is made of, as plain data, and the functions that compute it. */
import { add } from "../../tensor/ops.ts"
import { type GatedDeltaNet, gatedDeltaNet } from "./gatedDeltaNet.ts"
import type { LinearKind } from "../linear/linear.ts"
import { together } from "../parameters.ts"
import type { FeedForwardPart, Mixer } from "./mixer.ts"
import { moe, type MixtureOfExperts } from "./moe.ts"
import { type Norm, norm } from "./norm.ts"
import { type SelfAttention, selfAttention } from "./selfAttention.ts"
import { type Swiglu, swiglu } from "./swiglu.ts"

/** Mixers by the name of their kind: adding one is a line here and in `mixers`, and a module beside. */
interface MixerKinds {
  readonly attention: SelfAttention
  readonly gated_delta_net: GatedDeltaNet
}
export type MixerKind = MixerKinds[keyof MixerKinds]

/** Feed-forward networks by the name of their kind, as mixers. */
interface FeedForwardKinds {
  readonly swiglu: Swiglu
  readonly moe: MixtureOfExperts
}
export type FeedForwardKind = FeedForwardKinds[keyof FeedForwardKinds]

/** What a layer is. Layers of equal kinds compute the same, each with weights of its own. */
export interface LayerKind {
  readonly mixer: MixerKind
  readonly feedForward: FeedForwardKind
  /** Of what enters the mixer, and the feed-forward network. */
  readonly norm: Norm
}

/** Whether a mixer goes from token to token, from left to right; else every token looks for itself. */
export const isRecurrent = ({ kind }: MixerKind): boolean => kind !== "attention"

/** What parts are made with: the size of what goes through them, how linear maps are stored, and the deviation of fresh weights that are none. */
interface Making {
  readonly hiddenSize: number
  readonly linear: LinearKind
  readonly deviation: number
}

type Makers<Kinds, Made> = { readonly [kind in keyof Kinds]: (part: Kinds[kind], making: Making) => Made }

const mixers: Makers<MixerKinds, Mixer> = {
  attention: (part, { hiddenSize, linear }) => selfAttention(part, hiddenSize, linear),
  gated_delta_net: (part, { hiddenSize, linear }) => gatedDeltaNet(part, hiddenSize, linear)
}
const feedForwards: Makers<FeedForwardKinds, FeedForwardPart> = {
  swiglu: (part, { hiddenSize, linear }) => swiglu(part, hiddenSize, linear),
  moe: (part, { deviation, hiddenSize, linear }) => moe(part, hiddenSize, linear, deviation)
}

/** A part by the maker of its kind. */
const made = <Kinds, Kind extends keyof Kinds, Made>(
  makers: Makers<Kinds, Made>,
  part: { readonly [kind in Kind]: { readonly kind: kind } & Kinds[kind] }[Kind],
  making: Making
): Made => makers[part.kind](part, making)

/** The first part of a kind among layers; where all of the kind are alike, it says what each is. Throws where there is none. */
const firstOf = <Part extends { readonly kind: string }, Kind extends Part["kind"]>(
  parts: ReadonlyArray<Part>,
  kind: Kind
): Extract<Part, { readonly kind: Kind }> => {
  const found = parts.find(part => part.kind === kind)
  if (found === undefined) throw new Error(`no layer has a part of the kind ${kind}`)
  return found as Extract<Part, { readonly kind: Kind }>
}

export const mixerOf = <Kind extends keyof MixerKinds>(layers: ReadonlyArray<LayerKind>, kind: Kind) =>
  firstOf(
    layers.map(({ mixer }) => mixer),
    kind
  )

export const feedForwardOf = <Kind extends keyof FeedForwardKinds>(layers: ReadonlyArray<LayerKind>, kind: Kind) =>
  firstOf(
    layers.map(({ feedForward }) => feedForward),
    kind
  )

/** A layer of this kind; names of parameters count from it. */
export const makeLayer = ({ feedForward, mixer, norm: kind }: LayerKind, making: Making): Mixer =>
  decoderLayer(made(mixers, mixer, making), made(feedForwards, feedForward, making), kind, making.hiddenSize)

/** Pre-norm: x + mixer(norm x), and the same with the feed-forward network. */
export const decoderLayer = (mixer: Mixer, feedForward: FeedForwardPart, kind: Norm, hiddenSize: number): Mixer => {
  const { make, specs } = together({
    mixer,
    feedForward,
    before: norm(kind, "input_layernorm.weight", hiddenSize),
    between: norm(kind, "post_attention_layernorm.weight", hiddenSize)
  })
  return {
    ...mixer,
    ...(feedForward.idle === undefined ? {} : { idle: feedForward.idle }),
    specs,
    make: parameter => {
      const { before, between, feedForward: feed, mixer: mix } = make(parameter)
      return context => {
        const mixed = mix(context)
        return x => {
          const h = add(x, mixed(before(x))) // [B, L, d]
          return add(h, feed(between(h), context.onRouterLogits)) // [B, L, d]
        }
      }
    }
  }
}
