/** Makes the samples that are missing: continuations of prompts, and fillings of gaps. */
import { Effect, type Scope } from "effect"
import { contextOf } from "../../src/evaluation/context.ts"
import type { DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import type { Ending } from "../../src/decoding/ending.ts"
import { fillGaps, type Gap, gapKey, tokensOf } from "../../src/decoding/whole.ts"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import type { Question } from "../../src/evaluation/suiteFiles.ts"
import type { LoadedModel } from "../../src/models/artifact.ts"
import { greatest } from "../../src/pipeline/lists.ts"
import { permanent, type StageError } from "../../src/pipeline/StageError.ts"
import { type Generator, type GeneratorShape, rowsThatFit, untilEnd } from "../../src/sessions/generator.ts"
import { makeDenoiser } from "../../src/sessions/query.ts"
import { stopWatch } from "../../src/tokens/textStream.ts"

/** A sample to be made. */
export interface Wanted {
  readonly question: Question
  /** From 0. */
  readonly sample: number
}

/** A sample that was made. */
export interface Made {
  readonly text: string
  readonly tokens: number
  readonly forwards: number
  readonly ms: number
}

export interface Sampling<R> {
  readonly engine: Engine
  readonly model: LoadedModel
  readonly newTokens: number
  readonly steps: number
  readonly seed: number
  readonly keep: (wanted: Wanted, made: Made) => Effect.Effect<void, StageError, R>
}

/** Samples that are asked for at once, and kept together. */
const promptsAtOnce = 32

/** A text without tokens is continued behind an end of text, as a document begins. */
const promptOf = ({ tokenizer }: LoadedModel, text: string): Int32Array => {
  const ids = tokenizer.encode(text)
  return ids.length > 0 ? ids : Int32Array.of(tokenizer.eosId)
}

/** Special tokens count for nothing in an answer, and for no stop. */
const told = { skipSpecialTokens: true }

/** Ends each answer at the first stop of its question. */
const endingOf = ({ tokenizer }: LoadedModel, asked: ReadonlyArray<Wanted>): Ending | undefined => {
  if (asked.every(({ question }) => question.stops === undefined)) return undefined
  const watches = asked.map(({ question: { stops = [] } }) => stopWatch(tokenizer, stops, told))
  return (number, settled) => watches[number]!(number, settled)
}

/** Continues prompts: sample number i is the prompt's repetition i, whatever else is asked for. */
export const continuePrompts = <R>(
  { keep, model, newTokens, seed, steps }: Sampling<R>,
  wanted: ReadonlyArray<Wanted>,
  makeGenerator: (shape: GeneratorShape) => Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope>
): Effect.Effect<void, StageError | EngineError, R> =>
  Effect.gen(function* () {
    if (wanted.length === 0) return
    const { tokenizer } = model
    const prompts = new Map(wanted.map(({ question }) => [question, promptOf(model, question.prompt)]))
    const context = contextOf(model.json)
    for (const [{ id }, { length }] of prompts)
      if (length + newTokens > context)
        return yield* permanent(
          `${id}: the prompt has ${length} tokens, and ${newTokens} new ones make more than the ${context} that the model was made for`,
          "lower sample.newTokens, or ask fewer or shorter problems"
        )
    yield* Effect.scoped(
      Effect.gen(function* () {
        const generator = yield* makeGenerator({
          prompts: Math.min(promptsAtOnce, wanted.length),
          promptTokens: greatest([...prompts.values()].map(({ length }) => length)),
          newTokens
        })
        for (let first = 0; first < wanted.length; first += promptsAtOnce) {
          const some = wanted.slice(first, first + promptsAtOnce)
          const asked = some.map(({ question }) => prompts.get(question)!)
          const begun = performance.now()
          const made = yield* generator.generate({
            prompts: asked,
            repetitions: some.map(({ sample }) => sample),
            ending: endingOf(model, some),
            steps: generator.stepsThatCount(steps),
            seed
          })
          const ms = performance.now() - begun
          const passes = made.forwards.reduce((sum, each) => sum + each, 0)
          for (const [row, each] of some.entries()) {
            const ids = untilEnd(made.sequences[row]!.subarray(asked[row]!.length), tokenizer.ends)
            yield* keep(each, {
              text: tokenizer.decode(ids, told),
              // With the end of text, where one was decoded.
              tokens: Math.min(made.tokens[row]!, ids.length + 1),
              forwards: made.forwards[row]!,
              ms: (ms * made.forwards[row]!) / passes
            })
          }
        }
      })
    )
  })

/** Rows of a pass over texts with gaps, at most. */
const gapRows = 8

/** Fills gaps, each from its own numbers. A text that is too long for the model loses what is farthest from its gap. */
export const fillAll = <R>(
  { engine, keep, model, newTokens, seed }: Sampling<R>,
  wanted: ReadonlyArray<Wanted>,
  settings: DiffusionDecoding
) =>
  Effect.gen(function* () {
    if (wanted.length === 0) return
    const { config, parameters, tokenShift, tokenizer } = model
    const context = contextOf(model.json)
    const gaps: Array<Gap> = []
    for (const { question, sample } of wanted) {
      const { lengthOf, suffix } = question.gap!
      const tokens = Math.max(1, lengthOf === undefined ? newTokens : tokenizer.encode(lengthOf).length)
      const gap = shortened(promptOf(model, question.prompt), tokenizer.encode(suffix), tokens, context)
      if (gap === undefined)
        return yield* permanent(
          `${question.id}: a gap of ${tokens} tokens does not fit into the ${context} that the model was made for`
        )
      const key = gapKey(seed, { ...gap, mask: tokenizer.maskId }, sample)
      gaps.push({ ...gap, key })
    }
    // Gaps of like length are filled together: a pass is as long as its longest text.
    const order = [...gaps.keys()].sort((a, b) => tokensOf(gaps[b]!) - tokensOf(gaps[a]!))
    const widest = greatest(gaps.map(({ tokens }) => tokens))
    const rows = Math.min(
      gapRows,
      rowsThatFit(config.vocabSize, { prompts: wanted.length, promptTokens: 0, newTokens: widest })
    )
    for (let first = 0; first < order.length; first += rows * promptsAtOnce) {
      const some = order.slice(first, first + rows * promptsAtOnce)
      const [length, newest] = [tokensOf(gaps[some[0]!]!), greatest(some.map(i => gaps[i]!.tokens))]
      yield* Effect.scoped(
        Effect.gen(function* () {
          const denoiser = yield* makeDenoiser(engine, config, parameters, {
            rows,
            length,
            places: rows * newest,
            tokenShift
          })
          for (let at = 0; at < some.length; at += rows) {
            const numbers = some.slice(at, at + rows)
            const begun = performance.now()
            const filled = yield* fillGaps(
              denoiser,
              numbers.map(i => gaps[i]!),
              {
                mask: tokenizer.maskId,
                pad: tokenizer.padId,
                settings
              }
            )
            const ms = performance.now() - begun
            const passes = filled.reduce((sum, { forwards }) => sum + forwards, 0)
            for (const [r, i] of numbers.entries()) {
              const { forwards, tokens } = filled[r]!
              const text = tokenizer.decode(tokens, told)
              yield* keep(wanted[i]!, { text, tokens: tokens.length, forwards, ms: (ms * forwards) / passes })
            }
          }
        })
      )
    }
  })

/** Prefix and suffix that fit beside a gap: the prefix is shortened at its beginning, the suffix at its end, and no more than each must give. Undefined where the gap alone is too long. */
export const shortened = (
  prefix: Int32Array,
  suffix: Int32Array,
  tokens: number,
  context: number
): Omit<Gap, "key"> | undefined => {
  const room = context - tokens
  if (room < 1) return undefined
  if (prefix.length + suffix.length <= room) return { prefix, suffix, tokens }
  const half = Math.ceil(room / 2)
  const before = Math.max(1, Math.min(prefix.length, Math.max(half, room - suffix.length)))
  return { prefix: prefix.subarray(prefix.length - before), suffix: suffix.subarray(0, room - before), tokens }
}
