/** Lets a diffusion model write in few steps and many, and judges its texts beside the true ones. */
import { Effect, Schema } from "effect"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { allSequences } from "../src/artifacts/sequences.ts"
import type { GeneratedTexts } from "../src/sessions/generator.ts"
import { makeEngine } from "../src/engines/make.ts"
import { makeTokenLosses } from "../src/sessions/tokenLosses.ts"
import { trainNgram } from "../src/evaluation/ngram.ts"
import { type Generation, TextsResult } from "../src/evaluation/results.ts"
import { judgeSequences, promptSequences } from "../src/evaluation/selection.ts"
import { type Judges, textQuality } from "../src/evaluation/texts.ts"
import { greatest } from "../src/pipeline/lists.ts"
import { filesOf, loadModel } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { JudgedTexts, ModelFiles, TokenSequences } from "../src/artifacts/kinds.ts"
import * as latents from "./decoding/byLatents.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { heldOutDocuments, HowMany } from "./evaluate/heldOut.ts"
import { writeResult } from "./evaluate/writeResult.ts"

/** What is asked of every method. The defaults are for the small models of the embedded profile. */
const common = {
  /** How many held-out documents prompts are taken from, at even distances, or `all` */
  documents: setting(HowMany, "all"),
  /** Held-out sequences whose beginnings are the prompts */
  prompts: setting(PositiveInt, 12),
  /** Tokens of a prompt */
  promptTokens: setting(PositiveInt, 16),
  /** Tokens that are made behind a prompt */
  newTokens: setting(PositiveInt, 32),
  /** Denoising steps of these texts. More than there are new tokens give the same as that many, unless `decoding` says otherwise */
  steps: setting(Schema.Array(PositiveInt), [1, 2, 4, 8, 16, 32, 64, 128]),
  /** Order of the n-gram model that judges */
  ngramOrder: setting(PositiveInt, 3),
  /** Of texts */
  seed: setting(Schema.Int, 0)
} as const

const sampled = { temperature: 0.7, topP: 0.95 } as const

export const textsMethods = parametersOf(
  common,
  () => ({ decoding: masks.decoding(sampled) }),
  () => ({ decoding: latents.decoding(sampled) })
)

export const evaluateTexts = Stage.make("evaluate-texts", {
  inputs: {
    model: ModelFiles,
    /** Judges what the model writes; the autoregressive model that it came from. */
    teacher: ModelFiles,
    heldOut: TokenSequences,
    /** Text of the second judge, an n-gram model; it learns from the held-out documents that give no prompt, too. */
    corpus: TokenSequences
  },
  parameters: byMethod("method", "masked", textsMethods),
  outputs: { texts: JudgedTexts },
  methods: decodingMethods,
  engine: true,
  // Rows of a grid are measured side by side.
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("evaluate-texts")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { newTokens, promptTokens, seed } = parameters
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { model, own } = yield* modelOf(parameters.method, engine, yield* filesOf(inputs.model))
      const teacher = yield* loadModel(engine, yield* filesOf(inputs.teacher))
      const { tokenizer } = model
      const heldOut = (yield* heldOutDocuments(inputs.heldOut, parameters.documents)).flat()
      const length = promptTokens + newTokens
      const chosen = promptSequences(heldOut, { prompts: parameters.prompts, length })
      if (chosen.length === 0)
        return yield* permanent(
          `no held-out sequence has ${promptTokens} + ${newTokens} tokens for a prompt and its continuation`,
          "lower promptTokens or newTokens"
        )
      const judged = { rows: chosen.length, length }
      const judges: Judges = {
        ...judged,
        losses: yield* makeTokenLosses(engine, teacher.config, teacher.parameters, { ...judged, causal: true }),
        ngram: trainNgram(judgeSequences(yield* allSequences(inputs.corpus), heldOut, chosen), {
          order: parameters.ngramOrder,
          vocabSize: model.config.vocabSize
        }),
        eos: tokenizer.eosId
      }
      const prompts = chosen.map(({ ids }) => ids.subarray(0, promptTokens))
      const writer = yield* own.generator(
        engine,
        model,
        { prompts: prompts.length, promptTokens, newTokens },
        parameters.decoding
      )
      const made = new Map<number, GeneratedTexts>()
      const generations: Array<Generation> = []
      for (const steps of parameters.steps) {
        yield* progress({ done: generations.length, total: parameters.steps.length, unit: "step counts" })
        const counting = writer.stepsThatCount(steps)
        const texts = made.get(counting) ?? (yield* writer.generate({ prompts, steps: counting, seed }))
        made.set(counting, texts)
        const quality = yield* textQuality(judges, texts.sequences, promptTokens)
        const first = texts.sequences[0]!
        const sample = {
          prompt: tokenizer.decode(first.subarray(0, promptTokens)),
          text: tokenizer.decode(first.subarray(promptTokens))
        }
        generations.push({ steps, forwards: greatest(texts.forwards), newTokens, ...quality, sample })
        yield* metric(`generation/teacher_perplexity/steps_${steps}`, quality.teacherPerplexity)
        yield* metric(`generation/ngram_perplexity/steps_${steps}`, quality.ngramPerplexity)
        yield* metric(`generation/distinct_2/steps_${steps}`, quality.distinct2)
      }
      const truth = chosen.map(({ ids }) => ids.subarray(0, length))
      yield* writeResult(outputs.texts, "texts.json", TextsResult, {
        weights: inputs.model.digest,
        generations,
        reference: yield* textQuality(judges, truth, promptTokens)
      })
      yield* outputs.texts.metadata({ texts: prompts.length })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
