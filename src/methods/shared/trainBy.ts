/** The stage `train`, whatever the method: the base is opened, the method says what is trained on it, and that is trained. */
import { Effect } from "effect"
import type { StageError } from "../../pipeline/StageError.ts"
import { type ModelTraining, trainModel, type TrainingContext } from "../../training/model.ts"
import { type Base, openBase } from "./base.ts"
import type { TrainInputs } from "./context.ts"
import type { CommonSettings } from "./settings.ts"

/** What a method makes a training of. */
export interface TrainingGiven<Settings> {
  readonly base: Base
  readonly settings: Settings
  readonly inputs: TrainInputs
}

export const trainBy = Effect.fn("trainBy")(function* <Settings extends CommonSettings>(
  context: TrainingContext & { readonly inputs: TrainInputs; readonly parameters: Settings },
  training: (given: TrainingGiven<Settings>) => Effect.Effect<ModelTraining, StageError>
) {
  const { inputs, parameters } = context
  const settings = { ...parameters, seed: parameters.seed + parameters.seedOffset }
  const base = yield* openBase(inputs, settings)
  yield* trainModel(context, yield* training({ base, settings, inputs }))
})
