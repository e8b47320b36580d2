/** A tiny training of a latent method, for tests: steps on a fresh model, and gradients of parts of its loss. */
import { Effect } from "effect"
import type { Engine } from "../../src/engines/Engine.ts"
import { evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { initialise, initialValues, type ParameterSpec } from "../../src/models/parameters.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { add, input } from "../../src/tensor/ops.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import type { Losses, ObjectiveState, Objective } from "../../src/training/objective.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"

const seed = 5

export interface Fitted {
  /** The last step's losses by part. */
  readonly losses: { readonly [part: string]: number }
  readonly memory: ObjectiveState
  /** All parameters' buffers by name. */
  readonly parameters: Effect.Success<ReturnType<typeof allocateTraining>>["parameters"]["views"]
}

/** Trains for some steps, always on the data of step 0 unless `fresh`; the learning rate falls to 0 along a line. */
export const fit = (
  engine: Engine,
  objective: Objective<never>,
  specs: { readonly trained: ReadonlyArray<ParameterSpec>; readonly fixed: ReadonlyArray<ParameterSpec> },
  { fresh = false, lr, steps }: { readonly steps: number; readonly lr: number; readonly fresh?: boolean }
) =>
  Effect.gen(function* () {
    const buffers = yield* allocateTraining(engine, specs.trained, specs.fixed)
    yield* initialise(engine, buffers.parameters, seed)
    yield* initialise(engine, buffers.frozen, seed)
    const trainer = yield* makeTrainer(engine, objective, buffers, {
      optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
      groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
      maxGradNorm: 1,
      checkpointLayers: false
    })
    let memory: ObjectiveState = objective.objectiveState?.initial ?? {}
    let losses: Fitted["losses"] = {}
    for (let step = 0; step < steps; step++) {
      const at = fresh ? step : 0
      const data = yield* objective.microBatches(at, memory)
      const outcome = yield* trainer.step(data, { lr: lr * (1 - step / steps), update: step + 1 })
      losses = outcome.losses
      memory = objective.objectiveState?.next(memory, at, outcome.observations) ?? memory
    }
    return { losses, memory, parameters: { ...buffers.frozen.views, ...buffers.parameters.views } } satisfies Fitted
  })

/** Losses of the first micro-batch of step 0, and norms of the gradients of one of their parts, in float64 on fresh weights. */
export const gradientsOf = (
  objective: Objective<never>,
  specs: ReadonlyArray<ParameterSpec>,
  part: string,
  changes: { readonly [input: string]: ArrayLike<number> } = {},
  weightChanges: { readonly [name: string]: ArrayLike<number> } = {}
) =>
  Effect.gen(function* () {
    const [batch] = yield* objective.microBatches(0, objective.objectiveState?.initial)
    const weights = new Map(specs.map(({ name, shape }) => [name, input(name, "f32", shape)]))
    const data = new Map(
      Object.entries(objective.inputs).map(([name, { dtype, shape }]) => [name, input(`batch/${name}`, dtype, shape)])
    )
    const losses: Losses = objective.losses(
      name => weights.get(name)!,
      name => data.get(name)!,
      { checkpointLayers: false }
    )
    const found = gradients(
      losses[part]!,
      specs.map(({ name }) => weights.get(name)!)
    )
    const outputs: { [name: string]: Tensor } = { ...losses }
    for (const [i, gradient] of found.entries()) outputs[`gradient/${specs[i]!.name}`] = add(gradient, 0)
    const values: { [name: string]: ArrayLike<number> } = {}
    for (const spec of specs) values[spec.name] = weightChanges[spec.name] ?? initialValues(spec, seed)
    for (const name of data.keys())
      values[`batch/${name}`] = changes[name] ?? (batch!.inputs[name] as unknown as ArrayLike<number>)
    const computed = evaluateTensors(outputs, values, { exact: true })
    const norms: { [name: string]: number } = {}
    for (const { name } of specs) norms[name] = Math.hypot(...computed[`gradient/${name}`]!)
    return {
      losses: Object.fromEntries(Object.keys(losses).map(name => [name, [...computed[name]!]])),
      norms,
      gradients: Object.fromEntries(specs.map(({ name }) => [name, computed[`gradient/${name}`]!])),
      values
    }
  })
