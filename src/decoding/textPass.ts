/** What a model reads of texts that are decoded: all of each, or a part where caches hold the rest. Places count from a text's first token. */
import { Effect } from "effect"
import type { Algorithm, Denoiser, TextAt } from "./diffusion.ts"

/** A pass of the model over a text. */
export interface TextPass {
  /** The text's row in the caches, and how often it was read before. */
  readonly row: number
  readonly text: TextAt
  /** Its tokens, masks where nothing is revealed yet. */
  readonly ids: Int32Array
  /** What is computed: from place `from` on, and before place `to`. */
  readonly from: number
  readonly to: number
  /** What is computed sees nothing from this place on. Before it, what is not computed comes from the caches. */
  readonly until: number
  /** Of what is computed, what the caches hold from now on: the places from `from` on and before `to`, and before `states` what sums up all earlier tokens. */
  readonly keeps?: { readonly from: number; readonly to: number; readonly states: number }
  /** Whose tokens are asked for. */
  readonly places: ReadonlyArray<number>
}

/** The likeliest token of a place, and how sure the model is of it by some algorithm's measure: within the tolerance of what the host would compute from the logits, on the scale of `exactScore`. */
export interface Proposal {
  readonly token: number
  readonly score: number
  readonly tolerance: number
  /** How sure the model is of the token (`confidenceOf`), to the precision of f32, where that is asked for. */
  readonly confidence?: number
}

export interface Proposals<E> {
  /** Of the places of all passes, one after the other. */
  readonly found: ReadonlyArray<Proposal>
  /** Logits [V] of one of these places, until something else is read. */
  readonly logitsOf: (i: number) => Effect.Effect<Float32Array, E>
}

/** A model that predicts tokens of texts. */
export interface TextReader<E> {
  readonly vocabSize: number
  /** Tokens of a text, at most. */
  readonly length: number
  /** Logits [n, V] of the places of all passes, one after the other. */
  readonly read: (passes: ReadonlyArray<TextPass>) => Effect.Effect<Float32Array, E>
  /** Chooses where the model computes, so that logits need not come to the host. Left out where it cannot. `watched`: whether confidences are asked for; default false. */
  readonly propose?: (
    passes: ReadonlyArray<TextPass>,
    alg: Algorithm,
    watched?: boolean
  ) => Effect.Effect<Proposals<E>, E>
}

/** Why a prompt cannot be read and gone on from. */
export const misfit = (
  { length }: Pick<TextReader<never>, "length">,
  prompts: ReadonlyArray<{ readonly ids: ArrayLike<number>; readonly newTokens: number }>
): RangeError | undefined => {
  if (prompts.some(({ ids }) => ids.length === 0)) return new RangeError("a prompt needs at least one token")
  const long = prompts.find(({ ids, newTokens }) => ids.length + newTokens > length)
  return long && new RangeError(`${long.ids.length} + ${long.newTokens} tokens do not fit into ${length}`)
}

/** Reads all of each text, whatever a pass says, at the right end of a row of a canvas. */
export const wholeReader = <E>(denoiser: Denoiser<E>, pad: number): TextReader<E> => {
  const { length } = denoiser
  return {
    vocabSize: denoiser.vocabSize,
    length,
    read: passes =>
      Effect.suspend(() => {
        const canvas = new Int32Array(passes.length * length).fill(pad)
        const starts = passes.map(({ ids }, r) => (r + 1) * length - ids.length)
        for (const [r, { ids }] of passes.entries()) canvas.set(ids, starts[r])
        return denoiser.logits(
          canvas,
          passes.map(({ ids }) => length - ids.length),
          passes.flatMap(({ places }, r) => places.map(place => starts[r]! + place)),
          passes.map(({ text }) => text)
        )
      })
  }
}
