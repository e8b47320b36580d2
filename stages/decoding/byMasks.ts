/** What is asked of methods that decode by masks, beside what is asked of all: how masks are revealed, and the bound of the likelihood. */
import { Schema } from "effect"
import { inBlocks } from "../../src/decoding/blockSettings.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import { HowMany } from "../evaluate/heldOut.ts"
import { DiffusionDecoding } from "../../src/decoding/diffusion.ts"

const Decoding = Schema.Struct({
  ...DiffusionDecoding.fields,
  steps: Schema.optionalKey(Schema.Never),
  ...inBlocks.fields
}).check(inBlocks.check)

/** Decoding, by default with these settings. */
export const decoding = (settings: (typeof Decoding)["Encoded"]) => setting(Decoding, settings)

/** How the bound and what follows from its passes are measured. */
export const boundFields = {
  /** Draws of masks per sequence, one in each of as many strata of the share of masks. One would have no error */
  draws: setting(Schema.Int.check(Schema.isGreaterThanOrEqualTo(2)), 8),
  /** Bands of equal width of the share of masks, for each of which the loss is shown */
  bands: setting(PositiveInt, 5),
  /** How many sequences of each held-out document the distance from the teacher is measured on, from its beginning on, or `all` */
  distanceSequences: setting(HowMany, 1)
} as const
