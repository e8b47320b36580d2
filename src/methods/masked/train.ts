/** Masked diffusion and nothing beside it. */
import { Effect } from "effect"
import { trainModel } from "../../training/model.ts"
import type { TrainContext } from "../shared/context.ts"
import type { MaskedParameters } from "./settings.ts"
import { openBase } from "../shared/base.ts"
import { maskedTraining } from "../shared/maskedTraining.ts"

export const run = Effect.fn("train by masks")(function* (context: TrainContext<typeof MaskedParameters.Type>) {
  yield* trainModel(context, yield* maskedTraining(context, yield* openBase(context)))
})
