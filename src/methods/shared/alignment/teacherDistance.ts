/** How far a student's hidden states are from those of the teacher that it comes from, on text that was held out: what alignment trains, measured of any model that reads masks. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../../../engines/Engine.ts"
import { type Masked, maskedRows } from "../../../evaluation/maskDraws.ts"
import type { Part } from "../../../evaluation/parts.ts"
import { packed } from "../../../evaluation/sequenceLosses.ts"
import type { ModelConfig } from "../../../models/config.ts"
import { forward, weightsOf } from "../../../models/decoder.ts"
import type { BatchShape } from "../../../models/nextTokenLoss.ts"
import { predictingPlace } from "../../../sessions/maskedLosses.ts"
import { cleanTensor, maskedForward, type MaskedReading, rowTensors } from "../../../sessions/query.ts"
import { inputsOf, makeSession } from "../../../sessions/session.ts"
import { add, apart, cast, mul, reshape } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"
import { cosineDistance, cosines } from "./distances.ts"

interface OnEngine {
  readonly config: ModelConfig
  readonly parameters: Buffers
}

const prefix = "teacher/"

/** The teacher of a model that is an adapter over the teacher's own weights: the same without the adapter. */
export const withoutAdapter = ({ config, parameters }: OnEngine): OnEngine => {
  const { adapter: _, ...linear } = config.linear ?? {}
  return { config: { ...config, linear }, parameters }
}

/**
 * Prepares both models, of the same layers and width. Then, for masked sequences, the distances of each: 1 minus the cosine of the student's states, which see the masks and the whole
 * document, and the teacher's, which see the clean tokens from left to right; the mean over the outputs of all layers, before the final norm, of the places that
 * predict masked tokens (`loss_columns` of the alignment).
 */
export const makeTeacherDistance = (
  engine: Engine,
  student: OnEngine,
  teacher: OnEngine,
  {
    extension,
    halves = false,
    mask,
    pad,
    tokenShift,
    ...shape
  }: BatchShape & MaskedReading & { readonly mask: number; readonly pad: number }
): Effect.Effect<
  (sequences: ReadonlyArray<Masked>) => Effect.Effect<ReadonlyArray<Part>, EngineError>,
  EngineError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const shared = teacher.parameters === student.parameters
    const buffers = shared
      ? student.parameters
      : {
          ...student.parameters,
          ...Object.fromEntries(Object.entries(teacher.parameters).map(([name, buffer]) => [prefix + name, buffer]))
        }
    const parameter = inputsOf(buffers)
    const rows = rowTensors(shape)
    const unmasked = cleanTensor(shape)
    const { passed } = maskedForward(student.config, parameter, rows, {
      ...(extension === undefined ? {} : { extension }),
      ...(tokenShift === undefined ? {} : { tokenShift }),
      ...(halves ? { clean: unmasked } : {})
    })
    // Where both read the same quantised weights: made dense once, those of all layers would live from one pass to the other.
    const taught = apart(() =>
      forward(
        teacher.config,
        weightsOf(teacher.config, name => parameter(shared ? name : prefix + name)),
        unmasked,
        { ...rows, causal: true }
      )
    )
    const states = (x: Tensor): Tensor =>
      cast(reshape(x, [shape.rows * shape.length, student.config.hiddenSize]), "f32")
    const [first, ...others] = passed.hiddenStates
      .slice(1)
      .map((layer, l) => cosineDistance(cosines(states(layer), states(taught.hiddenStates[l + 1]!))))
    const distance = mul(
      others.reduce((sum, each) => add(sum, each), first!),
      1 / (1 + others.length)
    )
    const { run } = yield* makeSession(engine, { distance }, buffers)
    return sequences =>
      Effect.gen(function* () {
        const parts = sequences.map(() => ({ sum: 0, weight: 0 }))
        const all = packed(
          sequences.map(({ ids }) => ids),
          shape
        )
        for (let start = 0; start < all.length; start += shape.rows) {
          const filled = all.slice(start, start + shape.rows)
          const { asked, clean, read } = maskedRows(sequences, filled, { ...shape, mask, pad })
          const found = yield* run({ ...read, clean: clean.ids, ...extension?.data(read.ids, []) })
          let at = 0
          for (const sequence of filled.flat())
            for (const _ of sequences[sequence]!.places) {
              parts[sequence]!.sum += found.distance[predictingPlace(asked.places[at++]!, tokenShift)]!
              parts[sequence]!.weight++
            }
        }
        return parts
      })
  })
