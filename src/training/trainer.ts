/** One step of training: gradients of micro-batches, their norm, clipping, and the optimiser. */
import { Effect, Scope } from "effect"
import type { Buffer, Buffers, Call, Engine, EngineError } from "../engines/Engine.ts"
import { allocateParameters, type ParameterBuffers, parameterInputs, type ParameterSpec } from "../models/parameters.ts"
import { gradients } from "../tensor/autodiff.ts"
import { add, input } from "../tensor/ops.ts"
import { makeProgram, type Program } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type AdamW, makeAdamW } from "./adamw.ts"
import type { Group } from "./groups.ts"
import { makeNorm } from "./norm.ts"
import type { MicroBatch, Objective } from "./objective.ts"

/** Where a training's numbers lie. Parameters and moments make up its state. */
export interface TrainingBuffers {
  readonly parameters: ParameterBuffers
  readonly frozen: ParameterBuffers
  /** What the objective reads beside the model's parameters. */
  readonly constants: ParameterBuffers
  readonly gradients: ParameterBuffers
  readonly firstMoments: ParameterBuffers
  readonly secondMoments: ParameterBuffers
}

/** Memory for a training, zeroed. */
export const allocateTraining = (
  engine: Engine,
  trainable: ReadonlyArray<ParameterSpec>,
  frozen: ReadonlyArray<ParameterSpec>,
  constants: ReadonlyArray<ParameterSpec> = []
): Effect.Effect<TrainingBuffers, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    return {
      parameters: yield* allocateParameters(engine, trainable),
      frozen: yield* allocateParameters(engine, frozen),
      constants: yield* allocateParameters(engine, constants),
      gradients: yield* allocateParameters(engine, trainable),
      firstMoments: yield* allocateParameters(engine, trainable),
      secondMoments: yield* allocateParameters(engine, trainable)
    }
  })

export interface TrainerSettings {
  readonly optimiser: AdamW
  readonly groups: ReadonlyArray<Group>
  /** Gradients whose norm is larger are scaled down to it; 0 leaves them alone. */
  readonly maxGradNorm: number
  readonly checkpointLayers: boolean
}

export interface StepOutcome {
  /** By part, summed over the micro-batches. */
  readonly losses: { readonly [part: string]: number }
  /** L2 norm of all gradients, before clipping. */
  readonly gradientNorm: number
  /** L2 norm of all trained parameters, before the step. */
  readonly parameterNorm: number
  /** Whether the parameters changed: false when the loss or a gradient was not finite. */
  readonly updated: boolean
}

export interface Trainer {
  /** `update` counts from 1 and leaves out steps that changed nothing. */
  readonly step: (
    microBatches: ReadonlyArray<MicroBatch>,
    options: { readonly lr: number; readonly update: number }
  ) => Effect.Effect<StepOutcome, EngineError>
}

const batchInput = (name: string): string => `batch/${name}`
const gradientOutput = (name: string): string => `gradient/${name}`
const earlierGradient = (name: string): string => `earlier/${name}`

/** Losses and gradients of one micro-batch; `accumulate` adds the gradients to what is there. */
const gradientProgram = (
  objective: Objective<unknown>,
  { constants, frozen, parameters }: TrainingBuffers,
  { accumulate, checkpointLayers }: { readonly accumulate: boolean; readonly checkpointLayers: boolean }
): { readonly program: Program; readonly parts: ReadonlyArray<string> } => {
  const parameter = parameterInputs([...parameters.specs, ...frozen.specs, ...constants.specs])
  const data = new Map(
    Object.entries(objective.inputs).map(([name, { dtype, shape }]) => [name, input(batchInput(name), dtype, shape)])
  )
  const given = (name: string): Tensor => {
    const found = data.get(name)
    if (found === undefined) throw new Error(`there is no input ${name}; there are ${[...data.keys()].join(", ")}`)
    return found
  }
  const losses = objective.losses(parameter, given, { checkpointLayers })
  const wanted = parameters.specs.map(({ name }) => parameter(name))
  const outputs: { [name: string]: Tensor } = { ...losses }
  for (const [i, gradient] of gradients(losses.loss, wanted).entries()) {
    const { name, shape } = parameters.specs[i]!
    outputs[gradientOutput(name)] = accumulate ? add(input(earlierGradient(name), "f32", shape), gradient) : gradient
  }
  return { program: makeProgram(outputs), parts: Object.keys(losses) }
}

const renamed = (views: Buffers, rename: (name: string) => string): Buffers =>
  Object.fromEntries(Object.entries(views).map(([name, buffer]) => [rename(name), buffer]))

/** Compiles what a step needs. The buffers belong to the caller. */
export const makeTrainer = (
  engine: Engine,
  objective: Objective<unknown>,
  buffers: TrainingBuffers,
  { checkpointLayers, groups, maxGradNorm, optimiser: adamw }: TrainerSettings
): Effect.Effect<Trainer, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { constants, frozen, gradients: gradient, parameters } = buffers
    const data: { [name: string]: Buffer } = {}
    for (const [name, { dtype, shape }] of Object.entries(objective.inputs))
      data[name] = yield* engine.allocate(dtype, shape)

    const build = (accumulate: boolean) =>
      Effect.gen(function* () {
        const { parts, program } = gradientProgram(objective, buffers, { accumulate, checkpointLayers })
        const results = yield* engine.allocate("f32", [parts.length])
        const outputs: { [name: string]: Buffer } = { ...renamed(gradient.views, gradientOutput) }
        for (const [i, part] of parts.entries()) outputs[part] = yield* engine.view(results, i, [])
        const executable = yield* engine.compile(program, {
          inPlace: accumulate
            ? Object.fromEntries(parameters.specs.map(({ name }) => [gradientOutput(name), earlierGradient(name)]))
            : {}
        })
        const names = new Set(program.inputs.map(({ name }) => name))
        const inputs = {
          ...parameters.views,
          ...frozen.views,
          ...constants.views,
          ...renamed(data, batchInput),
          ...(accumulate ? renamed(gradient.views, earlierGradient) : {})
        }
        // A loss need not read every parameter and every input.
        const used = Object.fromEntries(Object.entries(inputs).filter(([name]) => names.has(name)))
        const call = yield* engine.bind(executable, used, outputs)
        return { call, parts, results }
      })

    const first = yield* build(false)
    // Compiled when a step first has a second micro-batch; most never have.
    let further: typeof first | undefined
    const scope = yield* Effect.scope
    const norm = yield* makeNorm(engine, gradient.flat)
    const ofParameters = yield* makeNorm(engine, parameters.flat)
    const optimiser = yield* makeAdamW(
      engine,
      adamw,
      {
        parameters: parameters.flat,
        gradients: gradient.flat,
        firstMoments: buffers.firstMoments.flat,
        secondMoments: buffers.secondMoments.flat
      },
      { groups }
    )

    const runOne = (
      {
        call,
        parts,
        results
      }: { readonly call: Call; readonly parts: ReadonlyArray<string>; readonly results: Buffer },
      { inputs }: MicroBatch
    ) =>
      Effect.gen(function* () {
        for (const [name, buffer] of Object.entries(data)) yield* engine.upload(buffer, inputs[name]!)
        yield* engine.run([call])
        const values = (yield* engine.download(results)) as Float32Array
        return Object.fromEntries(parts.map((part, i) => [part, values[i]!]))
      })

    return {
      step: (microBatches, { lr, update }) =>
        Effect.gen(function* () {
          const losses: { [part: string]: number } = {}
          for (const [i, microBatch] of microBatches.entries()) {
            if (i > 0) further ??= yield* Effect.provideService(build(true), Scope.Scope, scope)
            const parts = yield* runOne(i === 0 ? first : further!, microBatch)
            for (const [part, value] of Object.entries(parts)) losses[part] = (losses[part] ?? 0) + value
          }
          const gradientNorm = yield* norm
          const parameterNorm = yield* ofParameters
          const updated = Number.isFinite(losses["loss"]) && Number.isFinite(gradientNorm)
          if (updated) {
            const gradientScale = maxGradNorm > 0 && gradientNorm > maxGradNorm ? maxGradNorm / gradientNorm : 1
            yield* optimiser.step({ lr, step: update, gradientScale })
          }
          return { losses, gradientNorm, parameterNorm, updated }
        })
    }
  })
