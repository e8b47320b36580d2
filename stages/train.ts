/** Trains a masked-diffusion model from an autoregressive one. */
import { Effect, Schema } from "effect"
import { allSequences } from "../src/data/sequencesOfArtifact.ts"
import { tokenizerFiles } from "../src/data/tokenizerOfArtifact.ts"
import { type AnchorStates, readAnchors } from "../src/diffusion/anchors.ts"
import { randomMasking } from "../src/diffusion/corruption.ts"
import { fillMaskRow } from "../src/diffusion/maskRow.ts"
import { likelihoodBound } from "../src/evaluation/diffusion.ts"
import { makeTokenLosses } from "../src/evaluation/losses.ts"
import { filesOf, openModel } from "../src/models/artifact.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "../src/models/config.ts"
import { loadWeights } from "../src/models/weights.ts"
import { asStageError } from "../src/data/obtain.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import type { ChunkReader } from "../src/pipeline/StageContext.ts"
import { permanent, StageError } from "../src/pipeline/StageError.ts"
import { languageModel, trainModel, TrainSettings } from "../src/training/model.ts"
import { alignedLayers, AlignmentSettings } from "../src/training/objectives/alignment.ts"
import { diffusionObjective, DiffusionSettings } from "../src/training/objectives/diffusion.ts"
import { Anchors, ModelFiles, TokenSequences, TrainingLog } from "./kinds.ts"

/** Fields of a configuration as `train` takes them. */
export const DiffusionTrainSettings = Schema.Struct({
  train: Schema.Struct({
    ...TrainSettings.fields,
    ...DiffusionSettings.fields,
    ...AlignmentSettings.fields,
    /** Draws of masks per held-out sequence for the bound that is measured during training. */
    evalDraws: Schema.Int.check(Schema.isGreaterThan(0)).pipe(Schema.withDecodingDefaultKey(Effect.succeed(8)))
  })
})

export const train = Stage.make("train", {
  description: "Trains a masked-diffusion model from an autoregressive one",
  inputs: {
    base: ModelFiles,
    sequences: TokenSequences,
    heldOut: TokenSequences,
    /** Needed where `reprAlignWt` is not 0. */
    anchors: Artifact.optional(Anchors)
  },
  parameters: DiffusionTrainSettings,
  outputs: { model: ModelFiles, log: TrainingLog },
  engine: true,
  resources: { cpus: 2, memoryMiB: 4096 },
  run: Effect.fn("train")(function* (context) {
    const { inputs, parameters } = context
    const settings = parameters.train
    const { config, json, tensors, tokenizer } = yield* openModel(yield* filesOf(inputs.base))
    const mask = tokenizer.maskId
    if (config.vocabSize <= mask)
      return yield* permanent(
        `the mask token has id ${mask}, but the model's embedding has ${config.vocabSize} rows`,
        "a model of this tokenizer with room for the mask is needed"
      )
    const { maxSeqLen: length, vocabSize } = inputs.sequences.metadata
    if (vocabSize !== tokenizer.vocabSize)
      return yield* permanent(
        `the sequences were made with a tokenizer of ${vocabSize} tokens, the model's has ${tokenizer.vocabSize}`
      )
    const examples = yield* allSequences(inputs.sequences)
    const heldOut = (yield* allSequences(inputs.heldOut)).map(({ ids, lossMask }) => ({ ids, maskable: lossMask }))
    const aligned = yield* states(inputs.anchors, { config, ids: examples.map(({ ids }) => ids), settings })
    yield* trainModel(context, {
      ...languageModel(config),
      settings,
      lengths: examples.map(({ ids }) => ids.length),
      rowLength: length,
      initial: (engine, buffers) =>
        Effect.mapError(
          Effect.gen(function* () {
            yield* loadWeights(engine, buffers, tensors, parameterAliases(config), parameterSpecs(config))
            yield* fillMaskRow(engine, buffers, mask, tokenizer.maskAdded)
          }),
          error => (error instanceof StageError ? error : asStageError(error))
        ),
      objective: ({ steps, ...batch }) =>
        diffusionObjective(
          config,
          settings,
          {
            ...batch,
            sequences: examples.map(({ ids }) => ids),
            length,
            pad: tokenizer.padId,
            mask,
            masking: randomMasking(examples, settings, settings.seed),
            averaging: settings.averaging
          },
          aligned === undefined ? undefined : { settings, steps, seed: settings.seed, states: aligned }
        ),
      evaluation: (engine, trained, rows) =>
        Effect.map(makeTokenLosses(engine, config, trained, { rows, length, causal: false }), losses =>
          Effect.map(
            likelihoodBound({ losses, rows, length, pad: tokenizer.padId, mask, seed: 0 }, heldOut, settings.evalDraws),
            ({ nats }) => ({ nll_bound: nats, perplexity: Math.exp(nats) })
          )
        ),
      tokenizer: yield* tokenizerFiles(inputs.base),
      fields: {
        ...json,
        mask_token_id: mask,
        /** Token i is predicted from the state at i - 1, as in the autoregressive model. */
        token_shift: true
      },
      record: {
        stage: "train",
        base: { digest: inputs.base.digest },
        sequences: { digest: inputs.sequences.digest, ...inputs.sequences.metadata },
        heldOut: { digest: inputs.heldOut.digest, ...inputs.heldOut.metadata }
      }
    })
  })
})

/** The teacher's states, where the student is aligned with it. */
const states = (
  anchors: ChunkReader<typeof Anchors.metadata.Type> | undefined,
  training: {
    readonly config: ModelConfig
    readonly ids: ReadonlyArray<Int32Array>
    readonly settings: AlignmentSettings
  }
): Effect.Effect<AnchorStates | undefined, StageError> =>
  Effect.gen(function* () {
    const { config, ids, settings } = training
    if (settings.reprAlignWt === 0) return undefined
    if (anchors === undefined)
      return yield* permanent(
        `train.reprAlignWt is ${settings.reprAlignWt}, but the stage has no anchors`,
        "give it those of the stage anchor, or set reprAlignWt to 0"
      )
    const layers = yield* Effect.try({
      try: () => alignedLayers(settings, config),
      catch: cause => permanent(cause instanceof Error ? cause.message : String(cause))
    })
    return yield* readAnchors(anchors, ids, layers, config.hiddenSize)
  })
