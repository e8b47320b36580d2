/** Which held-out texts are continued, and what judges the continuations: the same for every model, and for what they are read beside. */
import { Array as Arr, Effect, Schema } from "effect"
import { ModelFiles, TokenSequences } from "../../src/artifacts/kinds.ts"
import { allSequences } from "../../src/artifacts/sequences.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { trainNgram } from "../../src/evaluation/ngram.ts"
import { judgeSequences, promptSequences } from "../../src/evaluation/selection.ts"
import { type Judges, scoreTexts } from "../../src/evaluation/texts.ts"
import { filesOf, loadModel } from "../../src/models/artifact.ts"
import type { Readers } from "../../src/pipeline/StageContext.ts"
import { permanent } from "../../src/pipeline/StageError.ts"
import { makeTokenLosses } from "../../src/sessions/tokenLosses.ts"
import { heldOutDocuments, HowMany } from "./heldOut.ts"

export const judgingInputs = {
  /** Judges what is written; the autoregressive model that the others came from. */
  teacher: ModelFiles,
  heldOut: TokenSequences,
  /** Text of the second judge, an n-gram model; it learns from the held-out documents that give no prompt, too. */
  corpus: TokenSequences
} as const

/** What is continued. The defaults are for the small models of the embedded profile. */
export const judgingFields = {
  /** How many held-out documents prompts are taken from, at even distances, or `all` */
  documents: setting(HowMany, "all"),
  /** Held-out sequences whose beginnings are the prompts */
  prompts: setting(PositiveInt, 64),
  /** Tokens of a prompt */
  promptTokens: setting(PositiveInt, 16),
  /** Tokens that are made behind a prompt */
  newTokens: setting(PositiveInt, 32),
  /** Order of the n-gram model that judges */
  ngramOrder: setting(PositiveInt, 3),
  /** Of texts */
  seed: setting(Schema.Int, 0)
} as const
type JudgingSettings = Schema.Struct<typeof judgingFields>["Type"]

/** How tokens of texts are drawn, by default. */
export const sampled = { temperature: 0.7, topP: 0.95 } as const

/** Loads the teacher and prepares both judges. `score` judges texts that go on behind the prompts, one each. */
export const prepareJudging = Effect.fn("prepareJudging")(function* (
  engine: Engine,
  inputs: Readers<typeof judgingInputs>,
  { documents, newTokens, ngramOrder, prompts: wanted, promptTokens }: JudgingSettings
) {
  const teacher = yield* loadModel(engine, yield* filesOf(inputs.teacher))
  const { tokenizer } = teacher
  const heldOut = (yield* heldOutDocuments(inputs.heldOut, documents)).flat()
  const length = promptTokens + newTokens
  const chosen = promptSequences(heldOut, { prompts: wanted, length })
  if (!Arr.isReadonlyArrayNonEmpty(chosen))
    return yield* permanent(
      `no held-out sequence has ${promptTokens} + ${newTokens} tokens for a prompt and its continuation`,
      "lower promptTokens or newTokens"
    )
  const judged = { rows: chosen.length, length }
  const learnt = judgeSequences(yield* allSequences(inputs.corpus), heldOut, chosen)
  const judges: Judges = {
    ...judged,
    losses: yield* makeTokenLosses(engine, teacher.config, teacher.parameters, { ...judged, causal: true }),
    ngram: trainNgram(learnt, { order: ngramOrder, vocabSize: teacher.config.vocabSize }),
    ends: tokenizer.ends
  }
  return {
    teacher,
    prompts: Arr.map(chosen, ({ ids }) => ids.subarray(0, promptTokens)),
    /** The held-out texts themselves. */
    truth: Arr.map(chosen, ({ ids }) => ids.subarray(0, length)),
    /** What the n-gram model learnt from. */
    learnt,
    score: (texts: ReadonlyArray<Int32Array>) =>
      scoreTexts(judges, texts as Arr.NonEmptyReadonlyArray<Int32Array>, promptTokens),
    /** The first text, as it stands in reports. */
    sampleOf: ([first]: ReadonlyArray<Int32Array>) => ({
      prompt: tokenizer.decode(first!.subarray(0, promptTokens)),
      text: tokenizer.decode(first!.subarray(promptTokens))
    })
  }
})
