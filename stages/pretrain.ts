/** Pre-trains a causal language model from random weights. */
import { Effect, Schema } from "effect"
import { consistent } from "../src/config/consistent.ts"
import { PositiveInt } from "../src/config/setting.ts"
import { snakeKeys } from "../src/config/snakeKeys.ts"
import { allSequences } from "../src/artifacts/sequences.ts"
import { readTokenizer, tokenizerFiles } from "../src/artifacts/tokenizer.ts"
import { makeCausalEvaluator, perplexity } from "../src/evaluation/causal.ts"
import { decodeModelConfig, ModelConfigFields } from "../src/models/families.ts"
import { initialise } from "../src/models/parameters.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { supervisedIn } from "../src/training/labels.ts"
import { languageModel, trainRules, trainModel, trainNames, TrainSettings } from "../src/training/model.ts"
import { causalObjective } from "../src/methods/causal/objective.ts"
import { ModelFiles, Tokenizer, TokenSequences, TrainingLog } from "../src/artifacts/kinds.ts"

/** Fields of a configuration as `pretrain` takes them. */
export const PretrainSettings = Schema.Struct({
  /** As in `config.json`; `vocab_size` must hold the tokenizer's. */
  model: ModelConfigFields,
  data: Schema.optionalKey(
    snakeKeys(
      Schema.Struct({
        /** How often an epoch reads the problems; text is read once. */
        problemRepeats: PositiveInt
      })
    )
  ),
  train: snakeKeys(TrainSettings, trainNames).check(consistent(...trainRules))
})

export const pretrain = Stage.make("pretrain", {
  inputs: {
    sequences: TokenSequences,
    /** Read among the others; what is in them is supervised as their loss masks say. */
    problems: Artifact.optional(TokenSequences),
    heldOut: TokenSequences,
    tokenizer: Tokenizer
  },
  parameters: PretrainSettings,
  outputs: { model: ModelFiles, log: TrainingLog },
  engine: true,
  resources: { cpus: 2, memoryMiB: 4096 },
  run: Effect.fn("pretrain")(function* (context) {
    const { inputs, parameters } = context
    const settings = parameters.train
    const config = yield* Effect.mapError(decodeModelConfig(parameters.model), asStageError)
    const tokenizer = yield* readTokenizer(inputs.tokenizer)
    const { maxSeqLen: length } = inputs.sequences.metadata
    if (config.vocabSize < tokenizer.vocabSize)
      return yield* permanent(
        `model.vocab_size is ${config.vocabSize}, but the tokenizer has ${tokenizer.vocabSize} tokens`
      )
    const longest = inputs.problems?.metadata.maxSeqLen ?? 0
    if (longest > length)
      return yield* permanent(`problems may have ${longest} tokens, a row of sequences has ${length}`)
    const repeats = parameters.data?.problemRepeats
    if (repeats !== undefined && inputs.problems === undefined)
      return yield* permanent(`data.problem_repeats is ${repeats}, but there are no problems`)
    const problems = inputs.problems === undefined ? [] : yield* allSequences(inputs.problems)
    const learnt = [
      ...(yield* allSequences(inputs.sequences)),
      ...Array.from({ length: repeats ?? 1 }, () => problems).flat()
    ]
    const sequences = learnt.map(({ ids }) => ids)
    const supervised = learnt.map(({ lossMask }) => lossMask)
    const heldOut = (yield* allSequences(inputs.heldOut)).map(({ ids }) => ids)
    yield* trainModel(context, {
      ...languageModel(config),
      settings,
      lengths: sequences.map(ids => ids.length),
      rowLength: length,
      initial: (engine, fresh) => initialise(engine, fresh, settings.seed),
      objective: ({ epochs, microBatchRows }) =>
        causalObjective(config, {
          epochs,
          microBatchRows,
          sequences,
          supervised,
          length,
          pad: tokenizer.padId,
          averaging: settings.averaging
        }),
      labelled:
        ({ epochs }) =>
        step =>
          supervisedIn(epochs.rows(step), supervised, { capacity: length }),
      evaluation: (engine, trained, rows) =>
        Effect.map(
          makeCausalEvaluator(engine, config, trained, { rows, length, pad: tokenizer.padId }),
          ({ measure }) =>
            Effect.map(measure(heldOut), likelihood => ({
              ar_loss: likelihood.nats / likelihood.tokens,
              ar_perplexity: perplexity(likelihood)
            }))
        ),
      tokenizer: yield* tokenizerFiles(inputs.tokenizer),
      fields: {
        max_position_embeddings: length,
        eos_token_id: tokenizer.eosId,
        pad_token_id: tokenizer.padId,
        mask_token_id: tokenizer.maskId
      },
      record: {
        stage: "pretrain",
        sequences: described(inputs.sequences),
        ...(inputs.problems === undefined
          ? {}
          : { problems: { ...described(inputs.problems), ...(repeats === undefined ? {} : { repeats }) } }),
        heldOut: described(inputs.heldOut),
        tokenizer: { digest: inputs.tokenizer.digest },
        model: parameters.model
      }
    })
  })
})

const described = <Metadata>({ digest, metadata }: { readonly digest: string; readonly metadata: Metadata }) => ({
  digest,
  ...metadata
})
