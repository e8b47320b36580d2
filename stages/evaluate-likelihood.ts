/** Measures what a diffusion model is worth on held-out text: a bound of the likelihood, losses at fixed shares of masks, and what its latents keep. */
import { Effect, Schema } from "effect"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { makeEngine } from "../src/engines/make.ts"
import { predictedBytes } from "../src/evaluation/bytes.ts"
import { bitsPerByte, makeCausalEvaluator } from "../src/evaluation/causal.ts"
import {
  boundEstimator,
  type DiffusionEvaluation,
  documentBounds,
  likelihoodBound,
  lossAtRatio
} from "../src/evaluation/likelihood.ts"
import { LikelihoodResult } from "../src/evaluation/results.ts"
import { evenly } from "../src/evaluation/selection.ts"
import { filesOf } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { Likelihood, ModelFiles, TokenSequences } from "../src/artifacts/kinds.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { heldOutDocuments, HowMany, limit } from "./evaluate/heldOut.ts"
import { writeResult } from "./evaluate/writeResult.ts"

/** What is asked of every method. The defaults are for the small models of the embedded profile. */
const common = {
  /** How many held-out documents are measured, at even distances, or `all` */
  documents: setting(HowMany, "all"),
  /** How many sequences of each held-out document are measured, from its beginning on, or `all` */
  sequencesPerDocument: setting(HowMany, 1),
  /** Rows of a pass */
  rows: setting(PositiveInt, 8),
  /** Of masks */
  seed: setting(Schema.Int, 0)
} as const

export const likelihoodMethods = parametersOf(
  common,
  () => masks.boundFields,
  () => ({})
)

export const evaluateLikelihood = Stage.make("evaluate-likelihood", {
  inputs: { model: ModelFiles, heldOut: TokenSequences },
  parameters: byMethod("method", "masked", likelihoodMethods),
  outputs: { likelihood: Likelihood },
  methods: decodingMethods,
  engine: true,
  // Rows of a grid are measured side by side.
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("evaluate-likelihood")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { model, own } = yield* modelOf(parameters.method, engine, yield* filesOf(inputs.model))
      const { tokenizer } = model
      const onRows = (note: string) => (done: number, total: number) => progress({ done, total, unit: "rows", note })
      const most = limit(parameters.sequencesPerDocument)
      const documents = (yield* heldOutDocuments(inputs.heldOut, parameters.documents)).map(all => all.slice(0, most))
      const sequences = documents.flat()
      const ids = sequences.map(sequence => sequence.ids)
      const shape = { rows: parameters.rows, length: inputs.heldOut.metadata.maxSeqLen }
      const { seed } = parameters

      const reconstruction =
        own.reconstruction === undefined ? undefined : yield* own.reconstruction(engine, model, ids, shape)
      const causal = yield* makeCausalEvaluator(engine, model.config, model.parameters, {
        ...shape,
        pad: tokenizer.padId
      })
      const autoregressive = yield* causal.measure(ids, onRows("autoregressive"))

      const bounded = Effect.fn("bounded")(function* (
        tokenLosses: NonNullable<typeof own.tokenLosses>,
        { draws, ratioSequences, ratios }: Extract<typeof parameters, { readonly draws: number }>
      ) {
        const evaluation: DiffusionEvaluation = {
          ...shape,
          losses: yield* tokenLosses(engine, model, { ...shape, seed }),
          pad: tokenizer.padId,
          mask: tokenizer.maskId,
          seed
        }
        const evaluated = sequences.map(({ ids: tokens, lossMask }) => ({ ids: tokens, maskable: lossMask }))
        const { sequences: parts, ...bound } = yield* likelihoodBound(evaluation, evaluated, draws, onRows("bound"))
        const { nats, tokens } = bound
        if (tokens === 0) return yield* permanent("the held-out sequences have no token that may be masked")
        const at: { [ratio: string]: number } = {}
        const some = evenly(evaluated, ratioSequences)
        for (const ratio of ratios)
          at[String(ratio)] = yield* lossAtRatio(evaluation, some, ratio, onRows(`t = ${ratio}`))
        const bytes = documents.reduce(
          (sum, each) => sum + predictedBytes(each, tokenizer, (place, supervised) => place > 0 && supervised),
          0
        )
        return {
          bound: {
            ...bound,
            estimator: boundEstimator(draws),
            bitsPerByte: bitsPerByte({ nats: nats * tokens, tokens }, bytes)
          },
          documents: documentBounds(documents, parts),
          lossAtRatio: at
        }
      })

      const result: LikelihoodResult = {
        weights: inputs.model.digest,
        ...(own.tokenLosses === undefined || !("draws" in parameters)
          ? { documents: [], lossAtRatio: {} }
          : yield* bounded(own.tokenLosses, parameters)),
        ...(reconstruction === undefined ? {} : { reconstruction }),
        autoregressiveLoss: autoregressive.nats / autoregressive.tokens
      }
      for (const [name, value] of Object.entries(metricsOf(result))) yield* metric(`eval/${name}`, value)
      yield* writeResult(outputs.likelihood, "likelihood.json", LikelihoodResult, result)
      const { bound } = result
      yield* outputs.likelihood.metadata(
        bound === undefined ? {} : { nllBound: bound.nats, standardError: bound.standardError }
      )
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})

const metricsOf = ({ autoregressiveLoss, bound, lossAtRatio: losses, reconstruction }: LikelihoodResult) => ({
  ...(bound === undefined
    ? {}
    : { nll_bound: bound.nats, perplexity: Math.exp(bound.nats), bits_per_byte: bound.bitsPerByte }),
  ...Object.fromEntries(Object.entries(losses).map(([ratio, loss]) => [`loss_t${ratio}`, loss])),
  ...(reconstruction === undefined
    ? {}
    : { reconstruction_loss: reconstruction.loss, reconstruction_accuracy: reconstruction.accuracy }),
  ar_loss: autoregressiveLoss,
  ar_perplexity: Math.exp(autoregressiveLoss)
})
