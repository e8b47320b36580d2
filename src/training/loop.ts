/** The loop of every training: schedule, steps, evaluation, metrics, checkpoints. */
import { Effect, Schema, Scope } from "effect"
import { TextList } from "../config/commaList.ts"
import { NonNegative, setting } from "../config/setting.ts"
import type { Engine } from "../engines/Engine.ts"
import { matmulPeak } from "../engines/matmulPeak.ts"
import type { ParameterSpec } from "../models/parameters.ts"
import type { Progress } from "../pipeline/StageContext.ts"
import { count } from "../pipeline/units.ts"
import { AdamW } from "./adamw.ts"
import { makeCheckpoints, type RestoreError, type TrainingState } from "./checkpoints.ts"
import { type FreezeError, groupParameters, splitParameters } from "./groups.ts"
import { openLog, type Scalars } from "./log.ts"
import { initialLossScale, nextLossScale, tooLarge } from "./lossScale.ts"
import { amounts, memoryMeasures, updateMeasures, workMeasures } from "./measures.ts"
import type { Objective, ObjectiveState } from "./objective.ts"
import { LearningRate, learningRate } from "./schedule.ts"
import { allocateTraining, makeTrainer, type TrainingBuffers } from "./trainer.ts"

/** How parameters are updated; part of every stage that trains. */
export const UpdateSettings = Schema.Struct({
  ...LearningRate.fields,
  ...AdamW.fields,
  /** Gradients whose global L2 norm is larger are scaled down to it; 0 turns it off */
  maxGradNorm: setting(NonNegative, 1),
  /** Spares norms and biases from weight decay */
  noDecayNorms: setting(Schema.Boolean, false),
  /** Learning rates fall by this factor from the last layer to the first; 0 turns it off */
  llrdDecay: setting(NonNegative, 0),
  /** Parameters whose names contain one of these are not trained; `*` stands for any characters */
  freeze: setting(TextList, []),
  /** Computes each layer again in the backward pass: less memory, about a third more time */
  gradientCheckpointing: setting(Schema.Boolean, false)
})
export type UpdateSettings = typeof UpdateSettings.Type

/** The loss was not finite too often to go on. */
export class DivergedError extends Schema.TaggedError<DivergedError>()("DivergedError", {
  class: Schema.tag("permanent"),
  message: Schema.String
}) {}

/** Steps in a row without a finite loss after which a training gives up. */
const maxSkippedInARow = 3
/** By default; and never more than a twentieth of the time goes into checkpoints. */
const defaultCheckpointSeconds = 30
const checkpointShare = 0.05

/** Looks at a training from time to time, and changes nothing of it. */
export interface Observer<E> {
  /** Steps between two looks. */
  readonly every: number
  /** Called before the first look. What is returned is called with the number of steps done; it tells what to log. */
  readonly prepare: (
    buffers: TrainingBuffers,
    directory: string
  ) => Effect.Effect<(step: number) => Effect.Effect<Scalars, E>, E, Scope.Scope>
}

export interface Training<E> {
  readonly parameters: ReadonlyArray<ParameterSpec>
  /** Other names of parameters, for patterns that freeze. */
  readonly aliases?: { readonly [alias: string]: string }
  /** Fills parameters, frozen and constants with what training starts from; a checkpoint then overwrites the parameters. */
  readonly initial: (buffers: TrainingBuffers) => Effect.Effect<void, E>
  readonly objective: Objective<E>
  readonly steps: number
  readonly update: UpdateSettings
  /** Survives the death of the process; holds checkpoints and the log. */
  readonly directory: string
  /** Least time between two checkpoints. What is trained does not depend on it. */
  readonly checkpointSeconds?: number
  readonly progress: (progress: Progress) => Effect.Effect<void>
  readonly metric: (name: string, value: number, step: number) => Effect.Effect<void>
  /** Measured every so many steps and after the last one. */
  readonly evaluation?: {
    readonly every: number
    readonly prepare: (
      buffers: TrainingBuffers,
      /** The objective's state as it is when it is asked for. */
      objectiveState: () => ObjectiveState
    ) => Effect.Effect<Effect.Effect<Scalars, E>, E, Scope.Scope>
  }
  readonly observers?: ReadonlyArray<Observer<E>>
}

export interface Trained {
  readonly buffers: TrainingBuffers
  readonly state: TrainingState
  /** Of the last evaluation. */
  readonly evaluated: Scalars
}

/** Trains to the end, from the newest checkpoint if there is one. The buffers live as long as the scope. */
export const train = <E>(
  engine: Engine,
  training: Training<E>
): Effect.Effect<Trained, E | RestoreError | DivergedError | FreezeError, Scope.Scope> =>
  Effect.gen(function* () {
    const { checkpointSeconds = defaultCheckpointSeconds, directory, objective, steps, update } = training
    const split = yield* Effect.try({
      try: () => splitParameters(training.parameters, update.freeze, training.aliases),
      catch: cause => cause as FreezeError
    })
    const { groups, specs } = groupParameters(split.trainable, {
      layerwiseDecay: update.llrdDecay,
      noDecayNorms: update.noDecayNorms
    })
    const buffers = yield* allocateTraining(engine, specs, split.frozen, objective.constants)
    const adapts = training.parameters.some(({ trained }) => trained === true)
    const rateFactors = groups.map(({ rateFactor }) => rateFactor)
    const trainer = yield* makeTrainer(engine, objective, buffers, {
      optimiser: update,
      groups,
      maxGradNorm: update.maxGradNorm,
      checkpointLayers: update.gradientCheckpointing
    })
    const scope = yield* Effect.scope
    const observers = yield* Effect.forEach(training.observers ?? [], ({ every, prepare }) =>
      Effect.map(Effect.cached(Effect.provideService(prepare(buffers, directory), Scope.Scope, scope)), look => ({
        every,
        look
      }))
    )
    const { objectiveState: stateful } = objective
    const firstScale = initialLossScale(engine.numericClass)
    let state: TrainingState = {
      step: 0,
      updates: 0,
      skippedInARow: 0,
      skipped: 0,
      tokens: 0,
      labelled: 0,
      flops: 0,
      ...(stateful === undefined ? {} : { memory: stateful.initial }),
      ...(firstScale === undefined ? {} : { lossScale: firstScale })
    }
    const evaluate = yield* (
      training.evaluation?.prepare(buffers, () => state.memory ?? {}) ?? Effect.succeed(Effect.succeed({}))
    )
    const checkpoints = makeCheckpoints(engine, directory, buffers)

    // What is frozen or constant is not part of a checkpoint.
    yield* training.initial(buffers)
    state = (yield* checkpoints.restore) ?? state
    let saved = state.step
    const log = yield* openLog(directory, state.step, training.metric)
    let evaluated: Scalars = {}
    const pace = makePace(state.tokens)
    /** Measured before the first step that tells its operations, while nothing else computes. */
    let peak = 0

    const step = Effect.gen(function* () {
      const { memory } = state
      const microBatches = yield* objective.microBatches(state.step, memory)
      const amount = amounts(microBatches, trainer.flops)
      if (peak === 0 && amount.flops > 0) peak = (yield* matmulPeak(engine)).perSecond
      const lr = learningRate(update, state.step, steps)
      const { lossScale } = state
      const outcome = yield* trainer.step(microBatches, {
        lr,
        update: state.updates + 1,
        ...(lossScale === undefined ? {} : { lossScale: lossScale.scale })
      })
      const { losses, observations, updated } = outcome
      const excused = lossScale !== undefined && tooLarge(lossScale)
      const remembered =
        memory === undefined || stateful === undefined
          ? {}
          : { memory: updated ? stateful.next(memory, state.step, observations) : memory }
      state = {
        ...remembered,
        step: state.step + 1,
        updates: state.updates + Number(updated),
        skippedInARow: updated || excused ? 0 : state.skippedInARow + 1,
        skipped: state.skipped + Number(!updated),
        tokens: state.tokens + amount.tokens,
        labelled: state.labelled + amount.labelled,
        flops: state.flops + amount.computed,
        ...(lossScale === undefined ? {} : { lossScale: nextLossScale(lossScale, updated) })
      }
      const speed = pace.after(state.tokens, amount.flops)
      const { loss, ...parts } = losses
      const due =
        training.evaluation !== undefined && (state.step % training.evaluation.every === 0 || state.step === steps)
      if (due) evaluated = yield* evaluate
      const measured: Scalars = {
        "training/loss": loss!,
        ...(objective.report?.(losses, microBatches) ?? prefixed("losses/", parts)),
        ...updateMeasures(outcome, lr, rateFactors, adapts),
        ...(updated ? {} : { "training/skipped": state.skipped }),
        ...(lossScale === undefined ? {} : { "training/loss_scale": lossScale.scale }),
        ...workMeasures(amount, state, speed, peak),
        ...memoryMeasures(),
        ...(due ? prefixed("eval/", evaluated) : {})
      }
      const looking = observers.filter(({ every }) => state.step % every === 0)
      const seen = yield* Effect.forEach(looking, ({ look }) => Effect.flatMap(look, use => use(state.step)))
      yield* log.write(state.step, Object.assign({}, measured, ...seen) as Scalars)
      if (due || looking.length > 0) pace.pause()
      yield* training.progress({
        done: state.step,
        total: steps,
        unit: "steps",
        note: `loss ${loss!.toFixed(3)}, ${count(Math.round(speed.tokensPerSecond))} tok/s`
      })
    })
    const save = Effect.gen(function* () {
      if (saved === state.step) return
      yield* checkpoints.save(state)
      saved = state.step
    })

    let lastSave = performance.now()
    let pause = checkpointSeconds * 1000
    yield* Effect.gen(function* () {
      while (state.step < steps) {
        // A step is done whole or not at all, so that an interrupted training can be saved where it is.
        yield* Effect.uninterruptible(step)
        if (state.skippedInARow >= maxSkippedInARow)
          return yield* new DivergedError({
            message: `the loss or its gradients were not finite for ${maxSkippedInARow} steps in a row, up to step ${state.step}; a lower learning rate (lr) or a longer warm-up (lr_warmup_ratio) usually helps`
          })
        if (performance.now() - lastSave > pause) {
          const before = performance.now()
          yield* save
          lastSave = performance.now()
          pause = Math.max(checkpointSeconds * 1000, (lastSave - before) / checkpointShare)
          pace.pause()
        }
      }
      // Whoever takes the result may fail too.
      yield* save
    }).pipe(Effect.onInterrupt(() => Effect.ignore(save)))
    // A training that was cut off after its last step was evaluated by another process.
    if (Object.keys(evaluated).length === 0) evaluated = yield* evaluate
    return { buffers, state, evaluated }
  })

const prefixed = (prefix: string, scalars: Scalars): Scalars =>
  Object.fromEntries(Object.entries(scalars).map(([name, value]) => [`${prefix}${name}`, value]))

/** Seconds over which the pace is averaged. */
const paceWindow = 10

/** Speed of recent steps, without evaluations and checkpoints. */
const makePace = (tokens: number) => {
  let last = { at: performance.now(), tokens, flops: 0 }
  let marks = [last]
  return {
    after: (tokensDone: number, flops: number) => {
      const now = performance.now()
      const recent = marks.findLastIndex(({ at }) => now - at > paceWindow * 1000)
      if (recent > 0) marks = marks.slice(recent)
      last = { at: now, tokens: tokensDone, flops: last.flops + flops }
      marks.push(last)
      const [oldest] = marks
      const seconds = Math.max(1, now - oldest!.at) / 1000
      return {
        tokensPerSecond: (last.tokens - oldest!.tokens) / seconds,
        flopsPerSecond: (last.flops - oldest!.flops) / seconds
      }
    },
    /** What happened since the last step does not count. */
    pause: (): void => {
      last = { ...last, at: performance.now() }
      marks = [last]
    }
  }
}
