/** Settings of representation alignment. */
import { Effect, Schema } from "effect"
import type { ModelConfig } from "../../models/config.ts"
import { ReplaySettings } from "./replay.ts"

const NonNegative = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Fields of the field's training configurations, in our spelling. */
export const AlignmentSettings = Schema.Struct({
  /** Weight of the alignment loss at the beginning; 0 turns it off. */
  reprAlignWt: orElse(NonNegative, 0).annotate({
    description: "Weight of the alignment loss at the beginning; 0 turns it off"
  }),
  /** Weight at the end, reached along a cosine; by default as at the beginning. */
  reprAlignWtFinal: Schema.optionalKey(NonNegative).annotate({
    description: "Weight of the alignment loss at the end, reached along half a cosine; by default as at the beginning"
  }),
  /** Layers: 0 is the embedding, 1 the output of the first layer. By default all but the embedding. */
  alignLayers: Schema.optionalKey(Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))).annotate({
    description:
      "Layers that are aligned: 0 is the embedding, 1 the output of the first layer; by default 1 to the last"
  }),
  /** Aligns so many layers per step, drawn anew; by default all of them. */
  reprAlignNumSampleLayers: Schema.optionalKey(PositiveInt).annotate({
    description: "Layers that a step aligns, drawn anew, each as often as the others; by default all of `align_layers`"
  }),
  /** Aligns this share of the positions, drawn anew in each step. */
  reprAlignSubSampleRatio: orElse(
    Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)),
    1
  ).annotate({ description: "Share of the positions that a step aligns, at least one, drawn anew" }),
  /** Weights of layers grow as exp(this x layer / deepest). */
  reprAlignLayerExp: orElse(Schema.Finite, 0).annotate({
    description: "Weights of layers grow as exp(this x layer / number of layers); 0: all weigh the same"
  }),
  /** `loss_columns`: those whose states predict masked tokens; `unmasked`: those that read a clean token; or all. */
  reprAlignPositions: orElse(Schema.Literals(["loss_columns", "unmasked", "all"]), "loss_columns").annotate({
    description: "Positions: `loss_columns` predict masked tokens, `unmasked` read a clean token, or `all`"
  }),
  /** What is minimised of each state: 1 minus the cosine, or the angle. */
  reprAlignLossMode: orElse(Schema.Literals(["cosine", "angular"]), "cosine").annotate({
    description: "Distance of states: `cosine`, 1 minus the cosine, or `angular`, the angle in radians"
  }),
  /** Of `angular`: angles below this, radians, cost nothing. */
  reprAlignAngularMargin: orElse(NonNegative, 0).annotate({
    description: "Of `angular`: angles below this, radians, cost nothing"
  }),
  /** InfoNCE in place of the distance: each student's state must tell its teacher's from those of other positions. */
  reprAlignContrastive: orElse(Schema.Boolean, false).annotate({
    description: "InfoNCE in place of the distance: a state must tell its teacher's from those of the other positions"
  }),
  /** Temperature of InfoNCE. */
  reprAlignContrastiveTemp: orElse(Schema.Finite.check(Schema.isGreaterThan(0)), 0.07).annotate({
    description: "Temperature of InfoNCE"
  }),
  /** Weight of the distance between means of whole blocks; 0 turns it off. */
  subgoalAlignWt: orElse(NonNegative, 0).annotate({
    description: "Weight of the cosine distance between mean states of blocks of a sequence; 0 turns it off"
  }),
  /** Contiguous blocks of a sequence. */
  subgoalAlignNBlocks: orElse(PositiveInt, 4).annotate({
    description: "Contiguous blocks that a sequence is cut into for `subgoal_align_wt`"
  }),
  ...ReplaySettings.fields
})
export type AlignmentSettings = typeof AlignmentSettings.Type

/** Whether anything is asked of a teacher. */
export const isAligned = ({
  reprAlignWt,
  subgoalAlignWt
}: Pick<AlignmentSettings, "reprAlignWt" | "subgoalAlignWt">): boolean => reprAlignWt > 0 || subgoalAlignWt > 0

/** The layers that are aligned. Throws RangeError for one that the model does not have, or twice. */
export const alignedLayers = ({ alignLayers }: AlignmentSettings, config: ModelConfig): ReadonlyArray<number> => {
  const layers = alignLayers ?? Array.from({ length: config.layers }, (_, i) => i + 1)
  const wrong = layers.find(layer => layer > config.layers)
  if (wrong !== undefined)
    throw new RangeError(
      `alignLayers names layer ${wrong}; the model has layers 1 to ${config.layers}, and the embedding, 0`
    )
  const repeated = layers.find((layer, i) => layers.indexOf(layer) !== i)
  if (repeated !== undefined) throw new RangeError(`alignLayers names layer ${repeated} twice`)
  if (layers.length === 0) throw new RangeError("alignLayers names no layer")
  return layers
}

/** Weight of the alignment at a step (from 0): from the first to the last along half a cosine; 0 where the first is. */
export const alignmentWeight = (
  { reprAlignWt: first, reprAlignWtFinal: last = first }: AlignmentSettings,
  step: number,
  steps: number
): number => (first === 0 ? 0 : last + (first - last) * 0.5 * (1 + Math.cos((Math.PI * step) / steps)))
