/** What every method of the stage `train` begins with: the base model, the data, and where the base's parameters go. */
import { Effect } from "effect"
import { allSequences } from "../../artifacts/sequences.ts"
import { tokenizerFiles } from "../../artifacts/tokenizer.ts"
import { type DiffusionEvaluation, likelihoodBound } from "../../evaluation/likelihood.ts"
import type { MaskedLosses } from "../../sessions/maskedLosses.ts"
import { evenly } from "../../evaluation/selection.ts"
import { fillMaskRow, maskRow } from "./masks/maskRow.ts"
import type { Engine } from "../../engines/Engine.ts"
import { withAdapterConfig } from "../../models/adapter/adapterFiles.ts"
import { fillMagnitudes } from "../../models/adapter/merge.ts"
import { filesOf, openModel, type OpenModel, writeAdapted } from "../../models/artifact.ts"
import {
  isHybrid,
  type ModelConfig,
  ownFields,
  parameterAliases,
  parameterSpecs,
  tokenRowsKey
} from "../../models/config.ts"
import { endsField } from "../../models/ends.ts"
import { initialise, type ParameterBuffers, type ParameterSpec } from "../../models/parameters.ts"
import { loadWeights } from "../../models/weights.ts"
import { asStageError, permanent, StageError } from "../../pipeline/StageError.ts"
import { withMask } from "../../tokens/maskedTokenizer.ts"
import { languageModel, type ModelTraining } from "../../training/model.ts"
import { recordFile } from "../../training/record.ts"
import { adapterOf, type AdapterSettings } from "./adapterSettings.ts"
import type { CommonSettings } from "./settings.ts"
import type { TrainInputs } from "./context.ts"
import { teacherBuffers } from "./alignment/teacher.ts"

export type Base = Effect.Success<ReturnType<typeof openBase>>

/**
 * Opens the base and reads the sequences; fails where they do not fit each other. `start` is the base's training as it begins, for a method to add to: the base's parameters
 * are read, others are fresh. Without pre-training all are fresh, the mask's row of the embedding among them: beside rows that were drawn, a row like theirs is one more
 * token, and their mean would be next to nothing.
 */
export const openBase = Effect.fn("openBase")(function* (
  inputs: TrainInputs,
  settings: CommonSettings & { readonly adapter?: AdapterSettings }
) {
  const { adapter, attentionBlockSize, hybridBidirectional, pretrained, seed } = settings
  const model = yield* openModel(yield* filesOf(inputs.base))
  const { json, tensors, tokenizer } = model
  const read: ModelConfig = {
    ...model.config,
    ...(attentionBlockSize === undefined ? {} : { attentionBlockSize }),
    ...(hybridBidirectional === undefined ? {} : { hybridBidirectional })
  }
  if (hybridBidirectional !== undefined && !isHybrid(read))
    return yield* permanent(
      `train.hybrid_bidirectional is ${hybridBidirectional}, but no layer of the model is recurrent`,
      "leave the field out: layers that attend see all that the training lets them see"
    )
  const mask = tokenizer.maskId
  const config = adapter === undefined ? read : yield* withAdapterConfig(read, adapterOf(adapter, mask))
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
  const heldOut = evenly(yield* allSequences(inputs.heldOut), settings.evalSequences ?? Infinity).map(
    ({ ids, lossMask }) => ({ ids, maskable: lossMask })
  )
  const specs = parameterSpecs(read)
  const ofBase = new Set(specs.map(({ name }) => name))
  const fromBase: ModelTraining["initial"] = (engine, { flat, specs: all, views }) => {
    const part = (wanted: (spec: ParameterSpec) => boolean): ParameterBuffers => ({
      flat,
      views,
      specs: all.filter(wanted)
    })
    const read = part(({ name }) => ofBase.has(name))
    const fresh = part(({ name }) => !ofBase.has(name))
    return loadWeights(engine, read, tensors, parameterAliases(config), specs).pipe(
      Effect.andThen(fillMaskRow(engine, read, model)),
      Effect.andThen(initialise(engine, fresh, seed)),
      Effect.andThen(fillFreshAdapter(engine, { ...model, config }, fresh)),
      Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
    )
  }
  const sequences = examples.map(({ ids }) => ids)
  const start = {
    ...languageModel(config),
    lengths: sequences.map(ids => ids.length),
    rowLength: length,
    initial: pretrained ? fromBase : (engine, parameters) => initialise(engine, parameters, seed),
    constants: (engine, constants) => fromBase(engine, teacherBuffers(constants)),
    // The mask that is trained is a token of the model from now on.
    tokenizer: withMask(yield* tokenizerFiles(inputs.base), tokenizer),
    ...(config.linear?.adapter === undefined
      ? {}
      : {
          write: writeAdapted(
            inputs.base.files.filter(({ path }) => path !== recordFile),
            config
          )
        }),
    fields: {
      ...json,
      ...ownFields(config),
      mask_token_id: mask,
      // The files of the model that is written have no generation_config.json, which may have gone before config.json.
      ...endsField(tokenizer.ends),
      /** Token i is predicted from the state at i - 1, as in the autoregressive model. */
      token_shift: true
    },
    record: {
      stage: "train",
      base: { digest: inputs.base.digest, taken: ["architecture", "tokenizer", ...(pretrained ? ["weights"] : [])] },
      sequences: { digest: inputs.sequences.digest, ...inputs.sequences.metadata },
      heldOut: { digest: inputs.heldOut.digest, ...inputs.heldOut.metadata }
    }
  } satisfies Partial<ModelTraining>
  return { config, tokenizer, mask, length, examples, sequences, heldOut, start }
}, Effect.mapError(asStageError))

/** Fills what of an adapter follows from the weights: DoRA's magnitudes, and the mask's row. */
const fillFreshAdapter = Effect.fnUntraced(function* (engine: Engine, model: OpenModel, fresh: ParameterBuffers) {
  const isFresh = new Set(fresh.specs.map(({ name }) => name))
  yield* fillMagnitudes(engine, model, fresh)
  if (isFresh.has(tokenRowsKey)) yield* engine.upload(fresh.views[tokenRowsKey]!, yield* maskRow(model))
})

/** What throws for settings that do not fit, as the stage's own failure. `at`: the field where they stand, or the group, or how the fields begin. */
export const attempt = <A>(at: string, run: () => A): Effect.Effect<A, StageError> =>
  Effect.try({
    try: run,
    catch: cause => permanent(`train.${at}: ${cause instanceof Error ? cause.message : String(cause)}`)
  })

/** What a training says of held-out text: the likelihood bound by a model's losses of masked tokens. The same masks in every evaluation. */
export const heldOutBound = (
  { heldOut, length, mask, tokenizer }: Base,
  losses: MaskedLosses,
  drawn: Pick<DiffusionEvaluation, "draws" | "rows" | "blockSize">
) =>
  Effect.map(
    likelihoodBound({ losses, length, pad: tokenizer.padId, mask, seed: 0, ...drawn }, heldOut),
    ({ nats }) => ({ nll_bound: nats, perplexity: Math.exp(nats) })
  )
