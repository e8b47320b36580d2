/** Masked diffusion with a latent model beside it. */
import { Effect } from "effect"
import { colaReconstruction } from "./reconstruction.ts"
import { evenly } from "../../evaluation/selection.ts"
import { colaFormat, colaShape, colaSpecs } from "./networks.ts"
import type { ModelTraining } from "../../training/model.ts"
import { colaObjective } from "./objective.ts"
import type { Training } from "../Method.ts"
import type { SettingsOf } from "../settings.ts"
import { attempt } from "../shared/base.ts"
import { maskedTraining } from "../shared/maskedTraining.ts"

/** Held-out sequences that are reconstructed during training. */
const measuredSequences = 16

export const training: Training<SettingsOf<"cola">>["training"] = Effect.fn("train with a latent model")(
  function* (given) {
    const { base, settings } = given
    const { config, heldOut, length, mask, tokenizer } = base
    yield* attempt("cola_…", () => colaShape(settings, config, length))
    const masked = yield* maskedTraining(given, (model, diffusion, data, teacher, trajectories) =>
      colaObjective(model, { ...settings, ...diffusion }, { ...data, seed: settings.seed }, teacher, trajectories)
    )
    const measured = evenly(
      heldOut.map(({ ids }) => ids),
      measuredSequences
    )
    return {
      ...masked,
      parameters: [
        ...masked.parameters,
        ...colaSpecs(settings, config, settings).map(spec => ({ ...spec, rateFactor: settings.colaLrFactor }))
      ],
      fields: { ...masked.fields, ...colaFormat.encode({ architecture: settings }) },
      evaluation: (engine, trained, rows) =>
        Effect.gen(function* () {
          const plain = yield* masked.evaluation(engine, trained, rows)
          if (!settings.colaVae) return plain
          const shape = { rows, length, mask, pad: tokenizer.padId }
          const reconstruct = yield* colaReconstruction(engine, config, trained, settings, shape)
          return Effect.gen(function* () {
            const { accuracy, loss } = yield* reconstruct(measured)
            return { ...(yield* plain), reconstruction_accuracy: accuracy, reconstruction_loss: loss }
          })
        })
    } satisfies ModelTraining
  }
)
