/** Measures what a diffusion model is worth on held-out text: a bound of the likelihood, losses by the share of masks, how far it is from its teacher, and what its latents keep. */
import { Effect, Schema } from "effect"
import { byMethod } from "../src/config/byMethod.ts"
import { setting } from "../src/config/setting.ts"
import type { Engine } from "../src/engines/Engine.ts"
import { makeEngine } from "../src/engines/make.ts"
import { bitsPerByte, makeCausalEvaluator } from "../src/evaluation/causal.ts"
import { boundEstimator, likelihoodBound } from "../src/evaluation/likelihood.ts"
import { drawMasks, nearestHalf } from "../src/evaluation/maskDraws.ts"
import { meanOf } from "../src/evaluation/parts.ts"
import { LikelihoodResult } from "../src/evaluation/results.ts"
import { makeTeacherDistance, withoutAdapter } from "../src/methods/shared/alignment/teacherDistance.ts"
import { filesOf, isWeights, loadModel, type LoadedModel } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import type { ArtifactReader } from "../src/pipeline/StageContext.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { makeMaskedLosses } from "../src/sessions/maskedLosses.ts"
import { Likelihood, ModelFiles, TokenSequences } from "../src/artifacts/kinds.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { documentNats, evaluatedOf, heldOutFields, limit, measuredText } from "./evaluate/heldOut.ts"
import { writeResult } from "./evaluate/writeResult.ts"

/** What is asked of every method. The defaults are for the small models of the embedded profile. */
const common = {
  ...heldOutFields,
  /** Of masks */
  seed: setting(Schema.Int, 0)
} as const

export const likelihoodMethods = parametersOf(
  common,
  () => masks.boundFields,
  () => ({})
)

export const evaluateLikelihood = Stage.make("evaluate-likelihood", {
  inputs: {
    model: ModelFiles,
    heldOut: TokenSequences,
    /** The autoregressive model that it comes from, where that is known: the distance from it is measured. */
    teacher: Artifact.optional(ModelFiles)
  },
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
      const { config, parameters: weights, tokenizer } = model
      const onRows = (note: string) => (done: number, total: number) => progress({ done, total, unit: "rows", note })
      const documents = yield* measuredText(inputs.heldOut, parameters)
      const sequences = documents.flat().map(evaluatedOf)
      const shape = { rows: parameters.rows, length: inputs.heldOut.metadata.maxSeqLen }
      const pad = tokenizer.padId

      const ids = sequences.map(sequence => sequence.ids)
      const kept = own.reconstruction === undefined ? undefined : yield* own.reconstruction(engine, model, ids, shape)
      const causal = yield* makeCausalEvaluator(engine, config, weights, { ...shape, pad })
      const autoregressive = yield* causal.each(sequences, onRows("autoregressive"))

      const bounded = Effect.fn("bounded")(function* (
        maskedReading: NonNullable<typeof own.maskedReading>,
        { bands, distanceSequences, draws, seed }: Extract<typeof parameters, { readonly draws: number }>
      ) {
        const mask = tokenizer.maskId
        const reading = maskedReading(model, { ...shape, seed })
        const losses = yield* makeMaskedLosses(engine, config, weights, { ...shape, ...reading })
        const drawing = { draws, seed, blockSize: reading.halves === true ? config.attentionBlockSize : undefined }
        const { sequences: found, ...bound } = yield* likelihoodBound(
          { ...shape, ...drawing, losses, pad, mask, bands },
          sequences,
          onRows("bound")
        )
        const { nats, tokens } = bound
        if (tokens === 0) return yield* permanent("the held-out sequences have no token that may be masked")
        const parts = documentNats(documents, found, tokenizer)
        const bytes = parts.reduce((sum, document) => sum + document.bytes, 0)
        const teacher = inputs.teacher && (yield* teacherOf(engine, model, inputs.model, inputs.teacher))
        const alone = { rows: 1, length: shape.length }
        const distances =
          teacher === undefined
            ? undefined
            : yield* makeTeacherDistance(engine, model, teacher, {
                ...alone,
                ...maskedReading(model, { ...alone, seed }),
                mask,
                pad
              })
        const most = limit(distanceSequences)
        const places = documents.flatMap(each => each.map((_, i) => i < most))
        const masked = sequences.flatMap((sequence, i) => {
          if (!places[i]) return []
          const drawn = drawMasks(sequence, i, drawing)
          return [{ ids: sequence.ids, places: drawn.places(nearestHalf(drawn)) }]
        })
        return {
          bound: {
            ...bound,
            estimator: boundEstimator(drawing),
            bitsPerByte: bitsPerByte({ nats: nats * tokens, tokens }, bytes)
          },
          documents: parts,
          lossAtRatio: Array.from({ length: bands }, (_, band) => band).flatMap(band => {
            const own = found.map(sequence => sequence.bands[band]!)
            // With few draws of few sequences none may fall into a band.
            if (own.every(({ weight }) => weight === 0)) return []
            const [from, to] = [band / bands, (band + 1) / bands]
            return [{ ratio: Number(((from + to) / 2).toFixed(3)), from, to, ...meanOf(documents, own) }]
          }),
          ...(distances === undefined
            ? {}
            : {
                teacherDistance: meanOf(
                  documents.map(each => each.slice(0, most)),
                  yield* distances(masked)
                )
              })
        }
      })

      const result: LikelihoodResult = {
        weights: inputs.model.digest,
        ...(own.maskedReading === undefined || !("draws" in parameters)
          ? { documents: [], lossAtRatio: [] }
          : yield* bounded(own.maskedReading, parameters)),
        ...(kept === undefined
          ? {}
          : {
              reconstruction: {
                loss: meanOf(
                  documents,
                  kept.sequences.map(({ nats, tokens }) => ({ sum: nats, weight: tokens }))
                ),
                accuracy: meanOf(
                  documents,
                  kept.sequences.map(({ right, tokens }) => ({ sum: right, weight: tokens }))
                ),
                tokens: kept.tokens
              }
            }),
        autoregressiveLoss: meanOf(
          documents,
          autoregressive.map(({ nats, tokens }) => ({ sum: nats, weight: tokens }))
        )
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

/** The teacher in memory: where the model is an adapter over the teacher's own weights, these weights without it. */
const teacherOf = Effect.fnUntraced(function* (
  engine: Engine,
  model: LoadedModel,
  own: ArtifactReader<unknown>,
  given: ArtifactReader<unknown>
) {
  const weights = new Set(own.files.filter(({ path }) => isWeights(path)).map(({ sha256 }) => sha256))
  const shared = given.files.filter(({ path }) => isWeights(path)).every(({ sha256 }) => weights.has(sha256))
  if (model.config.linear?.adapter !== undefined && shared) return withoutAdapter(model)
  const teacher = yield* loadModel(engine, yield* filesOf(given))
  const [theirs, ours] = [teacher.config, model.config]
  if (theirs.hiddenSize !== ours.hiddenSize || theirs.layers.length !== ours.layers.length)
    return yield* permanent(
      `the teacher has ${theirs.layers.length} layers of width ${theirs.hiddenSize}, the model ${ours.layers.length} of ${ours.hiddenSize}: their states cannot be compared`,
      "give the stage the model that it was made of, or no teacher"
    )
  return teacher
})

const metricsOf = ({
  autoregressiveLoss,
  bound,
  lossAtRatio: losses,
  reconstruction,
  teacherDistance
}: LikelihoodResult) => ({
  ...(bound === undefined
    ? {}
    : { nll_bound: bound.nats, perplexity: Math.exp(bound.nats), bits_per_byte: bound.bitsPerByte }),
  ...Object.fromEntries(losses.map(({ ratio, value }) => [`loss_t${ratio}`, value])),
  ...(teacherDistance === undefined ? {} : { teacher_distance: teacherDistance.value }),
  ...(reconstruction === undefined
    ? {}
    : { reconstruction_loss: reconstruction.loss.value, reconstruction_accuracy: reconstruction.accuracy.value }),
  ar_loss: autoregressiveLoss.value,
  ar_perplexity: Math.exp(autoregressiveLoss.value)
})
