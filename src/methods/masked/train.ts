/** Masked diffusion and nothing beside it. */
import type { Training } from "../Method.ts"
import type { SettingsOf } from "../settings.ts"
import { maskedTraining } from "../shared/maskedTraining.ts"

export const training: Training<SettingsOf<"masked">>["training"] = given => maskedTraining(given)
