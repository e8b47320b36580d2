/** LDLM: latents, their diffusion model and their decoders, trained beside a base that stays as it is. */
import { Effect } from "effect"
import { learntIn, windowsOf } from "../../tokens/windows.ts"
import { ldlmReconstruction } from "./reconstruction.ts"
import { evenly } from "../../evaluation/selection.ts"
import { ldlmFormat, ldlmShape, ldlmSpecs } from "./networks.ts"
import { untrained } from "../../models/parameters.ts"
import type { ModelTraining } from "../../training/model.ts"
import { ldlmObjective, scalesIn } from "./objective.ts"
import type { Training } from "../Method.ts"
import type { SettingsOf } from "../settings.ts"
import { attempt } from "../shared/base.ts"

/** Held-out pieces that are reconstructed during training. */
const measuredPieces = 64

export const training: Training<SettingsOf<"ldlm">>["training"] = Effect.fn("train LDLM")(function* ({
  base,
  settings
}) {
  const { config, examples, sequences, start, tokenizer } = base
  const ldlm = settings.ldlm!
  yield* attempt("ldlm", () => ldlmShape(ldlm, config))
  const windowed = (texts: ReadonlyArray<Int32Array>, begins?: ReadonlyArray<number>) =>
    windowsOf(
      texts.map(ids => ids.length),
      { prompt: ldlm.promptLength, length: ldlm.seqLen },
      begins
    )
  // A response is made behind its prompt, and learnt so.
  const windows = windowed(
    sequences,
    examples.map(({ lossMask }) => Math.max(0, lossMask.indexOf(1)))
  )
  const heldOut = base.heldOut.map(({ ids }) => ids)
  const measured = evenly(windowed(heldOut), measuredPieces)
  return {
    ...start,
    parameters: [
      ...ldlmSpecs(ldlm, config, ldlm.latentStart).map(spec => ({ ...spec, rateFactor: ldlm.lrFactor })),
      ...untrained(start.parameters)
    ],
    settings,
    lengths: windows.map(() => ldlm.seqLen),
    rowLength: ldlm.seqLen,
    objective: ({ epochs, microBatchRows }) =>
      ldlmObjective(config, ldlm, {
        sequences: examples,
        windows,
        epochs,
        microBatchRows,
        pad: tokenizer.padId,
        seed: settings.seed
      }),
    labelled:
      ({ epochs }) =>
      step =>
        epochs.rows(step).reduce((sum, [window]) => sum + learntIn(windows[window!]!, examples), 0),
    evaluation: (engine, trained, rows, state) =>
      Effect.map(ldlmReconstruction(engine, config, trained, ldlm, { rows, pad: tokenizer.padId }), reconstruct =>
        Effect.suspend(() =>
          Effect.map(reconstruct(heldOut, measured, scalesIn(state()).states), ({ accuracy, loss }) => ({
            reconstruction_accuracy: accuracy,
            reconstruction_loss: loss
          }))
        )
      ),
    finalFields: state => ldlmFormat.encode({ architecture: ldlm, statistics: scalesIn(state) })
  } satisfies ModelTraining
})
