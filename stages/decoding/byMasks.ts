/** What is asked of methods that decode by masks, beside what is asked of all: how masks are revealed, and the bound of the likelihood. */
import { Schema } from "effect"
import { inBlocks } from "../../src/decoding/blocks.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import { DiffusionDecoding } from "../../src/decoding/diffusion.ts"

const Decoding = Schema.Struct({
  ...DiffusionDecoding.fields,
  steps: Schema.optionalKey(Schema.Never),
  ...inBlocks.fields
}).check(inBlocks.check)

/** Decoding, by default with these settings. */
export const decoding = (settings: (typeof Decoding)["Encoded"]) => setting(Decoding, settings)

/** How the bound and the losses are measured. */
export const boundFields = {
  /** Draws of masks per sequence for the bound. One would have no error */
  draws: setting(Schema.Int.check(Schema.isGreaterThanOrEqualTo(2)), 3),
  /** Shares of masks at which the loss is measured */
  ratios: setting(Schema.Array(Schema.Finite), [0.1, 0.3, 0.5, 0.7, 0.9]),
  /** Sequences that it is measured on, at even distances among those of the bound */
  ratioSequences: setting(PositiveInt, 12)
} as const
