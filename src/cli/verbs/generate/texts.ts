/** The two ways in which `pipeline generate` makes texts. */
import { Effect } from "effect"
import { makeCausalWriter, type Speculation } from "../../../sessions/autoregressive.ts"
import type { MaskDecoding } from "../../../decoding/blockSettings.ts"
import { untilEnd } from "../../../sessions/generator.ts"
import type { Decoding } from "../../../methods/Method.ts"
import type { Sampling } from "../../../decoding/sampling.ts"
import type { Engine } from "../../../engines/Engine.ts"
import type { LoadedModel } from "../../../models/artifact.ts"
import type { Steps } from "./steps.ts"
import { append, greatest } from "../../../pipeline/lists.ts"

export interface Task {
  readonly engine: Engine
  readonly method: Decoding
  readonly model: LoadedModel
  readonly prompts: ReadonlyArray<Int32Array>
  readonly newTokens: number
  readonly seed: number
}

export interface Made {
  /** Without what comes after an end of text. */
  readonly text: string
  readonly tokens: ReadonlyArray<number>
  readonly stopped: "end of text" | "length"
}

/** What writes token by token: the texts one after the other where each is shown as it comes, else side by side. */
interface Pieces {
  /** Gets the pieces of a text as they come. */
  readonly print?: (piece: string) => void
  readonly speculation?: Speculation | undefined
}

/** Texts of `rows` prompts are written side by side, at most. */
const rows = 16

/** Token by token, each text with a seed of its own. */
export const autoregressive = Effect.fn("autoregressive")(function* (
  { engine, model, newTokens, prompts, seed }: Task,
  sampling: Sampling,
  { print, speculation }: Pieces
) {
  const { tokenizer } = model
  const longest = greatest(prompts.map(({ length }) => length))
  const shape = { rows: print === undefined ? Math.min(rows, prompts.length) : 1, length: longest + newTokens }
  const { write } = yield* makeCausalWriter(engine, model, shape, speculation)
  /** Of the text that is written, and what of it was printed. */
  let [current, shown] = [0, ""]
  const written: Array<number> = []
  const { passes, texts } = yield* write({
    prompts,
    newTokens,
    sampling,
    seed,
    ...(print === undefined
      ? {}
      : {
          onTokens: (number: number, tokens: ReadonlyArray<number>) =>
            Effect.sync(() => {
              if (number !== current) {
                print("\n")
                written.length = 0
                shown = ""
                current = number
              }
              append(written, tokens)
              // A character may need several tokens; until then it decodes to U+FFFD.
              const whole = tokenizer.decode(written).replace(/\uFFFD+$/, "")
              print(whole.slice(shown.length))
              shown = whole
            })
        })
  })
  print?.("\n")
  const made = texts.map(({ ended, tokens }): Made => ({
    text: tokenizer.decode(tokens),
    tokens: [...tokens],
    stopped: ended ? "end of text" : "length"
  }))
  const ofTexts = texts.reduce((sum, { forwards }) => sum + forwards, 0)
  return { texts: made, forwards: speculation === undefined ? undefined : passes, ofTexts }
})

/** By masked diffusion, all texts at once. */
export const diffusion = Effect.fn("diffusion")(function* (
  { engine, method, model, newTokens, prompts, seed }: Task,
  { steps, ...decoding }: MaskDecoding & { readonly steps: number },
  watchers: ReadonlyArray<Steps>
) {
  const { tokenizer } = model
  const promptTokens = greatest(prompts.map(({ length }) => length))
  const shape = { prompts: prompts.length, promptTokens, newTokens }
  const generator = yield* method.generator(engine, model, shape, decoding)
  const { forwards, sequences } = yield* generator.generate({
    prompts,
    steps,
    seed,
    onStep: (number, step, text) =>
      Effect.sync(() => {
        for (const { show } of watchers) show(step, number, text.subarray(prompts[number]!.length))
      })
  })
  for (const { end } of watchers) end()
  const texts = sequences.map((ids, i): Made => {
    const tokens = untilEnd(ids.subarray(prompts[i]!.length), tokenizer.eosId)
    return {
      text: tokenizer.decode(tokens),
      tokens: [...tokens],
      stopped: tokens.length < newTokens ? "end of text" : "length"
    }
  })
  return { texts, forwards: greatest(forwards), ofTexts: forwards.reduce((sum, own) => sum + own, 0) }
})
