/** Masked diffusion and nothing beside it. */
import { Effect } from "effect"
import { trainModel } from "../../src/training/model.ts"
import type { ContextOf } from "../train.ts"
import { openBase } from "./base.ts"
import { maskedTraining } from "./maskedTraining.ts"

export const run = Effect.fn("train by masks")(function* (context: ContextOf<"masked">) {
  yield* trainModel(context, yield* maskedTraining(context, yield* openBase(context)))
})
