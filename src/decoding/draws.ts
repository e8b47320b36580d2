/**
 * Where the random numbers of texts come from. Each text has a key, made of the seed, its prompt and which repetition of this prompt it is; all that is drawn for it is drawn by this key and the place
 * of the draw in the text's own decoding. So a text depends on no other, on no place in a batch, and on no size of one.
 */
import { type RandomKey, randomKey, subkey } from "../tensor/random.ts"

/** The key of a text. `prompt`: its tokens. `repetition`: which of the texts behind this prompt it is, from 0 on. */
export const textKey = (seed: number, prompt: ArrayLike<number>, repetition = 0): RandomKey =>
  subkey(randomKey(seed, "text", repetition), "prompt", prompt)

/** Texts that are asked for together. */
export interface Drawing {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  readonly seed: number
  /** Which repetition of its prompt each is. By default the same prompt again is the next one, from 0 on. */
  readonly repetitions?: ReadonlyArray<number>
}

/** The keys of texts that are asked for together. */
export const textKeys = ({ prompts, repetitions, seed }: Drawing): ReadonlyArray<RandomKey> => {
  const asked = new Map<string, number>()
  return prompts.map((prompt, i) => {
    const name = Array.from(prompt).join()
    const before = asked.get(name) ?? 0
    asked.set(name, before + 1)
    return textKey(seed, prompt, repetitions?.[i] ?? before)
  })
}

/** The key of what is drawn in a step of a text: the tokens, one number for each place; or the noise by which places are chosen. */
export const stepKey = (text: RandomKey, what: "tokens" | "order", step: number): RandomKey =>
  subkey(text, what, [step])
