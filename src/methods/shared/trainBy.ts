/** The stage `train`, whatever the method: the base is opened, the method says what is trained on it, and that is trained. */
import { Effect } from "effect"
import { permanent, type StageError } from "../../pipeline/StageError.ts"
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
  training: (given: TrainingGiven<Settings>) => Effect.Effect<ModelTraining, StageError>,
  /** Fields of the base's `config.json` that say what it was before: other methods', by which the new model would be taken for one of theirs. */
  outdated: ReadonlyArray<string> = []
) {
  const { inputs, parameters } = context
  const settings = { ...parameters, seed: parameters.seed + parameters.seedOffset }
  const base = yield* openBase(inputs, settings)
  const made = yield* training({ base, settings, inputs })
  if (base.config.linear?.adapter !== undefined && made.parameters !== base.start.parameters)
    return yield* permanent(
      "the base has an adapter, and networks that are trained beside it have no place in such a model",
      "merge the base first (the stage merge, or pipeline export --to merged)"
    )
  const fields = Object.fromEntries(Object.entries(made.fields).filter(([name]) => !outdated.includes(name)))
  yield* trainModel(context, { ...made, fields })
})
