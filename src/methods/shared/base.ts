/** What every method of the stage `train` begins with: the base model, the data, and where the base's parameters go. */
import { Effect } from "effect"
import { allSequences } from "../../artifacts/sequences.ts"
import { tokenizerFiles } from "../../artifacts/tokenizer.ts"
import { likelihoodBound } from "../../evaluation/likelihood.ts"
import type { TokenLosses } from "../../sessions/tokenLosses.ts"
import { evenly } from "../../evaluation/selection.ts"
import { fillMaskRow } from "./masks/maskRow.ts"
import { filesOf, openModel } from "../../models/artifact.ts"
import { type ModelConfig, ownFields, parameterAliases, parameterSpecs } from "../../models/config.ts"
import { initialise, type ParameterBuffers, type ParameterSpec } from "../../models/parameters.ts"
import { loadWeights } from "../../models/weights.ts"
import { asStageError, permanent, StageError } from "../../pipeline/StageError.ts"
import type { ModelTraining } from "../../training/model.ts"
import type { CommonSettings } from "./settings.ts"
import type { TrainContext } from "./context.ts"
import { teacherBuffers } from "./alignment/teacher.ts"

export type Base = Effect.Success<ReturnType<typeof openBase>>

/** Opens the base and reads the sequences; fails where they do not fit each other. */
export const openBase = Effect.fn("openBase")(function* ({ inputs, parameters }: TrainContext) {
  const { attentionBlockSize, freeze, pretrained } = parameters
  if (!pretrained && freeze.length > 0)
    return yield* permanent(
      `train.pretrained is false, but freeze_layers is ${JSON.stringify(freeze)}`,
      "what is frozen would stay as it was drawn; leave freeze_layers out"
    )
  const opened = yield* openModel(yield* filesOf(inputs.base))
  const { tokenizer } = opened
  const config: ModelConfig = { ...opened.config, ...(attentionBlockSize === undefined ? {} : { attentionBlockSize }) }
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
  const heldOut = evenly(yield* allSequences(inputs.heldOut), parameters.evalSequences ?? Infinity).map(
    ({ ids, lossMask }) => ({ ids, maskable: lossMask })
  )
  const record = {
    stage: "train",
    base: { digest: inputs.base.digest, taken: ["architecture", "tokenizer", ...(pretrained ? ["weights"] : [])] },
    sequences: { digest: inputs.sequences.digest, ...inputs.sequences.metadata },
    heldOut: { digest: inputs.heldOut.digest, ...inputs.heldOut.metadata }
  }
  return {
    ...opened,
    config,
    mask,
    length,
    examples,
    sequences: examples.map(({ ids }) => ids),
    heldOut,
    record,
    files: yield* tokenizerFiles(inputs.base)
  }
})

/**
 * How a training starts, and what its files say, whatever the method: the base's parameters are read, others are fresh. Without pre-training all are fresh, the mask's row
 * of the embedding among them: beside rows that were drawn, a row like theirs is one more token, and their mean would be next to nothing.
 */
export const startOf = (
  { config, files, json, mask, record, tensors, tokenizer }: Base,
  { pretrained, seed }: Pick<CommonSettings, "pretrained" | "seed">
): Pick<ModelTraining, "initial" | "constants" | "tokenizer" | "fields" | "record"> => {
  const specs = parameterSpecs(config)
  const ofBase = new Set(specs.map(({ name }) => name))
  const fromBase: ModelTraining["initial"] = (engine, { flat, specs: all, views }) => {
    const part = (wanted: (spec: ParameterSpec) => boolean): ParameterBuffers => ({
      flat,
      views,
      specs: all.filter(wanted)
    })
    return Effect.mapError(
      Effect.gen(function* () {
        const read = part(({ name }) => ofBase.has(name))
        yield* loadWeights(engine, read, tensors, parameterAliases(config), specs)
        yield* fillMaskRow(engine, read, mask, tokenizer.maskAdded)
        yield* initialise(
          engine,
          part(({ name }) => !ofBase.has(name)),
          seed
        )
      }),
      error => (error instanceof StageError ? error : asStageError(error))
    )
  }
  return {
    initial: pretrained ? fromBase : (engine, parameters) => initialise(engine, parameters, seed),
    constants: (engine, constants) => fromBase(engine, teacherBuffers(constants)),
    tokenizer: files,
    fields: {
      ...json,
      ...ownFields(config),
      mask_token_id: mask,
      /** Token i is predicted from the state at i - 1, as in the autoregressive model. */
      token_shift: true
    },
    record
  }
}

/** What throws for settings that do not fit, as the stage's own failure. `at`: the field where they stand, or the group, or how the fields begin. */
export const attempt = <A>(at: string, run: () => A): Effect.Effect<A, StageError> =>
  Effect.try({
    try: run,
    catch: cause => permanent(`train.${at}: ${cause instanceof Error ? cause.message : String(cause)}`)
  })

/** What a training says of held-out text: the likelihood bound by a model's losses of masked tokens. The same masks in every evaluation. */
export const heldOutBound = (
  { heldOut, length, mask, tokenizer }: Base,
  losses: TokenLosses,
  { draws, rows }: { readonly draws: number; readonly rows: number }
) =>
  Effect.map(
    likelihoodBound({ losses, rows, length, pad: tokenizer.padId, mask, seed: 0 }, heldOut, draws),
    ({ nats }) => ({ nll_bound: nats, perplexity: Math.exp(nats) })
  )
