/** One step of training: gradients of micro-batches, their norm, clipping, and the optimiser. */
import { Effect, Scope } from "effect"
import { type Buffer, type Buffers, type Call, type Engine, EngineError } from "../engines/Engine.ts"
import { allocateParameters, type ParameterBuffers, parameterInputs, type ParameterSpec } from "../models/parameters.ts"
import { gradients, vjp } from "../tensor/autodiff.ts"
import { add, input } from "../tensor/ops.ts"
import { matmulFlops } from "../tensor/flops.ts"
import { makeProgram, type Program } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type AdamW, makeAdamW } from "./adamw.ts"
import type { Group } from "./groups.ts"
import { initialLossScale } from "./lossScale.ts"
import { makeNorm } from "./norm.ts"
import type { MicroBatch, Objective, Observation } from "./objective.ts"
import { makeDataParallel } from "./dataParallel.ts"

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
  /** By part, summed over the micro-batches, of all processes that train together. */
  readonly losses: { readonly [part: string]: number }
  /** L2 norm of all gradients, before clipping. */
  readonly gradientNorm: number
  /** L2 norm of all trained parameters, before the step. */
  readonly parameterNorm: number
  /** Whether the parameters changed: false when the loss or a gradient was not finite. */
  readonly updated: boolean
  /** What each micro-batch told besides scalars. */
  readonly observations: ReadonlyArray<Observation>
}

export interface Trainer {
  /** Floating-point operations of the matrix products of a micro-batch. */
  readonly flops: number
  /** `update` counts from 1 and leaves out steps that changed nothing. */
  readonly step: (
    microBatches: ReadonlyArray<MicroBatch>,
    options: {
      readonly lr: number
      readonly update: number
      /** Multiplies the loss while it is differentiated; see lossScale.ts. Default: 1. */
      readonly lossScale?: number
    }
  ) => Effect.Effect<StepOutcome, EngineError>
}

/** The program of a micro-batch with its buffers. */
interface Built {
  readonly call: Call
  readonly parts: ReadonlyArray<string>
  /** f32 [parts]. */
  readonly results: Buffer
  /** By name, of what is no scalar. */
  readonly seen: Buffers
  readonly flops: number
}

const batchInput = (name: string): string => `batch/${name}`
const gradientOutput = (name: string): string => `gradient/${name}`
const earlierGradient = (name: string): string => `earlier/${name}`
const scaleInput = "lossScale"

/** Losses and gradients of one micro-batch; `accumulate` adds the gradients to what is there, `scaled` multiplies them with an input. */
const gradientProgram = (
  objective: Objective<unknown>,
  { constants, frozen, parameters }: TrainingBuffers,
  {
    accumulate,
    checkpointLayers,
    scaled
  }: { readonly accumulate: boolean; readonly checkpointLayers: boolean; readonly scaled: boolean }
): { readonly program: Program; readonly parts: ReadonlyArray<string>; readonly observed: ReadonlyArray<string> } => {
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
  const ofWeights = scaled ? vjp([losses.loss], [input(scaleInput, "f32", [])], wanted) : gradients(losses.loss, wanted)
  for (const [i, gradient] of ofWeights.entries()) {
    const { name, shape } = parameters.specs[i]!
    outputs[gradientOutput(name)] = accumulate ? add(input(earlierGradient(name), "f32", shape), gradient) : gradient
  }
  const names = Object.keys(losses)
  return {
    program: makeProgram(outputs),
    parts: names.filter(name => losses[name]!.rank === 0),
    observed: names.filter(name => losses[name]!.rank > 0)
  }
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

    const scaled = initialLossScale(engine.numericClass) !== undefined
    const scale = scaled ? yield* engine.allocate("f32", []) : undefined

    const build = (accumulate: boolean) =>
      Effect.gen(function* () {
        const { observed, parts, program } = gradientProgram(objective, buffers, {
          accumulate,
          checkpointLayers,
          scaled
        })
        const results = yield* engine.allocate("f32", [parts.length])
        const outputs: { [name: string]: Buffer } = { ...renamed(gradient.views, gradientOutput) }
        for (const [i, part] of parts.entries()) outputs[part] = yield* engine.view(results, i, [])
        const seen: { [name: string]: Buffer } = {}
        for (const name of observed) {
          const { value } = program.outputs.find(output => output.name === name)!
          outputs[name] = seen[name] = yield* engine.allocate("f32", program.values[value]!.shape)
        }
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
          ...(accumulate ? renamed(gradient.views, earlierGradient) : {}),
          ...(scale === undefined ? {} : { [scaleInput]: scale })
        }
        // A loss need not read every parameter and every input.
        const used = Object.fromEntries(Object.entries(inputs).filter(([name]) => names.has(name)))
        const call = yield* engine.bind(executable, used, outputs)
        return { call, parts, results, seen, flops: matmulFlops(program) } satisfies Built
      })

    const first = yield* build(false)
    // Compiled when a step first has a second micro-batch; most never have.
    let further: Built | undefined
    const scope = yield* Effect.scope
    if (objective.objectiveState !== undefined && engine.world.size > 1)
      return yield* new EngineError({
        engine: engine.name,
        message: "an objective with a state of its own trains in one process: each would have another"
      })
    const dataParallel = yield* makeDataParallel(engine, gradient.flat, first.parts.length)
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

    const runOne = ({ call, parts, results, seen }: Built, { inputs }: MicroBatch) =>
      Effect.gen(function* () {
        for (const [name, buffer] of Object.entries(data)) yield* engine.upload(buffer, inputs[name]!)
        yield* engine.run([call])
        const values = (yield* engine.download(results)) as Float32Array
        const observation: { [name: string]: Float32Array } = {}
        for (const [name, buffer] of Object.entries(seen))
          observation[name] = (yield* engine.download(buffer)) as Float32Array
        return { losses: Object.fromEntries(parts.map((part, i) => [part, values[i]!])), observation }
      })

    return {
      flops: first.flops,
      step: (microBatches, { lossScale = 1, lr, update }) =>
        Effect.gen(function* () {
          if (scale !== undefined) yield* engine.upload(scale, Float32Array.of(lossScale))
          const own: { [part: string]: number } = {}
          const observations: Array<Observation> = []
          for (const [i, microBatch] of (yield* dataParallel.own(microBatches)).entries()) {
            if (i > 0) further ??= yield* Effect.provideService(build(true), Scope.Scope, scope)
            const { losses: parts, observation } = yield* runOne(i === 0 ? first : further!, microBatch)
            for (const [part, value] of Object.entries(parts)) own[part] = (own[part] ?? 0) + value
            observations.push(observation)
          }
          const losses = yield* dataParallel.sum(own)
          const gradientNorm = (yield* norm) / (scale === undefined ? 1 : lossScale)
          const parameterNorm = yield* ofParameters
          const updated = Number.isFinite(losses["loss"]) && Number.isFinite(gradientNorm)
          if (updated) {
            const clip = maxGradNorm > 0 && gradientNorm > maxGradNorm ? maxGradNorm / gradientNorm : 1
            const gradientScale = scale === undefined ? clip : clip / lossScale
            yield* optimiser.step({ lr, step: update, gradientScale })
          }
          return { losses, gradientNorm, parameterNorm, updated, observations }
        })
    }
  })
