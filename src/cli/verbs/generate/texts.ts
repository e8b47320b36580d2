/** The two ways in which `pipeline generate` makes texts. */
import { Effect, Stream } from "effect"
import { continuationOf, makeDecoder } from "../../../sessions/autoregressive.ts"
import type { MaskDecoding } from "../../../decoding/blocks.ts"
import { untilEnd } from "../../../sessions/generator.ts"
import type { Decoding } from "../../../methods/Method.ts"
import type { Sampling } from "../../../decoding/sampling.ts"
import type { Engine } from "../../../engines/Engine.ts"
import type { LoadedModel } from "../../../models/artifact.ts"
import type { Steps } from "./steps.ts"
import { greatest } from "../../../pipeline/lists.ts"

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

/** Token by token, one text after the other, each with a seed of its own; `print` gets the pieces of a text as they come. */
export const autoregressive = Effect.fn("autoregressive")(function* (
  { engine, model, newTokens, prompts, seed }: Task,
  sampling: Sampling,
  print: (piece: string) => void
) {
  const { config, parameters, tokenizer } = model
  const longest = greatest(prompts.map(({ length }) => length))
  const decoder = yield* makeDecoder(engine, config, parameters, longest + newTokens)
  const texts: Array<Made> = []
  for (const [number, prompt] of prompts.entries()) {
    const tokens: Array<number> = []
    let text = ""
    yield* Stream.runForEach(
      continuationOf(decoder, tokenizer, { prompt, number, maxNewTokens: newTokens, sampling, seed }),
      id =>
        Effect.sync(() => {
          tokens.push(id)
          // A character may need several tokens; until then it decodes to U+FFFD.
          const whole = tokenizer.decode(tokens).replace(/\uFFFD+$/, "")
          print(whole.slice(text.length))
          text = whole
        })
    )
    print("\n")
    texts.push({ text, tokens, stopped: tokens.length < newTokens ? "end of text" : "length" })
  }
  return { texts, forwards: undefined, ofTexts: 0 }
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
