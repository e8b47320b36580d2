/** Makes the samples that are missing: continuations of prompts, and fillings of gaps. */
import { Effect, type Scope } from "effect"
import { contextOf } from "../../src/evaluation/context.ts"
import type { DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import { fillGaps, type Gap, tokensOf } from "../../src/decoding/infill.ts"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import type { Question } from "../../src/evaluation/suiteFiles.ts"
import type { LoadedModel } from "../../src/models/artifact.ts"
import { greatest } from "../../src/pipeline/lists.ts"
import { permanent, type StageError } from "../../src/pipeline/StageError.ts"
import { type Generator, type GeneratorShape, rowsThatFit, untilEnd } from "../../src/sessions/generator.ts"
import { makeDenoiser } from "../../src/sessions/query.ts"
import { randomKey } from "../../src/tensor/random.ts"

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
  /** Samples of a problem that are drawn together. */
  readonly batch: number
  /** Whether chance has no part in it: all samples of a problem are then the same, and any may be decoded together. */
  readonly certain: boolean
  /** Whether a text depends on how long its canvas is, as where noise is laid on all of it: prompts of another length then have another canvas. */
  readonly ownCanvas: boolean
  readonly keep: (wanted: Wanted, made: Made) => Effect.Effect<void, StageError, R>
}

/** The seed of some samples of a problem, whatever else is asked. */
const seedOf = (seed: number, { id }: Question, number: number): number =>
  randomKey(seed, `samples of ${id}`, number)[0]

/** What is asked at once. */
interface Group {
  readonly rows: ReadonlyArray<Wanted>
  /** Those of the rows that are kept. */
  readonly members: ReadonlyArray<Wanted>
  readonly seed: number
}

/** Prompts whose samples are kept together. */
const promptsAtOnce = 32

/** A text without tokens is continued behind an end of text, as a document begins. */
const promptOf = ({ tokenizer }: LoadedModel, text: string): Int32Array => {
  const ids = tokenizer.encode(text)
  return ids.length > 0 ? ids : Int32Array.of(tokenizer.eosId)
}

/** Continues prompts. Samples that chance decides are drawn in batches of a problem's, each from its own numbers: a batch that lacks some is drawn whole, and what is known of it is left as it is. */
export const continuePrompts = <R>(
  { batch, certain, keep, model, newTokens, ownCanvas, seed, steps }: Sampling<R>,
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
    const groups: Array<Group> = []
    if (certain)
      for (let first = 0; first < wanted.length; first += promptsAtOnce) {
        const members = wanted.slice(first, first + promptsAtOnce)
        groups.push({ members, rows: members, seed })
      }
    else
      for (const [question, own] of Map.groupBy(wanted, each => each.question))
        for (const [number, members] of Map.groupBy(own, ({ sample }) => Math.floor(sample / batch))) {
          const first = number * batch
          const last = greatest(members.map(({ sample }) => sample))
          const rows = Array.from(
            { length: last - first + 1 },
            (_, i) => members.find(({ sample }) => sample === first + i) ?? { question, sample: first + i }
          )
          groups.push({ members, rows, seed: seedOf(seed, question, number) })
        }
    const lengthOf = ({ rows }: Group): number => prompts.get(rows[0]!.question)!.length
    const longest = greatest([...prompts.values()].map(({ length }) => length))
    const answer = (some: ReadonlyArray<Group>, promptTokens: number) =>
      Effect.scoped(
        Effect.gen(function* () {
          const generator = yield* makeGenerator({
            prompts: greatest(some.map(({ rows }) => rows.length)),
            promptTokens,
            newTokens
          })
          for (const { members, rows, seed: own } of some) {
            const asked = rows.map(({ question }) => prompts.get(question)!)
            const begun = performance.now()
            const made = yield* generator.generate({
              prompts: asked,
              steps: generator.stepsThatCount(steps),
              seed: own
            })
            const ms = performance.now() - begun
            const passes = made.forwards.reduce((sum, each) => sum + each, 0)
            const wantedRows = new Set(members)
            for (const [row, each] of rows.entries()) {
              if (!wantedRows.has(each)) continue
              const ids = untilEnd(made.sequences[row]!.subarray(asked[row]!.length), tokenizer.ends)
              yield* keep(each, {
                text: tokenizer.decode(ids, { skipSpecialTokens: true }),
                tokens: Math.min(newTokens, ids.length + 1),
                forwards: made.forwards[row]!,
                ms: (ms * made.forwards[row]!) / passes
              })
            }
          }
        })
      )
    if (ownCanvas) for (const [length, some] of Map.groupBy(groups, lengthOf)) yield* answer(some, length)
    else yield* answer(groups, longest)
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
      gaps.push({ ...gap, seed: seedOf(seed, question, sample) })
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
              const text = tokenizer.decode(tokens, { skipSpecialTokens: true })
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
): Omit<Gap, "seed"> | undefined => {
  const room = context - tokens
  if (room < 1) return undefined
  if (prefix.length + suffix.length <= room) return { prefix, suffix, tokens }
  const half = Math.ceil(room / 2)
  const before = Math.max(1, Math.min(prefix.length, Math.max(half, room - suffix.length)))
  return { prefix: prefix.subarray(prefix.length - before), suffix: suffix.subarray(0, room - before), tokens }
}
