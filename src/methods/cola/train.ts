/** Masked diffusion with a latent model beside it. */
import { Effect } from "effect"
import { colaReconstruction } from "./reconstruction.ts"
import { evenly } from "../../evaluation/selection.ts"
import { colaFormat, colaShape, colaSpecs } from "./networks.ts"
import { trainModel } from "../../training/model.ts"
import { colaObjective } from "./objective.ts"
import type { TrainContext } from "../shared/context.ts"
import type { ColaParameters } from "./settings.ts"
import { attempt, openBase } from "../shared/base.ts"
import { maskedTraining, withLayersOf } from "../shared/maskedTraining.ts"

/** Held-out sequences that are reconstructed during training. */
const measuredSequences = 16

export const run = Effect.fn("train with a latent model")(function* (
  context: TrainContext<typeof ColaParameters.Type>
) {
  const base = yield* openBase(context)
  const { config, length, mask, tokenizer } = base
  const settings = withLayersOf(context.parameters, config)
  yield* attempt("cola_…", () => colaShape(settings, config, length))
  const training = yield* maskedTraining(context, base, settings, (model, diffusion, data, teacher, trajectories) =>
    colaObjective(model, { ...settings, ...diffusion }, { ...data, seed: settings.seed }, teacher, trajectories)
  )
  const measured = evenly(
    base.heldOut.map(({ ids }) => ids),
    measuredSequences
  )
  yield* trainModel(context, {
    ...training,
    parameters: [...training.parameters, ...colaSpecs(settings, config)],
    fields: { ...training.fields, ...colaFormat.encode({ architecture: settings }) },
    evaluation: (engine, trained, rows, memory) =>
      Effect.gen(function* () {
        const plain = yield* training.evaluation(engine, trained, rows, memory)
        if (!settings.colaVae) return plain
        const shape = { rows, length, mask, pad: tokenizer.padId }
        const reconstruct = yield* colaReconstruction(engine, config, trained, settings, shape)
        return Effect.gen(function* () {
          const { accuracy, loss } = yield* reconstruct(measured)
          return { ...(yield* plain), reconstruction_accuracy: accuracy, reconstruction_loss: loss }
        })
      })
  })
})
