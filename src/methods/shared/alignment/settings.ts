/** Settings of representation alignment. */
import { Schema } from "effect"
import { NonNegative, PositiveInt, setting } from "../../../config/setting.ts"
import type { ModelConfig } from "../../../models/config.ts"
import { ReplaySettings } from "./replay.ts"

/** Fields of the field's training configurations, in our spelling. */
export const AlignmentSettings = Schema.Struct({
  /** Weight of the alignment loss at the beginning; 0 turns it off */
  reprAlignWt: setting(NonNegative, 0),
  /** Weight of the alignment loss at the end, reached along half a cosine; by default as at the beginning */
  reprAlignWtFinal: Schema.optionalKey(NonNegative),
  /** Layers that are aligned: 0 is the embedding, 1 the output of the first layer; by default 1 to the last */
  alignLayers: Schema.optionalKey(Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))),
  /** Layers that a step aligns, drawn anew, each as often as the others; by default all of `align_layers` */
  reprAlignNumSampleLayers: Schema.optionalKey(PositiveInt),
  /** Share of the positions that a step aligns, at least one, drawn anew */
  reprAlignSubSampleRatio: setting(Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)), 1),
  /** Weights of layers grow as exp(this x layer / number of layers); 0: all weigh the same */
  reprAlignLayerExp: setting(Schema.Finite, 0),
  /** Positions: `loss_columns` predict masked tokens, `unmasked` read a clean token, or `all` */
  reprAlignPositions: setting(Schema.Literals(["loss_columns", "unmasked", "all"]), "loss_columns"),
  /** Distance of states: `cosine`, 1 minus the cosine, or `angular`, the angle in radians */
  reprAlignLossMode: setting(Schema.Literals(["cosine", "angular"]), "cosine"),
  /** Of `angular`: angles below this, in radians, are not penalised */
  reprAlignAngularMargin: setting(NonNegative, 0),
  /** InfoNCE in place of the distance: a state must tell its teacher's from those of the other positions */
  reprAlignContrastive: setting(Schema.Boolean, false),
  /** Temperature of InfoNCE */
  reprAlignContrastiveTemp: setting(Schema.Finite.check(Schema.isGreaterThan(0)), 0.07),
  /** Weight of the cosine distance between mean states of blocks of a sequence; 0 turns it off */
  subgoalAlignWt: setting(NonNegative, 0),
  /** Contiguous blocks that a sequence is cut into for `subgoal_align_wt` */
  subgoalAlignNBlocks: setting(PositiveInt, 4),
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
  const layers = alignLayers ?? Array.from({ length: config.layers.length }, (_, i) => i + 1)
  const wrong = layers.find(layer => layer > config.layers.length)
  if (wrong !== undefined)
    throw new RangeError(
      `there is no layer ${wrong} to align; the model has layers 1 to ${config.layers.length}, and the embedding, 0`
    )
  const repeated = layers.find((layer, i) => layers.indexOf(layer) !== i)
  if (repeated !== undefined) throw new RangeError(`layer ${repeated} is to be aligned twice`)
  if (layers.length === 0) throw new RangeError("no layer is to be aligned")
  return layers
}

/** Weight of the alignment at a step (from 0): from the first to the last along half a cosine; 0 where the first is. */
export const alignmentWeight = (
  { reprAlignWt: first, reprAlignWtFinal: last = first }: AlignmentSettings,
  step: number,
  steps: number
): number => (first === 0 ? 0 : last + (first - last) * 0.5 * (1 + Math.cos((Math.PI * step) / steps)))
