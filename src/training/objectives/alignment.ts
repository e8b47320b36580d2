/** Representation alignment as a part of the diffusion objective: which states are compared, how much they weigh, and their data. */
import { Effect, Schema } from "effect"
import type { Rows } from "../../data/packing.ts"
import { alignmentLoss } from "../../diffusion/alignment.ts"
import { layerWeights, samplePositions, sampleWeights } from "../../diffusion/alignmentSampling.ts"
import type { ModelConfig } from "../../models/config.ts"
import { mul, reshape } from "../../tensor/ops.ts"
import { randomKey } from "../../tensor/random.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import { normalisers } from "../objective.ts"
import type { CorruptedRows, DiffusionData } from "./corruptedRows.ts"

const NonNegative = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Fields of the field's training configurations, in our spelling. */
export const AlignmentSettings = Schema.Struct({
  /** Weight of the alignment loss at the beginning; 0 turns alignment off. */
  reprAlignWt: orElse(NonNegative, 0),
  /** Weight at the end, reached along a cosine; by default as at the beginning. */
  reprAlignWtFinal: Schema.optionalKey(NonNegative),
  /** Layers: 0 is the embedding, 1 the output of the first layer. By default all but the embedding. */
  alignLayers: Schema.optionalKey(Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))),
  /** Aligns so many layers per step, drawn anew; by default all of them. */
  reprAlignNumSampleLayers: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))),
  /** Aligns this share of the positions, drawn anew in each step. */
  reprAlignSubSampleRatio: orElse(Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)), 1),
  /** Weights of layers grow as exp(this x layer / deepest). */
  reprAlignLayerExp: orElse(Schema.Finite, 0),
  /** `loss_columns`: those whose states predict masked tokens; `unmasked`: those that read a clean token; or all. */
  reprAlignPositions: orElse(Schema.Literals(["loss_columns", "unmasked", "all"]), "loss_columns")
})
export type AlignmentSettings = typeof AlignmentSettings.Type

/** What a student is aligned with. */
export interface Teacher {
  readonly settings: AlignmentSettings
  /** Steps of the whole training, for the weight's schedule. */
  readonly steps: number
  readonly seed: number
  /** The teacher's states of an example's tokens at a layer, f32 [tokens x d], from a causal pass over the clean sequence. */
  readonly states: (example: number, layer: number) => Float32Array
}

/** The layers that are aligned. Throws RangeError for one that the model does not have. */
export const alignedLayers = ({ alignLayers }: AlignmentSettings, config: ModelConfig): ReadonlyArray<number> => {
  const layers = alignLayers ?? Array.from({ length: config.layers }, (_, i) => i + 1)
  const wrong = layers.find(layer => layer > config.layers)
  if (wrong !== undefined)
    throw new RangeError(
      `alignLayers names layer ${wrong}; the model has layers 1 to ${config.layers}, and the embedding, 0`
    )
  return layers
}

/** Weight of the alignment at a step (from 0): from the first to the last along half a cosine. */
export const alignmentWeight = (
  { reprAlignWt: first, reprAlignWtFinal: last = first }: AlignmentSettings,
  step: number,
  steps: number
): number => last + (first - last) * 0.5 * (1 + Math.cos((Math.PI * step) / steps))

const teacherInput = (layer: number): string => `teacher/${layer}`

/** The inputs, losses and data that alignment adds. */
export const aligning = (
  config: ModelConfig,
  { seed, settings, states: teacherStates, steps }: Teacher,
  { averaging, length, microBatchRows, sequences }: DiffusionData
) => {
  const layers = alignedLayers(settings, config)
  const d = config.hiddenSize
  const places = microBatchRows * length
  const weights = layerWeights(layers, { deepest: config.layers, exponent: settings.reprAlignLayerExp })
  return {
    inputs: {
      ...Object.fromEntries(layers.map(layer => [teacherInput(layer), { dtype: "f32", shape: [places, d] } as const])),
      layerWeights: { dtype: "f32", shape: [layers.length] },
      /** Share of each position in the mean; 0 for what is not aligned. */
      positionWeights: { dtype: "f32", shape: [places] },
      alignmentWeight: { dtype: "f32", shape: [] }
    } as const,
    losses: (states: ReadonlyArray<Tensor>, input: (name: string) => Tensor) => {
      const pairs = layers.map(layer => ({
        student: reshape(states[layer]!, [places, d]),
        teacher: input(teacherInput(layer))
      }))
      const { loss } = alignmentLoss(pairs, input("layerWeights"), input("positionWeights"))
      return { loss: mul(loss, input("alignmentWeight")), parts: { repr_align: loss } }
    },
    data: (rows: Rows, parts: ReadonlyArray<CorruptedRows>, step: number) => {
      const count = settings.reprAlignNumSampleLayers ?? layers.length
      const drawn = sampleWeights(weights, count, randomKey(seed, "aligned layers", step))
      const positions = parts.map(({ arrays, ratios, replaced }, m) => {
        const all = Array.from({ length: places }, (_, i) => i).filter(i => {
          if (arrays.documents[i]! < 0) return false
          const [row, column] = [Math.floor(i / length), i % length]
          if (settings.reprAlignPositions === "unmasked") return replaced[i] === 0
          if (settings.reprAlignPositions === "all") return true
          return column < length - 1 && ratios[row * (length - 1) + column]! > 0
        })
        return samplePositions(all, settings.reprAlignSubSampleRatio, randomKey(seed, "aligned positions", step, m))
      })
      const shares = normalisers(
        positions.map(({ length: size }) => size),
        averaging
      )
      return parts.map((_, m) => (factor: number): { readonly [name: string]: Float32Array } => {
        const teacher = Object.fromEntries(
          layers.map((layer, l) => [
            teacherInput(layer),
            // Nothing is read of a layer that was not drawn.
            drawn[l] === 0
              ? new Float32Array(places * d)
              : laidOut(
                  rows.slice(m * microBatchRows, (m + 1) * microBatchRows),
                  example => ({
                    tokens: sequences[example]!.length,
                    states: teacherStates(example, layer)
                  }),
                  { length, d, places }
                )
          ])
        )
        const positionWeights = new Float32Array(places)
        for (const place of positions[m]!) positionWeights[place] = shares[m]!
        return {
          ...teacher,
          layerWeights: Float32Array.from(drawn),
          positionWeights,
          alignmentWeight: Float32Array.of(factor * alignmentWeight(settings, step, steps))
        }
      })
    }
  }
}

/** States of sequences where packing puts their tokens. */
const laidOut = (
  rows: Rows,
  of: (example: number) => { readonly tokens: number; readonly states: Float32Array },
  { d, length, places }: { readonly d: number; readonly length: number; readonly places: number }
): Float32Array => {
  const all = new Float32Array(places * d)
  for (const [r, row] of rows.entries()) {
    let start = 0
    for (const example of row) {
      const { states, tokens } = of(example)
      const size = Math.min(tokens, length - start)
      all.set(states.subarray(0, size * d), (r * length + start) * d)
      start += size
    }
  }
  return all
}
