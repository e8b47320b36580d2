/** A training from data to a model's artifact: what all stages that train share. */
import { createReadStream } from "node:fs"
import { join } from "node:path"
import { Effect, Schema, type Scope } from "effect"
import { type Epochs, makeEpochs } from "../data/epochs.ts"
import type { FileError } from "../data/fileError.ts"
import { asStageError } from "../data/obtain.ts"
import type { TokenizerFiles } from "../data/tokenizer.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { makeEngine } from "../engines/make.ts"
import { writeModel } from "../models/artifact.ts"
import {
  countParameters,
  encodeModelConfig,
  type ModelConfig,
  parameterAliases,
  parameterSpecs
} from "../models/config.ts"
import type { ParameterBuffers } from "../models/parameters.ts"
import type { ArtifactWriter, Progress, Slots } from "../pipeline/StageContext.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import { logFiles, type Scalars } from "./log.ts"
import { type Observer, train, UpdateSettings } from "./loop.ts"
import type { Objective } from "./objective.ts"
import { teacherBuffers } from "./objectives/teacher.ts"

const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** How a model is trained, whatever the objective. */
export const TrainSettings = Schema.Struct({
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
export type TrainSettings = typeof TrainSettings.Type

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

export interface ModelTraining {
  readonly config: ModelConfig
  readonly settings: TrainSettings
  /** Lengths of the sequences, in their order. */
  readonly lengths: ReadonlyArray<number>
  /** Tokens of a row. */
  readonly rowLength: number
  /** Fills parameters with what training starts from. */
  readonly initial: (engine: Engine, parameters: ParameterBuffers) => Effect.Effect<void, StageError | EngineError>
  readonly objective: (batch: {
    readonly epochs: Epochs
    readonly microBatchRows: number
    readonly steps: number
  }) => Objective<never>
  /** Prepares what is measured on held-out data, given all parameters by name. */
  readonly evaluation: (
    engine: Engine,
    parameters: Buffers,
    microBatchRows: number
  ) => Effect.Effect<Effect.Effect<Scalars, EngineError>, EngineError, Scope.Scope>
  /** What else looks at the training from time to time. */
  readonly observers?: (batch: {
    readonly engine: Engine
    readonly epochs: Epochs
    readonly steps: number
  }) => ReadonlyArray<Observer<EngineError | FileError>>
  readonly tokenizer: TokenizerFiles
  /** Fields of `config.json` beside those of the architecture. */
  readonly fields: { readonly [field: string]: unknown }
  /** What the record of the training says of its data. */
  readonly record: { readonly [field: string]: unknown }
}

/** Trains, and writes the outputs `model` (with `training.json`, its record) and `log`. */
export const trainModel = (context: TrainingContext, training: ModelTraining): Effect.Effect<void, StageError> =>
  Effect.gen(function* () {
    const { config, settings } = training
    const { globalBatchSize, maxSteps, seed } = settings
    const microBatchRows = settings.microBatchSize ?? globalBatchSize
    if (globalBatchSize % microBatchRows !== 0)
      return yield* permanent(
        `train.globalBatchSize is ${globalBatchSize}, which is no multiple of train.microBatchSize, ${microBatchRows}`
      )
    const epochs = makeEpochs(training.lengths, {
      seed,
      capacity: training.rowLength,
      rowsPerStep: globalBatchSize
    })
    const all = yield* Effect.try({
      try: () => epochs.steps(settings.epochs),
      catch: cause => permanent(cause instanceof Error ? cause.message : String(cause))
    })
    const steps = Math.min(all, maxSteps ?? all)
    const objective = yield* Effect.try({
      try: () => training.objective({ epochs, microBatchRows, steps }),
      catch: cause => permanent(cause instanceof Error ? cause.message : String(cause))
    })
    const engine = yield* makeEngine(context.engine, { threads: context.slots.cpus })
    const directory = join(context.checkpoint, "training")
    const { buffers, evaluated, state } = yield* train<StageError | EngineError | FileError>(engine, {
      parameters: parameterSpecs(config),
      aliases: parameterAliases(config),
      initial: ({ constants, frozen, parameters }) =>
        Effect.forEach([parameters, frozen, teacherBuffers(constants)], buffers => training.initial(engine, buffers), {
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
        prepare: ({ frozen, parameters }) =>
          training.evaluation(engine, { ...frozen.views, ...parameters.views }, microBatchRows)
      },
      observers: training.observers?.({ engine, epochs, steps }) ?? []
    })

    const specs = parameterSpecs(config)
    const { log, model } = context.outputs
    const saved = yield* writeModel(model, {
      engine,
      parameters: { specs, views: { ...buffers.frozen.views, ...buffers.parameters.views } },
      config: { ...encodeModelConfig(config), ...training.fields },
      tokenizer: training.tokenizer,
      format: settings.saveFormat
    })
    const record = {
      engine: context.engine,
      parameters: countParameters(config),
      ...training.record,
      settings,
      ...state,
      evaluated
    }
    yield* model.write("training.json", `${JSON.stringify(record, null, 2)}\n`)
    yield* model.metadata({
      files: saved.length + 1,
      tensors: specs.length,
      parameters: countParameters(config)
    })
    for (const [name, value] of Object.entries(evaluated)) yield* context.metric(`eval/${name}`, value)
    for (const file of logFiles(directory)) yield* log.write(file, createReadStream(join(directory, file)))
    yield* log.metadata({ steps: state.step })
  }).pipe(
    Effect.scoped,
    Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
  )
