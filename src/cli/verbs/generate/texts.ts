/** The two ways in which `pipeline generate` makes texts. */
import { Effect } from "effect"
import { makeCausalWriter, type Speculation } from "../../../sessions/autoregressive.ts"
import type { MaskDecoding } from "../../../decoding/blockSettings.ts"
import type { Ending } from "../../../decoding/ending.ts"
import type { Decoding } from "../../../methods/Method.ts"
import type { Sampling } from "../../../decoding/sampling.ts"
import type { Engine } from "../../../engines/Engine.ts"
import type { LoadedModel } from "../../../models/artifact.ts"
import type { Steps } from "./steps.ts"
import { untilEnd } from "../../../sessions/generator.ts"
import { greatest } from "../../../pipeline/lists.ts"
import { type Stopped, stopWatch, TextStream, untilStop } from "../../../tokens/textStream.ts"

export interface Task {
  readonly engine: Engine
  readonly method: Decoding
  readonly model: LoadedModel
  readonly prompts: ReadonlyArray<Int32Array>
  readonly newTokens: number
  readonly seed: number
  /** A text ends before the first of these. */
  readonly stops: ReadonlyArray<string>
}

export interface Made {
  /** Without an end of text, a stop string, and what comes after them. */
  readonly text: string
  /** Those of a stop string among them. */
  readonly tokens: ReadonlyArray<number>
  readonly stopped: Stopped
}

/** Special tokens are shown. */
const shown = { skipSpecialTokens: false }

/** How many tokens stand before the first end of text. */
const beforeEnd = ({ model: { tokenizer } }: Task, tokens: Int32Array): number =>
  untilEnd(tokens, tokenizer.ends).length

const endingOf = (task: Task): Ending => {
  const watch = stopWatch(task.model.tokenizer, task.stops, shown)
  return (number, settled) => {
    const end = beforeEnd(task, settled)
    return watch(number, settled.subarray(0, end)) ?? (end < settled.length ? end : undefined)
  }
}

/** `all`: what was decoded of a text. `ended`: whether an end of text came behind it. */
const madeOf = (task: Task, all: Int32Array, ended = false): Made => {
  const end = beforeEnd(task, all)
  const { stopped, text, tokens } = untilStop(task.model.tokenizer, all.subarray(0, end), task.stops, shown)
  return {
    text,
    tokens: [...all.subarray(0, tokens)],
    stopped: stopped ? "stop string" : ended || end < all.length ? "end of text" : "length"
  }
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
  task: Task,
  sampling: Sampling,
  { print, speculation }: Pieces
) {
  const { engine, model, newTokens, prompts, seed, stops } = task
  const longest = greatest(prompts.map(({ length }) => length))
  const shape = { rows: print === undefined ? Math.min(rows, prompts.length) : 1, length: longest + newTokens }
  const { write } = yield* makeCausalWriter(engine, model, shape, speculation)
  const newStream = () => new TextStream(model.tokenizer, stops, shown)
  let [current, stream] = [0, newStream()]
  /** Ends the printed texts before text `number`. */
  const printUntil = (number: number): void => {
    for (; current < number; current++) {
      print?.(`${stream.end()}\n`)
      stream = newStream()
    }
  }
  const { passes, texts } = yield* write({
    prompts,
    newTokens,
    sampling,
    seed,
    ending: endingOf(task),
    ...(print === undefined
      ? {}
      : {
          onTokens: (number: number, tokens: ReadonlyArray<number>) =>
            Effect.sync(() => {
              printUntil(number)
              print(stream.push(tokens))
            })
        })
  })
  printUntil(prompts.length)
  const made = texts.map(({ ended, tokens }) => madeOf(task, tokens, ended))
  const ofTexts = texts.reduce((sum, { forwards }) => sum + forwards, 0)
  return { texts: made, ofTexts, ...(speculation === undefined ? {} : { forwards: passes }) }
})

/** By masked diffusion, all texts at once. */
export const diffusion = Effect.fn("diffusion")(function* (
  task: Task,
  { steps, ...decoding }: MaskDecoding & { readonly steps: number },
  watchers: ReadonlyArray<Steps>
) {
  const { engine, method, model, newTokens, prompts, seed } = task
  const promptTokens = greatest(prompts.map(({ length }) => length))
  const shape = { prompts: prompts.length, promptTokens, newTokens }
  const generator = yield* method.generator(engine, model, shape, decoding)
  const {
    ahead = [],
    forwards,
    sequences
  } = yield* generator.generate({
    prompts,
    steps,
    seed,
    ending: endingOf(task),
    ...(watchers.length === 0
      ? {}
      : {
          onStep: (number: number, step: number, text: Int32Array, confidence: Float32Array) =>
            Effect.sync(() => {
              for (const { show } of watchers) show(step, number, text.subarray(prompts[number]!.length), confidence)
            })
        })
  })
  for (const { end } of watchers) end()
  const texts = sequences.map((ids, i) => madeOf(task, ids.subarray(prompts[i]!.length)))
  return {
    texts,
    forwards: greatest(forwards),
    ofTexts: forwards.reduce((sum, own) => sum + own, 0),
    ahead: greatest(ahead, 0),
    steps: generator.stepsThatCount(steps)
  }
})
