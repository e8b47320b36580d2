/** A noise adapter, trained beside a base that stays as it is, or with it. */
import { Effect } from "effect"
import { randomMasking } from "../shared/masks/corruption.ts"
import { countLabelled } from "../shared/masks/corruptedRows.ts"
import { makeMaskedLosses } from "../../sessions/maskedLosses.ts"
import { vfmReading } from "./reading.ts"
import { vfmFormat, vfmSpecs } from "./networks.ts"
import { untrained } from "../../models/parameters.ts"
import type { ModelTraining } from "../../training/model.ts"
import { vfmObjective } from "./objective.ts"
import type { Training } from "../Method.ts"
import type { SettingsOf } from "../settings.ts"
import { attempt, heldOutBound } from "../shared/base.ts"

export const training: Training<SettingsOf<"vfm">>["training"] = Effect.fn("train a noise adapter")(function* ({
  base,
  settings
}) {
  const { config, examples, length, mask, sequences, start, tokenizer } = base
  const vfm = settings.vfm!
  const data = {
    sequences,
    length,
    pad: tokenizer.padId,
    mask,
    masking: randomMasking(examples, settings, settings.seed),
    averaging: settings.averaging,
    seed: settings.seed
  }
  // Settings that do not fit are refused before anything is computed.
  yield* attempt("vfm", () =>
    vfmObjective(config, vfm, { ...data, epochs: { rows: () => [], steps: () => 0 }, microBatchRows: 1 })
  )
  const adapter = vfmSpecs(vfm, config).map(spec => ({ ...spec, rateFactor: vfm.lrFactor }))
  return {
    ...start,
    fields: { ...start.fields, token_shift: vfm.tokenShift, ...vfmFormat.encode({ architecture: vfm }) },
    parameters: vfm.freezeBase ? [...adapter, ...untrained(start.parameters)] : [...start.parameters, ...adapter],
    settings,
    objective: batch => vfmObjective(config, vfm, { ...data, ...batch }),
    labelled:
      ({ epochs }) =>
      step =>
        countLabelled(epochs.rows(step), step, data),
    evaluation: (engine, trained, rows) =>
      Effect.map(
        makeMaskedLosses(engine, config, trained, {
          rows,
          length,
          ...vfmReading(config, vfm, { rows, length, mask, seed: 0 })
        }),
        losses => heldOutBound(base, losses, { draws: settings.evalDraws, rows })
      )
  } satisfies ModelTraining
})
