/** The settings of a training that every method has, and what methods write theirs with. */
import { Schema } from "effect"
import type { Contradiction } from "../../config/consistent.ts"
import { Count, PositiveInt, setting } from "../../config/setting.ts"
import { hybridBidirectionals } from "../../models/config.ts"
import { TrainSettings } from "../../training/model.ts"

/** Of every method. */
const commonFields = {
  ...TrainSettings.fields,
  /** Added to the seed: which of several trainings of one row this is (`--seeds`) */
  seedOffset: setting(Count, 0),
  /** Whether training starts from the weights of the autoregressive model; false (a control) from fresh ones of its architecture */
  pretrained: setting(Schema.Boolean, true),
  /**
   * Block-causal attention (a control, and what `bd3lm` is made of): a token sees the tokens of its own block of this size and of earlier blocks of its document. By default the value in the model's `config.json`; without one, 32 for `bd3lm`, and the whole document for the others
   */
  attentionBlockSize: Schema.optionalKey(PositiveInt),
  /**
   * Which layers of a hybrid model (one with recurrent layers) read both directions. `attn_only`: attention layers see all, the others go from left to right; `two_scan`: the others also go from right to left, with the same weights, and take the mean; `none`: every layer goes from left to right. By default the value in the model's `config.json`, or `attn_only` without one
   */
  hybridBidirectional: Schema.optionalKey(Schema.Literals(hybridBidirectionals))
} as const

/** Of every method, too: what is measured during training. */
const measuredFields = {
  /** Held-out sequences that are measured during training, at even distances; by default all */
  evalSequences: Schema.optionalKey(PositiveInt)
} as const

/** Of methods that have no bound of the likelihood. */
export const unboundFields = { ...commonFields, ...measuredFields } as const
export type CommonSettings = Schema.Struct<typeof unboundFields>["Type"]

/** Of methods whose losses bound the likelihood. */
export const boundFields = {
  ...commonFields,
  /** Draws of masks per held-out sequence for the bound that is measured during training */
  evalDraws: setting(PositiveInt, 8),
  ...measuredFields
} as const

/** What a method cannot do without: `lacking` says what is not there. */
export const needs =
  <A>(method: string, lacking: (settings: A) => string | undefined) =>
  (settings: A): Contradiction | undefined => {
    const what = lacking(settings)
    return what === undefined ? undefined : { fields: ["method"], why: `${method} needs ${what}` }
  }

/** Fresh parameters cannot stay as they are. */
export const freshAreTrained = ({ freeze, pretrained }: CommonSettings): Contradiction | undefined =>
  pretrained || freeze.length === 0
    ? undefined
    : { fields: ["pretrained", "freeze_layers"], why: "what is frozen would stay as it was drawn" }
