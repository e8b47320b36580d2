/** Measures a diffusion model: its likelihood bound and losses on held-out text, what it writes, and the problems that it solves. */
import { Effect, Schema, Stream } from "effect"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { allSequences, sequencesOfRecords } from "../src/artifacts/sequences.ts"
import type { GeneratedTexts } from "../src/sessions/generator.ts"
import { makeEngine } from "../src/engines/make.ts"
import { makeTokenLosses } from "../src/sessions/tokenLosses.ts"
import { trainNgram } from "../src/evaluation/ngram.ts"
import { exactMatch, longestPrompt } from "../src/evaluation/tasks/exactMatch.ts"
import { EvaluationResult, type Generation } from "../src/evaluation/results.ts"
import { evenly, judgeSequences, promptSequences } from "../src/evaluation/selection.ts"
import { type Judges, textQuality } from "../src/evaluation/texts.ts"
import { filesOf, loadModel } from "../src/models/artifact.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent, StageError } from "../src/pipeline/StageError.ts"
import * as latents from "./decoding/byLatents.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, method, modelOf } from "./decodingMethods.ts"
import { type HeldOutResult, measureHeldOut } from "./evaluate/heldOut.ts"
import { Evaluation, ModelFiles, TokenSequences } from "../src/artifacts/kinds.ts"

/** What is asked of every method. The defaults are for the small models of the embedded profile: about ten seconds on two processors. */
const common = {
  /** How many held-out documents are measured, at even distances, or `all` */
  documents: setting(Schema.Union([Schema.Literal("all"), PositiveInt]), "all"),
  /** How many sequences of each held-out document are measured, from its beginning on, or `all` */
  sequencesPerDocument: setting(Schema.Union([Schema.Literal("all"), PositiveInt]), 1),
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
  /** Problems of the reasoning set that are asked, at even distances */
  problems: setting(PositiveInt, 8),
  /** Tokens of an answer, which is decoded greedily */
  answerTokens: setting(PositiveInt, 96),
  /** Denoising steps of an answer */
  answerSteps: setting(PositiveInt, 8),
  /** Rows of a pass that measures losses */
  rows: setting(PositiveInt, 8),
  /** Of masks and texts */
  seed: setting(Schema.Int, 0)
} as const

/** Of the texts that are judged. */
const decoding = { temperature: 0.7, topP: 0.95 } as const
const byMasks = () => ({ ...masks.boundFields, ...common, decoding: masks.decoding(decoding) })
const byLatents = () => ({ ...common, decoding: latents.decoding(decoding) })

export const evaluateMethods = {
  masked: () => Schema.Struct({ method: method.masked, ...byMasks() }),
  ldlm: () => Schema.Struct({ method: method.ldlm, ...byLatents() }),
  vfm: () => Schema.Struct({ method: method.vfm, ...byMasks() }),
  cola: () => Schema.Struct({ method: method.cola, ...byMasks() })
} as const

export const evaluate = Stage.make("evaluate", {
  inputs: {
    model: ModelFiles,
    /** Judges what the model writes; the autoregressive model that it came from. */
    teacher: ModelFiles,
    heldOut: TokenSequences,
    /** Text of the second judge, an n-gram model; it learns from the held-out documents that give no prompt, too. */
    corpus: TokenSequences,
    /** Problems with answers that a program can check: prompts and responses. */
    reasoning: Artifact.optional(TokenSequences)
  },
  parameters: byMethod("method", "masked", evaluateMethods),
  outputs: { evaluation: Evaluation },
  methods: decodingMethods,
  engine: true,
  // Rows of a grid are measured side by side.
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("evaluate")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { newTokens, promptTokens, seed } = parameters
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { model, own } = yield* modelOf(parameters.method, engine, yield* filesOf(inputs.model))
      const teacher = yield* loadModel(engine, yield* filesOf(inputs.teacher))
      const { tokenizer } = model

      const limit = (most: "all" | number): number => (most === "all" ? Infinity : most)
      const perDocument = evenly(
        Array.from(yield* Stream.runCollect(sequencesOfRecords(inputs.heldOut))),
        limit(parameters.documents)
      )
      const most = limit(parameters.sequencesPerDocument)
      const measured = yield* measureHeldOut(
        engine,
        model,
        own,
        perDocument.map(sequences => sequences.slice(0, most)),
        {
          ...parameters,
          ...("draws" in parameters ? { bound: parameters } : {}),
          length: inputs.heldOut.metadata.maxSeqLen,
          onRows: note => (done, total) => progress({ done, total, unit: "rows", note })
        }
      )
      for (const [name, value] of Object.entries(metricsOf(measured))) yield* metric(`eval/${name}`, value)

      const heldOut = perDocument.flat()
      const chosen = promptSequences(heldOut, { prompts: parameters.prompts, length: promptTokens + newTokens })
      if (chosen.length === 0)
        return yield* permanent(
          `no held-out sequence has ${promptTokens} + ${newTokens} tokens for a prompt and its continuation`,
          "lower promptTokens or newTokens"
        )
      const judged = { rows: chosen.length, length: promptTokens + newTokens }
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
        generations.push({ steps, forwards: texts.forwards, newTokens, ...quality, sample })
        yield* metric(`generation/teacher_perplexity/steps_${steps}`, quality.teacherPerplexity)
        yield* metric(`generation/ngram_perplexity/steps_${steps}`, quality.ngramPerplexity)
        yield* metric(`generation/distinct_2/steps_${steps}`, quality.distinct2)
      }
      const reference = yield* textQuality(
        judges,
        chosen.map(({ ids }) => ids.subarray(0, promptTokens + newTokens)),
        promptTokens
      )

      const problems =
        inputs.reasoning === undefined ? [] : evenly(yield* allSequences(inputs.reasoning), parameters.problems)
      const { answerSteps, answerTokens } = parameters
      const reasoning =
        problems.length === 0
          ? undefined
          : yield* exactMatch(
              yield* own.generator(
                engine,
                model,
                { prompts: problems.length, promptTokens: longestPrompt(problems), newTokens: answerTokens },
                { ...parameters.decoding, temperature: 0 }
              ),
              problems,
              tokenizer,
              { steps: answerSteps, seed }
            )
      if (reasoning !== undefined) yield* metric("eval/exact_match", reasoning.exact / reasoning.problems)

      const result: EvaluationResult = {
        weights: inputs.model.digest,
        ...measured,
        generations,
        reference,
        ...(reasoning === undefined ? {} : { reasoning })
      }
      const encoded = yield* Effect.mapError(Schema.encodeEffect(EvaluationResult)(result), ({ message }) =>
        permanent(`what was measured is not all numbers: ${message}`, "weights that are not finite do that")
      )
      yield* outputs.evaluation.write("evaluation.json", `${JSON.stringify(encoded, null, 2)}\n`)
      const { bound } = measured
      yield* outputs.evaluation.metadata(
        bound === undefined ? {} : { nllBound: bound.nats, standardError: bound.standardError }
      )
    },
    Effect.scoped,
    Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
  )
})

const metricsOf = ({ autoregressiveLoss, bound, lossAtRatio, reconstruction }: HeldOutResult) => ({
  ...(bound === undefined
    ? {}
    : { nll_bound: bound.nats, perplexity: Math.exp(bound.nats), bits_per_byte: bound.bitsPerByte }),
  ...Object.fromEntries(Object.entries(lossAtRatio).map(([ratio, loss]) => [`loss_t${ratio}`, loss])),
  ...(reconstruction === undefined
    ? {}
    : { reconstruction_loss: reconstruction.loss, reconstruction_accuracy: reconstruction.accuracy }),
  ar_loss: autoregressiveLoss,
  ar_perplexity: Math.exp(autoregressiveLoss)
})
