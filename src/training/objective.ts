/** What a training minimises: the loss of a micro-batch as a function of parameters and data, and the data of each step. */
import { type Effect, Schema } from "effect"
import type { DType, HostArray } from "../tensor/dtype.ts"
import type { ParameterSpec } from "../models/parameters.ts"
import type { Shape, Tensor } from "../tensor/Tensor.ts"

/** Data of one forward and backward pass. */
export interface MicroBatch {
  /** By the names of the objective's inputs. */
  readonly inputs: { readonly [name: string]: HostArray }
  /** Tokens that it reads, for throughput. */
  readonly tokens: number
  /** Tokens whose prediction counts in its loss; by default all that it reads. */
  readonly labelled?: number
  /** Floating-point operations of its forward and backward pass; by default those of the matrix products that are computed. */
  readonly flops?: number
  /** Sequences and rows that it reads, for their mean lengths. */
  readonly sequences?: number
  readonly rows?: number
  /** What the objective wants to be told again when it reports. */
  readonly noted?: { readonly [name: string]: number }
}

/** All f32. Scalars and gradients are summed over a step's micro-batches, so the data bring what normalises them. */
export interface Losses {
  /** What is minimised; a scalar. */
  readonly loss: Tensor
  /** Scalars are reported beside it. Other tensors are told to the objective's state. */
  readonly [part: string]: Tensor
}

/** Numbers that an objective learns from its own losses, by name: running means and the like. Part of every checkpoint. */
export const ObjectiveState = Schema.Record(Schema.String, Schema.Array(Schema.Finite))
export type ObjectiveState = typeof ObjectiveState.Type

/** What the losses told besides scalars, f32 by name. */
export interface Observation {
  readonly [part: string]: Float32Array
}

/** How an objective's state begins, and what becomes of it. */
export interface Stateful {
  readonly initial: ObjectiveState
  /** After a step that changed the parameters, given what each of its micro-batches told. */
  readonly next: (state: ObjectiveState, step: number, observations: ReadonlyArray<Observation>) => ObjectiveState
}

/** How a training has its passes computed. */
export interface PassOptions {
  readonly checkpointLayers: boolean
  /** Of the micro-batch, i64 [2], where adapters drop anything (dropout.ts). */
  readonly dropoutKey?: Tensor
}

export interface Objective<E> {
  /** Parameters that the losses read and that nothing trains, beside those of the training. */
  readonly constants?: ReadonlyArray<ParameterSpec>
  readonly inputs: { readonly [name: string]: { readonly dtype: DType; readonly shape: Shape } }
  readonly losses: (
    parameter: (name: string) => Tensor,
    input: (name: string) => Tensor,
    options: PassOptions
  ) => Losses
  /** Where the data of a step depend on the losses of those before it. */
  readonly objectiveState?: Stateful
  /** The micro-batches of a step (from 0). They depend on the step and the state alone, so that a resumed training sees the same data. */
  readonly microBatches: (step: number, state?: ObjectiveState) => Effect.Effect<ReadonlyArray<MicroBatch>, E>
  /** What the log says of a step beside its loss, from the sums of its losses over the micro-batches; by default each part as `losses/PART`. */
  readonly report?: (
    losses: { readonly [part: string]: number },
    microBatches: ReadonlyArray<MicroBatch>
  ) => { readonly [name: string]: number }
}

/** How the losses of micro-batches with different numbers of tokens are averaged. */
export type Averaging = "tokens" | "micro-batches"

/**
 * What the summed loss of each micro-batch is multiplied with: `tokens` gives the mean over all tokens of the step, however they were cut;
 * `micro-batches` the mean of the micro-batches' means. A micro-batch without tokens weighs nothing.
 */
export const normalisers = (counts: ReadonlyArray<number>, averaging: Averaging): ReadonlyArray<number> => {
  if (averaging === "tokens") {
    const total = counts.reduce((sum, count) => sum + count, 0)
    return counts.map(() => (total === 0 ? 0 : 1 / total))
  }
  const filled = counts.filter(count => count > 0).length
  return counts.map(count => (count === 0 ? 0 : 1 / (count * filled)))
}
