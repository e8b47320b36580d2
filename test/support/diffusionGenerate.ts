/** Whole texts behind prompts, all side by side, in a row each of a denoiser. */
import { Effect } from "effect"
import type { Denoiser, DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import { maskStep } from "../../src/decoding/maskStep.ts"
import { OpenBatch, writeAll } from "../../src/decoding/openBatch.ts"
import { wholeReader } from "../../src/decoding/textPass.ts"
import { WholeText } from "../../src/decoding/whole.ts"
import type { RandomKey } from "../../src/tensor/random.ts"

interface Request {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  readonly maxNewTokens: number
  readonly keys: ReadonlyArray<RandomKey>
  readonly mask: number
  readonly pad: number
  readonly settings: DiffusionDecoding
  /** Told of a text, by its number, after each of its steps: all of it, with the masks that are left, and how sure the model was of its new tokens. */
  readonly onStep?:
    | ((number: number, step: number, text: Int32Array, confidence: Float32Array) => Effect.Effect<void>)
    | undefined
}

export const diffusionGenerate = <E>(
  denoiser: Denoiser<E>,
  { keys, mask, maxNewTokens: tokens, onStep, pad, prompts, settings }: Request
) => {
  const texts = prompts.map((prefix, i) => {
    const gap = { prefix, suffix: [], tokens, key: keys[i]! }
    return new WholeText(gap, settings, mask, onStep !== undefined)
  })
  const batch = new OpenBatch<WholeText, E>(prompts.length, maskStep(wholeReader(denoiser, pad)))
  const watching = {
    onStep:
      onStep && (({ confidence, forwards, ids }: WholeText, n: number) => onStep(n, forwards, ids.slice(), confidence))
  }
  return Effect.map(writeAll(batch, texts, watching), ({ passes }) => ({ passes, texts }))
}
