/**
 * Where the states come from that a student is aligned with: a cache on the disk, or a frozen copy of the base that reads the clean rows,
 * causally, in the student's own program.
 */
import { packedArrays, type Rows } from "../../../tokens/packing.ts"
import { type ModelConfig, parameterSpecs } from "../../../models/config.ts"
import type { ParameterBuffers, ParameterSpec } from "../../../models/parameters.ts"
import { predictionCount, predictionWeights, nextTokenLosses } from "../../../models/nextTokenLoss.ts"
import type { HostArray } from "../../../tensor/dtype.ts"
import { apart, mul, reshape, stopGradient, sum } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"
import { normalisers, type Objective } from "../../../training/objective.ts"
import type { DiffusionData } from "../masks/corruptedRows.ts"

/** States of an example's tokens at a layer, f32 [tokens x d], from a causal pass over the clean sequence. */
export type CachedStates = (example: number, layer: number) => Float32Array

type Arrays = { readonly [name: string]: HostArray }

export interface TeacherSource {
  /** What it reads and nothing trains. */
  readonly constants: ReadonlyArray<ParameterSpec>
  readonly inputs: Objective<never>["inputs"]
  readonly states: (
    parameter: (name: string) => Tensor,
    input: (name: string) => Tensor
  ) => {
    /** Of each aligned layer, [places, d]. */
    readonly states: ReadonlyArray<Tensor>
    /** Its share of the teacher's own mean loss over the step, nats; undefined where that cannot be known. */
    readonly loss?: Tensor
  }
  /** The inputs of some micro-batches; `drawn`: which of the layers are used. */
  readonly data: (parts: ReadonlyArray<Rows>, drawn: ReadonlyArray<boolean>) => ReadonlyArray<Arrays>
}

const cachedInput = (layer: number): string => `teacher/${layer}`

export const cachedTeacher = (
  config: ModelConfig,
  layers: ReadonlyArray<number>,
  { length, microBatchRows, sequences }: DiffusionData,
  states: CachedStates
): TeacherSource => {
  const d = config.hiddenSize
  const places = microBatchRows * length
  return {
    constants: [],
    inputs: Object.fromEntries(layers.map(layer => [cachedInput(layer), { dtype: "f32", shape: [places, d] }])),
    states: (_parameter, input) => ({ states: layers.map(layer => input(cachedInput(layer))) }),
    data: (parts, drawn) =>
      parts.map(rows =>
        Object.fromEntries(
          layers.map((layer, l) => {
            const all = new Float32Array(places * d)
            // Nothing is read of a layer that was not drawn.
            if (drawn[l] === true)
              layOut(
                rows,
                length,
                example => sequences[example]!.length,
                (example, start, size) => all.set(states(example, layer).subarray(0, size * d), start * d)
              )
            return [cachedInput(layer), all]
          })
        )
      )
  }
}

/** Tells where packing puts each sequence: its first place, and how many of its tokens there are. */
const layOut = (
  rows: Rows,
  length: number,
  tokensOf: (example: number) => number,
  put: (example: number, start: number, size: number) => void
): void => {
  for (const [r, row] of rows.entries()) {
    let start = 0
    for (const example of row) {
      const size = Math.min(tokensOf(example), length - start)
      put(example, r * length + start, size)
      start += size
    }
  }
}

const livePrefix = "teacher/"
const [cleanIds, lossWeights] = [`${livePrefix}ids`, `${livePrefix}weights`] as const

/** A live teacher's buffers under the names of the model that it is, for whoever fills them. */
export const teacherBuffers = ({ flat, specs, views }: ParameterBuffers): ParameterBuffers => {
  const own = (name: string): string => (name.startsWith(livePrefix) ? name.slice(livePrefix.length) : name)
  return {
    flat,
    specs: specs.map(spec => ({ ...spec, name: own(spec.name) })),
    views: Object.fromEntries(Object.entries(views).map(([name, view]) => [own(name), view]))
  }
}

export const liveTeacher = (
  config: ModelConfig,
  layers: ReadonlyArray<number>,
  { averaging, length, microBatchRows, pad, sequences }: DiffusionData
): TeacherSource => {
  const shape = { rows: microBatchRows, length }
  const places = microBatchRows * length
  const { adapter, ...stored } = config.linear ?? {}
  // Under an adapter the base stays as it is: without the adapter it is the teacher.
  const teacher: ModelConfig = { ...config, linear: stored }
  const nameOf = (name: string): string => (adapter === undefined ? `${livePrefix}${name}` : name)
  return {
    constants: adapter === undefined ? parameterSpecs(teacher).map(spec => ({ ...spec, name: nameOf(spec.name) })) : [],
    inputs: {
      [cleanIds]: { dtype: "i32", shape: [microBatchRows, length] },
      [lossWeights]: { dtype: "f32", shape: [predictionCount(shape)] }
    },
    states: (parameter, input) => {
      // Under an adapter both passes read the same weights: made dense once, those of all layers would live from one pass to the other.
      const { hiddenStates, losses } = apart(() =>
        nextTokenLosses(
          teacher,
          name => parameter(nameOf(name)),
          name => input(name === "ids" ? cleanIds : name),
          { causal: true, checkpointLayers: false }
        )
      )
      return {
        states: layers.map(layer => stopGradient(reshape(hiddenStates[layer]!, [places, config.hiddenSize]))),
        loss: stopGradient(sum(mul(losses, input(lossWeights))))
      }
    },
    data: parts => {
      const packed = parts.map(rows => packedArrays(sequences, rows, { capacity: length, pad }))
      const weights = packed.map(arrays => predictionWeights(arrays, shape))
      const shares = normalisers(
        weights.map(of => of.reduce((total, weight) => total + weight, 0)),
        averaging
      )
      return packed.map(({ ids }, m) => ({
        [cleanIds]: ids,
        [lossWeights]: weights[m]!.map(weight => weight * shares[m]!)
      }))
    }
  }
}
