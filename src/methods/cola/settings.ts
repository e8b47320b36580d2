/** The settings of masked diffusion with a latent model beside it: those of masked diffusion, and the latent model's own. */
import { Schema } from "effect"
import { consistent } from "../../config/consistent.ts"
import { Count, NonNegative, Positive, setting, Share } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { latentStarts } from "../shared/latents/alignedStart.ts"
import { ColaArchitecture } from "./networks.ts"
import { trainNames } from "../../training/model.ts"
import { needs } from "../shared/settings.ts"
import { maskedFields, maskedRules } from "../masked/settings.ts"

export const ColaSettings = Schema.Struct({
  ...ColaArchitecture.fields,
  /** Weight of the latent model's losses: above 0 with the method `cola`, 0 with all others */
  colaWt: setting(NonNegative, 0),
  /** Learning rate of the latent model, as a multiple of the student's: its networks are new, and the student is not */
  colaLrFactor: setting(Positive, 1),
  /** The student is not trained by the latent model's losses */
  colaDetachStudent: setting(Schema.Boolean, true),
  /** The text whose states of the student the encoder reads: the clean text; or, as in the seed, the masked text, from which latents can tell nothing new */
  colaSource: setting(Schema.Literals(["clean", "masked"]), "clean"),
  /** The diffusion loss does not reach the encoder; false as in the seed, where it can make latents easy by emptying them */
  colaStopGradient: setting(Schema.Boolean, true),
  /** Local latents begin as the positions that they stand for, and attention to text and to latents compares places as they are; or everything is drawn at random, and training must first find out which latent stands for what */
  colaLatentStart: setting(Schema.Literals(latentStarts), "aligned"),
  /** Standard deviation of the latents' distribution in the first step; small, so that there is something to read before the divergence makes it wider */
  colaStartSigma: setting(Positive, 0.1),
  /** Weight of the latents' divergence from the standard normal distribution */
  colaBeta: setting(NonNegative, 1e-3),
  /** Steps over which this weight rises from 0 along a line */
  colaBetaWarmupSteps: setting(Count, 0),
  /** card with a coupled tail: share of it that is noised */
  colaLambdaTail: setting(Share, 0.6),
  /** card: the length of the noised tail is drawn on its own; or, as in the seed, follows the noise and never reaches the beginning */
  colaTail: setting(Schema.Literals(["drawn", "coupled"]), "drawn"),
  /** Share of the examples whose condition is hidden from the diffusion model */
  colaConditionDropout: setting(Share, 0.1)
})
export type ColaSettings = typeof ColaSettings.Type

/** Parameters of the stage `train` with this method. */
export const ColaParameters = snakeKeys(
  Schema.Struct({ ...ColaSettings.fields, method: Schema.Literal("cola"), ...maskedFields }),
  trainNames
).check(
  consistent(
    needs("cola", ({ colaWt }) => (colaWt === 0 ? "a weight: set cola_wt above 0" : undefined)),
    ({ colaLatentStart, colaPositions }) =>
      colaPositions || colaLatentStart === "random"
        ? undefined
        : { fields: ["cola_positions", "cola_latent_start"], why: "an aligned start needs learned positions" },
    ...maskedRules
  )
)
