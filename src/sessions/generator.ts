/**
 * What makes texts behind prompts in some number of steps: all that evaluation, benchmarks, `pipeline generate` and `pipeline serve` know of how a model decodes. A model that decodes in a way of its own
 * is one more way to open a batch.
 */
import { Effect } from "effect"
import { type Drawing, textKeys } from "../decoding/draws.ts"
import { type Ending, endingOf, type TextEnding } from "../decoding/ending.ts"
import { type OpenBatch, writeAll, type WrittenText } from "../decoding/openBatch.ts"
import type { LoadedModel } from "../models/artifact.ts"
import type { RandomKey } from "../tensor/random.ts"

/** The same seed gives a prompt the same text, whatever else is asked for. */
export interface GenerationRequest extends Drawing {
  /** Denoising steps that are allowed. */
  readonly steps: number
  /** In place of the one that the decoding has, where it goes block by block. */
  readonly threshold?: number
  /** Whether what a method makes of the prompts before the first step may be that of an earlier request, where that had the same prompts and seed: it is counted again, but takes no time. */
  readonly reuse?: boolean
  /**
   * Ends texts before their end of text, where they are decoded token by token or block by block: behind the tokens that it says are the whole text stand ends of text. What decodes all new tokens together
   * does not ask it
   */
  readonly ending?: Ending | undefined
  /**
   * Told of a text by its number, prompt and new tokens with the masks that are left, after a step; and how sure the model was of each new token when it was revealed: its probability at temperature 1 and
   * without filters, NaN of masks
   */
  readonly onStep?: (number: number, step: number, text: Int32Array, confidence: Float32Array) => Effect.Effect<void>
}

export interface GeneratedTexts {
  /** Prompts and new tokens. No mask is left. */
  readonly sequences: ReadonlyArray<Int32Array>
  /** Of each text the tokens that were decoded, all new ones, or those until the end of text where decoding ends with it; and the forward passes that they took. */
  readonly tokens: ReadonlyArray<number>
  readonly forwards: ReadonlyArray<number>
  /** Of these passes those that each text took before its first step, for what a method draws then. Left out: none. */
  readonly ahead?: ReadonlyArray<number>
  /** Of all forward passes, each of as many texts as the model takes at once: how many, their time, ms, and floating-point operations by formula. */
  readonly passes: number
  readonly forwardMs: number
  readonly flops: number
}

/** A text to be written. */
export interface WantedText {
  readonly prompt: ArrayLike<number>
  /** Of all that is drawn for it (decoding/draws.ts). */
  readonly key: RandomKey
  readonly steps: number
  readonly threshold?: number | undefined
  /** Ends the text before its end of text, as a request's does. */
  readonly ending?: TextEnding | undefined
}

/** A batch that texts come to and leave: each is begun, and admitted when a row is free. */
export interface OpenWriter<E> {
  readonly batch: OpenBatch<WrittenText, E>
  /** Dies of a TypeError where a threshold does not go with the decoding. */
  readonly begin: (wanted: WantedText) => WrittenText
}

export interface OpenOptions extends Pick<GenerationRequest, "reuse"> {
  /** Whether a text is looked at after every one of its steps. Else several may be made at once. */
  readonly stepwise?: boolean
  /** Whether each step is to tell how sure the model was of what it revealed. Texts are then looked at after every one of their steps. */
  readonly watched?: boolean
}

/** What writes the texts of a list. */
export interface Writer<E> {
  /** Tokens that are made behind every prompt, what comes after an end of text included. */
  readonly newTokens: number
  /** Of an allowed number of steps those that can make a difference: what asks for more gets the same texts. */
  readonly stepsThatCount: (steps: number) => number
  readonly generate: (request: GenerationRequest) => Effect.Effect<GeneratedTexts, E>
}

export interface Generator<E> extends Writer<E> {
  /** One batch at a time: its rows are the model's. */
  readonly open: (options?: OpenOptions) => OpenWriter<E>
  /** Floating-point operations of all passes so far. */
  readonly flops: () => number
}

export interface GeneratorShape {
  /** Prompts that are asked for, for planning; more are taken as well. */
  readonly prompts: number
  /** The longest prompt. */
  readonly promptTokens: number
  readonly newTokens: number
  /** Whether texts come one by one, so that often few are open: what always computes all rows is not used. */
  readonly joined?: boolean
}

/** Logits that are brought to the host at once, at most, in bytes. */
const logitBytes = 2 ** 28
const bytesOfLogit = 4

/** Rows whose logits fit, at least one. */
export const rowsThatFit = (vocabSize: number, { newTokens, prompts }: GeneratorShape): number =>
  Math.max(1, Math.min(prompts, Math.floor(logitBytes / (newTokens * vocabSize * bytesOfLogit))))

/** Texts that are decoded block by block side by side, at most: with more, rows wait for the last text without work; with fewer, a pass of a small model is mostly overhead. */
export const blockRows = 16

/** Of a model what its decoding reads. */
export type DecodedModel = Pick<LoadedModel, "config" | "parameters" | "tokenShift"> & {
  readonly tokenizer: Pick<LoadedModel["tokenizer"], "maskId" | "padId" | "ends">
}

/** Writes the texts of a request in a batch of their own. */
export const generatorOf = <E>(parts: Omit<Generator<E>, "generate">): Generator<E> => ({
  ...parts,
  generate: request =>
    Effect.gen(function* () {
      const { ending, onStep, prompts, reuse = false, steps, threshold } = request
      const { batch, begin } = parts.open({ reuse, watched: onStep !== undefined })
      const before = parts.flops()
      const texts = textKeys(request).map((key, i) =>
        begin({ prompt: prompts[i]!, key, steps, threshold, ending: endingOf(ending, i) })
      )
      const spent = yield* writeAll(batch, texts, {
        onStep: onStep && ((text, number) => onStep(number, text.forwards, text.shown, text.confidence))
      })
      return {
        ...spent,
        sequences: texts.map(({ shown }) => shown),
        tokens: texts.map(({ decoded }) => decoded),
        forwards: texts.map(({ forwards, passesBeside }) => forwards + passesBeside),
        ahead: texts.map(({ passesBeside }) => passesBeside),
        flops: parts.flops() - before
      }
    })
})

/** The tokens before the first end of text. */
export const untilEnd = (tokens: Int32Array, ends: ReadonlySet<number>): Int32Array => {
  const end = tokens.findIndex(token => ends.has(token))
  return end < 0 ? tokens : tokens.subarray(0, end)
}
