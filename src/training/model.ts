/** A training from data to a model's artifact: what all stages that train share. */
import { createReadStream } from "node:fs"
import { join } from "node:path"
import { Effect, Schema, type Scope } from "effect"
import { type Epochs, makeEpochs } from "../tokens/epochs.ts"
import type { Contradiction } from "../config/consistent.ts"
import { PositiveInt, setting } from "../config/setting.ts"
import type { FileError } from "../formats/fileError.ts"
import type { TokenizerFiles } from "../tokens/tokenizer.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { makeEngine } from "../engines/make.ts"
import { writeModel, type WriteModel } from "../models/artifact.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "../models/config.ts"
import { encodeModelConfig } from "../models/families.ts"
import { countElements, type ParameterBuffers, type ParameterSpec } from "../models/parameters.ts"
import type { Aliases } from "../models/weights.ts"
import type { ArtifactWriter, Progress, Slots } from "../pipeline/StageContext.ts"
import { asStageError, permanent, StageError } from "../pipeline/StageError.ts"
import { logFiles, type Scalars } from "./log.ts"
import { type Observer, train, UpdateSettings } from "./loop.ts"
import { stepsForLabels } from "./labels.ts"
import type { Objective, ObjectiveState } from "./objective.ts"
import { recordFile } from "./record.ts"

/** How a model is trained, whatever the objective. */
export const TrainSettings = Schema.Struct({
  ...UpdateSettings.fields,
  /** Rows of `max_seq_len` tokens per step */
  globalBatchSize: PositiveInt,
  /** Rows per forward pass, a divisor of `global_batch_size`; by default all */
  microBatchSize: Schema.optionalKey(PositiveInt),
  /** Whether every token of a step weighs the same, or every micro-batch */
  averaging: setting(Schema.Literals(["tokens", "micro-batches"]), "tokens"),
  /** How often all documents are read. Either this or `labelled_tokens` */
  epochs: Schema.optionalKey(PositiveInt),
  /**
   * Trains until the loss has predicted about this many tokens, in as many steps as that takes: methods that mask less, or label less of what they mask, are then compared at
   * equal labels
   */
  labelledTokens: Schema.optionalKey(PositiveInt),
  /** Ends training after this many steps */
  maxSteps: Schema.optionalKey(PositiveInt),
  /** Steps between measurements on the held-out sequences */
  evalEvery: setting(PositiveInt, 250),
  /** Seed of the order of documents, of masks, and of all other random draws */
  seed: setting(Schema.Int, 0),
  /** Format of the saved weights; training is in f32, in which adapters are saved */
  saveFormat: setting(Schema.Literals(["BF16", "F16", "F32"]), "BF16")
})
export type TrainSettings = typeof TrainSettings.Type

/** A step is whole micro-batches. */
const wholeMicroBatches = ({ globalBatchSize, microBatchSize }: TrainSettings): Contradiction | undefined =>
  globalBatchSize % (microBatchSize ?? globalBatchSize) === 0
    ? undefined
    : {
        fields: ["global_batch_size", "micro_batch_size"],
        why: `${globalBatchSize} is no multiple of ${microBatchSize}`
      }

/** One thing says how long is trained. */
const oneLength = ({ epochs, labelledTokens }: TrainSettings): Contradiction | undefined =>
  (epochs === undefined) !== (labelledTokens === undefined)
    ? undefined
    : {
        fields: ["num_train_epochs", "labelled_tokens"],
        why: `${epochs === undefined ? "one of them must say" : "both say"} how long is trained`
      }

/** A rate that decays falls: its end is no higher than its beginning. */
const fallingRate = ({ lr, lrDecayStyle, lrMin }: TrainSettings): Contradiction | undefined =>
  lrDecayStyle === "constant" || lr === 0 || lrMin <= lr
    ? undefined
    : { fields: ["lr", "lr_min"], why: `the ${lrDecayStyle} decay would rise from ${lr} to ${lrMin}` }

/** What does not go together in any training. */
export const trainRules = [wholeMicroBatches, oneLength, fallingRate] as const

/** What files call fields of `TrainSettings` that are not called there as here, in snake case. */
export const trainNames = {
  epochs: "num_train_epochs",
  freeze: "freeze_layers",
  gradientCheckpointing: "enable_gradient_checkpointing"
} as const

/** What a stage hands on of its context. */
export interface TrainingContext {
  readonly checkpoint: string
  /** Numeric class. */
  readonly engine: string
  readonly slots: Slots
  readonly progress: (progress: Progress) => Effect.Effect<void>
  readonly metric: (name: string, value: number, step?: number) => Effect.Effect<void>
  readonly outputs: {
    readonly model: ArtifactWriter<{ readonly files: number; readonly tensors: number; readonly parameters: number }>
    readonly log: ArtifactWriter<{ readonly steps: number }>
  }
}

/** What there is to train: parameters, and what `config.json` says they are. */
export interface Trainable {
  readonly parameters: ReadonlyArray<ParameterSpec>
  readonly aliases: Aliases
  readonly architecture: { readonly [field: string]: unknown }
}

/** A language model, all of which may be trained. */
export const languageModel = (config: ModelConfig): Trainable => ({
  parameters: parameterSpecs(config),
  aliases: parameterAliases(config),
  architecture: encodeModelConfig(config)
})

export interface ModelTraining extends Trainable {
  readonly settings: TrainSettings
  /** Lengths of the sequences, in their order. */
  readonly lengths: ReadonlyArray<number>
  /** Tokens of a row. */
  readonly rowLength: number
  /** Fills parameters with what training starts from. */
  readonly initial: (engine: Engine, parameters: ParameterBuffers) => Effect.Effect<void, StageError | EngineError>
  /** Fills what the objective reads and nothing trains. Needed where it has such parameters. */
  readonly constants?: ModelTraining["initial"]
  readonly objective: (batch: {
    readonly epochs: Epochs
    readonly microBatchRows: number
    readonly steps: number
  }) => Objective<never>
  /** How many tokens the loss of each step predicts, in a training of so many steps. */
  readonly labelled: (batch: { readonly epochs: Epochs; readonly steps: number }) => (step: number) => number
  /** Prepares what is measured on held-out data, given all parameters by name. */
  readonly evaluation: (
    engine: Engine,
    parameters: Buffers,
    microBatchRows: number,
    objectiveState: () => ObjectiveState
  ) => Effect.Effect<Effect.Effect<Scalars, EngineError>, EngineError, Scope.Scope>
  /** What else looks at the training from time to time. */
  readonly observers?: (batch: {
    readonly engine: Engine
    readonly epochs: Epochs
    readonly steps: number
  }) => ReadonlyArray<Observer<EngineError | FileError>>
  readonly tokenizer: TokenizerFiles
  /** Writes the model. By default all of its parameters are written. */
  readonly write?: WriteModel
  /** Fields of `config.json` beside those of the architecture. */
  readonly fields: { readonly [field: string]: unknown }
  /** Fields that the objective's state decides, once the training has ended. */
  readonly finalFields?: (state: ObjectiveState) => { readonly [field: string]: unknown }
  /** What the record of the training says of its data. */
  readonly record: { readonly [field: string]: unknown }
}

/** Steps of the whole training, as its settings say it. */
const lengthOf = ({ labelled, settings }: ModelTraining, epochs: Epochs): number => {
  const { epochs: wanted = 1, labelledTokens } = settings
  const steps = epochs.steps(wanted)
  if (labelledTokens === undefined) return steps
  return stepsForLabels(labelledTokens, all => labelled({ epochs, steps: all }), steps)
}

/** Trains, and writes the outputs `model` (with `training.json`, its record) and `log`. */
export const trainModel = (context: TrainingContext, training: ModelTraining): Effect.Effect<void, StageError> =>
  Effect.gen(function* () {
    const { aliases, architecture, initial, parameters, settings } = training
    const { globalBatchSize, maxSteps, seed } = settings
    const microBatchRows = settings.microBatchSize ?? globalBatchSize
    const epochs = makeEpochs(training.lengths, {
      seed,
      capacity: training.rowLength,
      rowsPerStep: globalBatchSize
    })
    const all = yield* Effect.try({
      try: () => lengthOf(training, epochs),
      catch: cause => permanent(cause instanceof Error ? cause.message : String(cause))
    })
    const steps = Math.min(all, maxSteps ?? all)
    const objective = yield* Effect.try({
      try: () => training.objective({ epochs, microBatchRows, steps }),
      catch: cause => permanent(cause instanceof Error ? cause.message : String(cause))
    })
    const { constants: fill = () => Effect.void } = training
    if (training.constants === undefined && objective.constants !== undefined && objective.constants.length > 0) {
      const names = objective.constants.map(({ name }) => name).join(", ")
      return yield* permanent(
        `the objective reads what nothing trains (${names}), and the training does not say what it is filled with ("constants")`
      )
    }
    const engine = yield* makeEngine(context.engine, { threads: context.slots.cpus })
    const directory = join(context.checkpoint, "training")
    const { buffers, evaluated, state } = yield* train<StageError | EngineError | FileError>(engine, {
      parameters,
      aliases,
      initial: ({ constants, frozen, parameters }) =>
        Effect.all([initial(engine, parameters), initial(engine, frozen), fill(engine, constants)], {
          discard: true
        }),
      objective,
      steps,
      update: settings,
      directory,
      progress: context.progress,
      metric: context.metric,
      evaluation: {
        every: settings.evalEvery,
        prepare: (all, objectiveState) =>
          training.evaluation(engine, { ...all.frozen.views, ...all.parameters.views }, microBatchRows, objectiveState)
      },
      observers: training.observers?.({ engine, epochs, steps }) ?? []
    })

    const { log, model } = context.outputs
    const { write = writeModel } = training
    const saved = yield* write(model, {
      engine,
      parameters: { specs: parameters, views: { ...buffers.frozen.views, ...buffers.parameters.views } },
      config: { ...architecture, ...training.fields, ...training.finalFields?.(state.memory ?? {}) },
      tokenizer: training.tokenizer,
      format: settings.saveFormat
    })
    const record = {
      engine: context.engine,
      parameters: countElements(parameters),
      trainedParameters: countElements(buffers.parameters.specs),
      ...training.record,
      settings,
      ...state,
      evaluated
    }
    yield* model.write(recordFile, `${JSON.stringify(record, null, 2)}\n`)
    yield* model.metadata({
      files: saved.length + 1,
      tensors: parameters.length,
      parameters: countElements(parameters)
    })
    for (const [name, value] of Object.entries(evaluated)) yield* context.metric(`eval/${name}`, value)
    for (const file of logFiles(directory)) yield* log.write(file, createReadStream(join(directory, file)))
    yield* log.metadata({ steps: state.step })
  }).pipe(
    Effect.scoped,
    Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
  )
