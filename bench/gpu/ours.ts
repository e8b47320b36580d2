/** The tasks of bench/gpu on the engine `torch`. */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { Cause, Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import { startTorch } from "../../src/engines/torch/torch.ts"
import { quantisedTensors } from "../../src/formats/bitsandbytes.ts"
import { openTensors } from "../../src/formats/tensorFiles.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { forward, logits, weightsOf } from "../../src/models/decoder.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { loadWeights } from "../../src/models/weights.ts"
import type { GeneratedTexts } from "../../src/sessions/generator.ts"
import { maskedGenerator } from "../../src/sessions/maskedGenerator.ts"
import { inputsOf, makeSession } from "../../src/sessions/session.ts"
import { input, reshape } from "../../src/tensor/ops.ts"
import { splitParameters } from "../../src/training/groups.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { type Measured, rounds, type Task, torchOptions, type TrainingTask } from "./measured.ts"
import { objectiveOf } from "./objectives.ts"

/** Everything of a task. Inference and each training have a process of their own, so that neither memory nor a failure of one is the next one's. */
export const measureOurs = (task: Task): Effect.Effect<Measured> =>
  Effect.gen(function* () {
    const milliseconds: { [work: string]: ReadonlyArray<number> } = {}
    const peakBytes: { [work: string]: number | null } = {}
    const tokens: { [work: string]: ReadonlyArray<number> } = {}
    const errors: { [work: string]: string } = {}
    const measure = (
      works: ReadonlyArray<string>,
      run: (started: Started) => Effect.Effect<void, unknown, Scope.Scope>
    ) =>
      Effect.flatMap(startTorch(torchOptions(task)), ({ engine, peakBytes: peak }) =>
        run({
          engine,
          loaded: Effect.asVoid(peak),
          note: (work, times, made) =>
            Effect.map(peak, bytes => {
              milliseconds[work] = times
              peakBytes[work] = bytes ?? null
              if (made !== undefined) tokens[work] = made
            })
        })
      ).pipe(
        Effect.scoped,
        Effect.catchCause(cause =>
          Effect.sync(() => {
            const error = Cause.squash(cause)
            for (const work of works)
              if (milliseconds[work] === undefined)
                errors[work] = error instanceof Error ? error.message : String(error)
          })
        )
      )
    yield* measure(["forward", ...task.decode.steps.map(decodeWork)], started => inference(task, started))
    for (const [work, step] of Object.entries(task.trainings))
      yield* measure([work], started =>
        Effect.flatMap(training(task, step, started), times => started.note(work, times))
      )
    return { milliseconds, peakBytes, tokens, errors }
  })

const decodeWork = (steps: number): string => `decode/${steps}`

interface Started {
  readonly engine: Engine
  /** From here on memory counts. */
  readonly loaded: Effect.Effect<void, EngineError>
  readonly note: (
    work: string,
    times: ReadonlyArray<number>,
    tokens?: ReadonlyArray<number>
  ) => Effect.Effect<void, EngineError>
}

const inference = ({ config, decode, directory, ...task }: Task, { engine, loaded, note }: Started) =>
  Effect.gen(function* () {
    const buffers = yield* allocateParameters(engine, parameterSpecs(config))
    yield* loadWeights(engine, buffers, yield* storedIn(directory))
    yield* loaded

    const length = task.tokens.length
    const weights = weightsOf(config, inputsOf(buffers.views))
    const { final } = forward(config, weights, input("tokens", "i32", [1, length]), { causal: false })
    const outputs = { logits: logits(reshape(final, [length, config.hiddenSize]), weights) }
    const { compute, upload } = yield* makeSession(engine, outputs, buffers.views)
    yield* upload({ tokens: Int32Array.from(task.tokens) })
    yield* note("forward", yield* rounds(task, compute()))

    const { mask, newTokens, prompt } = decode
    const generator = yield* maskedGenerator(
      engine,
      {
        config,
        parameters: buffers.views,
        tokenShift: true,
        tokenizer: { maskId: mask, padId: 0, ends: new Set<number>() }
      },
      { prompts: 1, promptTokens: prompt.length, newTokens },
      greedy
    )
    for (const steps of decode.steps) {
      let made: GeneratedTexts | undefined
      const once = Effect.map(generator.generate({ prompts: [prompt], steps, seed: 0 }), texts => void (made = texts))
      const times = yield* rounds({ ...task, warmUp: 1 }, once)
      yield* note(decodeWork(steps), times, [...made!.sequences[0]!.subarray(prompt.length)])
    }
  })

/** What transformers is asked for as well. */
const greedy = { temperature: 0, alg: "entropy", algTemp: 0, schedule: "quota", eps: 1e-3 } as const

/** The times of a training's steps. */
const training = (task: Task, step: TrainingTask, { engine, loaded }: Started) =>
  Effect.gen(function* () {
    const { adapter, config, directory } = task
    const trained = adapter === undefined ? config : { ...config, linear: { ...config.linear, adapter } }
    const objective = objectiveOf(trained, task, step)
    const { frozen, trainable } = splitParameters(parameterSpecs(trained), [])
    const buffers = yield* allocateTraining(engine, trainable, frozen, objective.constants)
    const tensors = yield* storedIn(directory)
    const ofBase = parameterSpecs(config)
    const names = new Set(ofBase.map(({ name }) => name))
    for (const { flat, specs, views } of [buffers.parameters, buffers.frozen]) {
      const [stored, fresh] = [true, false].map(is => specs.filter(({ name }) => names.has(name) === is))
      yield* loadWeights(engine, { specs: stored!, views }, tensors, {}, ofBase)
      yield* initialise(engine, { specs: fresh!, flat, views }, 0)
    }
    yield* loaded
    const trainer = yield* makeTrainer(engine, objective, buffers, {
      optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
      groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
      maxGradNorm: 1,
      checkpointLayers: adapter !== undefined
    })
    let done = 0
    const once = Effect.suspend(() =>
      Effect.flatMap(objective.microBatches(done, {}), batches => trainer.step(batches, { lr: 1e-4, update: ++done }))
    )
    return yield* rounds(
      task,
      Effect.flatMap(once, ({ updated }) =>
        updated ? Effect.void : Effect.fail(new Error("the loss or a gradient is not finite"))
      )
    )
  })

const storedIn = (directory: string) =>
  Effect.flatMap(
    openTensors(readdirSync(directory).map(name => ({ name, path: join(directory, name) }))),
    quantisedTensors
  )
