/** Measures a masked-diffusion model: its likelihood bound and losses on held-out text, and what it writes. */
import { Effect, Schema } from "effect"
import { asStageError } from "../src/data/obtain.ts"
import { packedArrays } from "../src/data/packing.ts"
import { allSequences } from "../src/data/sequencesOfArtifact.ts"
import { makeDenoiser } from "../src/decoding/denoiser.ts"
import { DiffusionDecoding, diffusionGenerate } from "../src/decoding/diffusion.ts"
import type { Engine } from "../src/engines/Engine.ts"
import { makeEngine } from "../src/engines/make.ts"
import { makeCausalEvaluator, perplexity } from "../src/evaluation/causal.ts"
import { type DiffusionEvaluation, likelihoodBound, lossAtRatio } from "../src/evaluation/diffusion.ts"
import { diversity } from "../src/evaluation/diversity.ts"
import { makeTokenLosses } from "../src/evaluation/losses.ts"
import { trainNgram } from "../src/evaluation/ngram.ts"
import { filesOf, openModel } from "../src/models/artifact.ts"
import { parameterAliases, parameterSpecs } from "../src/models/config.ts"
import { allocateParameters } from "../src/models/parameters.ts"
import { shiftedData } from "../src/models/shifted.ts"
import { loadWeights } from "../src/models/weights.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { StageError } from "../src/pipeline/StageError.ts"
import { Evaluation, ModelFiles, TokenSequences } from "./kinds.ts"

const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Rows of a pass. */
const rows = 8

export const evaluate = Stage.make("evaluate", {
  description: "Measures a diffusion model on held-out text: likelihood bound, losses, and the texts that it writes",
  inputs: {
    model: ModelFiles,
    /** Judges what the model writes; the autoregressive model that it came from. */
    teacher: ModelFiles,
    heldOut: TokenSequences,
    /** Text of the second judge, an n-gram model. */
    corpus: TokenSequences
  },
  parameters: Schema.Struct({
    /** Draws of masks per sequence for the bound. */
    draws: orElse(PositiveInt, 16),
    ratios: orElse(Schema.Array(Schema.Finite), [0.1, 0.3, 0.5, 0.7, 0.9]),
    /** Held-out sequences whose beginnings are the prompts, their length, and what is made behind each. */
    prompts: orElse(PositiveInt, 8),
    promptTokens: orElse(PositiveInt, 32),
    newTokens: orElse(PositiveInt, 64),
    steps: orElse(Schema.Array(PositiveInt), [8, 16, 32, 64]),
    decoding: orElse(Schema.Struct({ ...DiffusionDecoding.fields, steps: Schema.optionalKey(Schema.Never) }), {
      temperature: 0.7,
      topP: 0.95
    }),
    ngramOrder: orElse(PositiveInt, 3),
    seed: orElse(Schema.Int, 0)
  }),
  outputs: { evaluation: Evaluation },
  engine: true,
  resources: { cpus: 2, memoryMiB: 2048 },
  run: Effect.fn("evaluate")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { draws, newTokens, promptTokens, ratios, seed } = parameters
      const { tokenizer } = yield* openModel(yield* filesOf(inputs.model))
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const model = yield* loaded(engine, inputs.model)
      const teacher = yield* loaded(engine, inputs.teacher)
      const length = inputs.heldOut.metadata.maxSeqLen
      const pad = tokenizer.padId
      const heldOut = yield* allSequences(inputs.heldOut)
      const evaluated = heldOut.map(({ ids, lossMask }) => ({ ids, maskable: lossMask }))

      const losses = yield* makeTokenLosses(engine, model.config, model.views, { rows, length, causal: false })
      const setting: DiffusionEvaluation = { losses, rows, length, pad, mask: tokenizer.maskId, seed }
      const onRows = (note: string) => (done: number, total: number) => progress({ done, total, unit: "rows", note })
      const bound = yield* likelihoodBound(setting, evaluated, draws, onRows("bound"))
      const atRatio: { [ratio: string]: number } = {}
      for (const ratio of ratios)
        atRatio[String(ratio)] = yield* lossAtRatio(setting, evaluated, ratio, onRows(`t = ${ratio}`))
      const shape = { rows, length, pad }
      const own = yield* makeCausalEvaluator(engine, model.config, model.views, shape)
      const autoregressive = yield* own.measure(heldOut.map(({ ids }) => ids))

      const judge = trainNgram(
        [...heldOut, ...(yield* allSequences(inputs.corpus))].map(({ ids }) => ids),
        { order: parameters.ngramOrder, vocabSize: model.config.vocabSize }
      )
      const prompts = heldOut.filter(({ ids }) => ids.length >= promptTokens + newTokens).slice(0, parameters.prompts)
      const denoiser = yield* makeDenoiser(engine, model.config, model.views, {
        rows: prompts.length,
        length: promptTokens + newTokens,
        wanted: prompts.length * newTokens
      })
      const teacherLosses = yield* makeTokenLosses(engine, teacher.config, teacher.views, {
        rows: prompts.length,
        length: promptTokens + newTokens,
        causal: true
      })
      const judged = (texts: ReadonlyArray<Int32Array>) =>
        Effect.gen(function* () {
          const nats = yield* continuationNats(teacherLosses, texts, promptTokens)
          const ngramNats = texts.reduce((sum, ids) => sum - judge.logLikelihood([...ids], promptTokens), 0)
          const tokens = texts.length * newTokens
          return {
            teacherPerplexity: perplexity({ nats, tokens }),
            ngramPerplexity: perplexity({ nats: ngramNats, tokens }),
            ...diversity(texts.map(ids => ids.subarray(promptTokens)))
          }
        })
      const generations: Array<Generation> = []
      for (const steps of parameters.steps) {
        yield* progress({
          done: generations.length,
          total: parameters.steps.length,
          unit: "step counts",
          note: `${steps} steps`
        })
        const { forwards, sequences } = yield* diffusionGenerate(denoiser, {
          prompts: prompts.map(({ ids }) => ids.subarray(0, promptTokens)),
          maxNewTokens: newTokens,
          mask: tokenizer.maskId,
          pad,
          seed,
          settings: { ...parameters.decoding, steps }
        })
        const figures = yield* judged(sequences)
        const text = (ids: Int32Array): string => tokenizer.decode(ids)
        generations.push({
          steps,
          forwards,
          ...figures,
          sample: {
            prompt: text(sequences[0]!.subarray(0, promptTokens)),
            text: text(sequences[0]!.subarray(promptTokens))
          }
        })
        yield* metric(`generation/teacher_perplexity/steps_${steps}`, figures.teacherPerplexity)
        yield* metric(`generation/distinct_2/steps_${steps}`, figures.distinct2)
      }
      const reference = yield* judged(prompts.map(({ ids }) => ids.slice(0, promptTokens + newTokens)))

      yield* metric("eval/nll_bound", bound.nats)
      yield* metric("eval/perplexity", Math.exp(bound.nats))
      yield* metric("eval/ar_loss", autoregressive.nats / autoregressive.tokens)
      for (const [ratio, loss] of Object.entries(atRatio)) yield* metric(`eval/loss_t${ratio}`, loss)
      const result = {
        bound,
        lossAtRatio: atRatio,
        autoregressiveLoss: autoregressive.nats / autoregressive.tokens,
        generations,
        reference
      }
      yield* outputs.evaluation.write("evaluation.json", `${JSON.stringify(result, null, 2)}\n`)
      yield* outputs.evaluation.metadata({ nllBound: bound.nats, standardError: bound.standardError })
    },
    Effect.scoped,
    Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
  )
})

interface Generation extends ReturnType<typeof diversity> {
  readonly steps: number
  readonly forwards: number
  readonly teacherPerplexity: number
  readonly ngramPerplexity: number
  readonly sample: { readonly prompt: string; readonly text: string }
}

/** A model's parameters on the engine. */
const loaded = (engine: Engine, artifact: Parameters<typeof filesOf>[0]) =>
  Effect.gen(function* () {
    const { config, tensors } = yield* openModel(yield* filesOf(artifact))
    const { specs, views } = yield* allocateParameters(engine, parameterSpecs(config))
    yield* loadWeights(engine, { specs, views }, tensors, parameterAliases(config))
    return { config, views }
  })

/** Sum of the losses of the tokens behind the prompts; all texts have one length, that of the rows. */
const continuationNats = (
  losses: Effect.Success<ReturnType<typeof makeTokenLosses>>,
  texts: ReadonlyArray<Int32Array>,
  promptTokens: number
) =>
  Effect.gen(function* () {
    const length = texts[0]!.length
    const shape = { rows: texts.length, length }
    const packed = packedArrays(
      texts,
      texts.map((_, i) => [i]),
      { capacity: length, pad: 0 }
    )
    const values = yield* losses(shiftedData(packed, shape))
    let nats = 0
    for (let r = 0; r < texts.length; r++)
      for (let i = promptTokens; i < length; i++) nats += values[r * (length - 1) + i - 1]!
    return nats
  })
