/** Pre-trains a causal language model from random weights. */
import { createReadStream } from "node:fs"
import { join } from "node:path"
import { Effect, Schema } from "effect"
import { makeEpochs } from "../src/data/epochs.ts"
import { asStageError } from "../src/data/obtain.ts"
import { allSequences } from "../src/data/sequencesOfArtifact.ts"
import { readTokenizer, tokenizerFiles } from "../src/data/tokenizerOfArtifact.ts"
import { makeEngine } from "../src/engines/make.ts"
import { makeCausalEvaluator, perplexity } from "../src/evaluation/causal.ts"
import { writeModel } from "../src/models/artifact.ts"
import {
  countParameters,
  encodeModelConfig,
  ModelConfigFields,
  modelConfigOf,
  parameterAliases,
  parameterSpecs
} from "../src/models/config.ts"
import { initialise } from "../src/models/parameters.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent, StageError } from "../src/pipeline/StageError.ts"
import { eventsFile, metricsFile } from "../src/training/log.ts"
import { train, UpdateSettings } from "../src/training/loop.ts"
import { causalObjective } from "../src/training/objectives/causal.ts"
import { ModelFiles, Tokenizer, TokenSequences, TrainingLog } from "./kinds.ts"

const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Fields of a configuration as `pretrain` takes them. */
export const PretrainSettings = Schema.Struct({
  /** As in `config.json`; `vocab_size` must hold the tokenizer's. */
  model: ModelConfigFields,
  train: Schema.Struct({
    ...UpdateSettings.fields,
    /** Rows of `maxSeqLen` tokens per step. */
    globalBatchSize: PositiveInt,
    /** Rows per forward pass, a divisor of `globalBatchSize`; by default all. */
    microBatchSize: Schema.optionalKey(PositiveInt),
    /** Whether every token of a step weighs the same, or every micro-batch. */
    averaging: orElse(Schema.Literals(["tokens", "micro-batches"]), "tokens"),
    epochs: PositiveInt,
    /** Ends training earlier. */
    maxSteps: Schema.optionalKey(PositiveInt),
    /** Steps between measurements on the held-out sequences. */
    evalEvery: orElse(PositiveInt, 250),
    seed: orElse(Schema.Int, 0),
    /** Format of the saved weights; training is in f32. */
    saveFormat: orElse(Schema.Literals(["BF16", "F16", "F32"]), "BF16")
  })
})

const inStage = (error: { readonly message: string; readonly class?: string }): StageError =>
  error instanceof StageError ? error : asStageError(error)

export const pretrain = Stage.make("pretrain", {
  description: "Pre-trains a causal language model from random weights",
  inputs: { sequences: TokenSequences, heldOut: TokenSequences, tokenizer: Tokenizer },
  parameters: PretrainSettings,
  outputs: { model: ModelFiles, log: TrainingLog },
  engine: true,
  resources: { cpus: 2, memoryMiB: 4096 },
  run: Effect.fn("pretrain")(
    function* ({ checkpoint, engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const settings = parameters.train
      const config = yield* modelConfigOf(parameters.model)
      const tokenizer = yield* readTokenizer(inputs.tokenizer)
      const { maxSeqLen: length } = inputs.sequences.metadata
      const microBatchRows = settings.microBatchSize ?? settings.globalBatchSize
      if (config.vocabSize < tokenizer.vocabSize)
        return yield* permanent(
          `model.vocab_size is ${config.vocabSize}, but the tokenizer has ${tokenizer.vocabSize} tokens`
        )
      if (settings.globalBatchSize % microBatchRows !== 0)
        return yield* permanent(
          `train.globalBatchSize is ${settings.globalBatchSize}, which is no multiple of train.microBatchSize, ${microBatchRows}`
        )
      const ids = (yield* allSequences(inputs.sequences)).map(sequence => sequence.ids)
      const heldOut = (yield* allSequences(inputs.heldOut)).map(sequence => sequence.ids)
      const epochs = makeEpochs(
        ids.map(sequence => sequence.length),
        { seed: settings.seed, capacity: length, rowsPerStep: settings.globalBatchSize }
      )
      const all = yield* Effect.try({
        try: () => epochs.steps(settings.epochs),
        catch: cause => permanent(cause instanceof Error ? cause.message : String(cause))
      })
      const steps = Math.min(all, settings.maxSteps ?? all)

      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { buffers, evaluated, state } = yield* train(engine, {
        parameters: parameterSpecs(config),
        aliases: parameterAliases(config),
        initial: ({ frozen, parameters: fresh }) =>
          Effect.andThen(initialise(engine, fresh, settings.seed), initialise(engine, frozen, settings.seed)),
        objective: causalObjective(config, {
          sequences: ids,
          epochs,
          microBatchRows,
          length,
          pad: tokenizer.padId,
          averaging: settings.averaging
        }),
        steps,
        update: settings,
        directory: join(checkpoint, "training"),
        progress,
        metric,
        evaluation: {
          every: settings.evalEvery,
          prepare: ({ frozen, parameters: trained }) =>
            Effect.map(
              makeCausalEvaluator(
                engine,
                config,
                { ...frozen.views, ...trained.views },
                { rows: microBatchRows, length, pad: tokenizer.padId }
              ),
              ({ measure }) =>
                Effect.map(measure(heldOut), likelihood => ({
                  ar_loss: likelihood.nats / likelihood.tokens,
                  ar_perplexity: perplexity(likelihood)
                }))
            )
        }
      })

      const specs = parameterSpecs(config)
      const { model } = outputs
      const saved = yield* writeModel(model, {
        engine,
        parameters: { specs, views: { ...buffers.frozen.views, ...buffers.parameters.views } },
        config: {
          ...encodeModelConfig(config),
          max_position_embeddings: length,
          eos_token_id: tokenizer.eosId,
          pad_token_id: tokenizer.padId,
          mask_token_id: tokenizer.maskId
        },
        tokenizer: yield* tokenizerFiles(inputs.tokenizer),
        format: settings.saveFormat
      })
      const record = {
        stage: "pretrain",
        engine: numericClass,
        parameters: countParameters(config),
        sequences: { digest: inputs.sequences.digest, ...inputs.sequences.metadata },
        heldOut: { digest: inputs.heldOut.digest, ...inputs.heldOut.metadata },
        tokenizer: { digest: inputs.tokenizer.digest },
        settings: parameters,
        ...state,
        heldOutLoss: evaluated["ar_loss"],
        heldOutPerplexity: evaluated["ar_perplexity"]
      }
      yield* model.write("training.json", `${JSON.stringify(record, null, 2)}\n`)
      yield* model.metadata({
        files: saved.length + 3 + Number(inputs.tokenizer.files.length > 1),
        tensors: specs.length,
        parameters: countParameters(config)
      })
      for (const [name, value] of Object.entries(evaluated)) yield* metric(`eval/${name}`, value)
      for (const file of [metricsFile, eventsFile])
        yield* outputs.log.write(file, createReadStream(join(checkpoint, "training", file)))
      yield* outputs.log.metadata({ steps: state.step })
    },
    Effect.scoped,
    Effect.mapError(inStage)
  )
})
