/** A noise adapter, trained beside a base that stays as it is, or with it. */
import { Effect } from "effect"
import { randomMasking } from "../shared/masks/corruption.ts"
import { vfmTokenLosses } from "./tokenLosses.ts"
import { vfmFormat, vfmSpecs } from "./networks.ts"
import { untrained } from "../../models/parameters.ts"
import { permanent } from "../../pipeline/StageError.ts"
import { languageModel, trainModel } from "../../training/model.ts"
import { vfmObjective } from "./objective.ts"
import type { TrainContext } from "../shared/context.ts"
import type { VfmParameters } from "./settings.ts"
import { attempt, heldOutBound, openBase, startOf } from "../shared/base.ts"

export const run = Effect.fn("train a noise adapter")(function* (context: TrainContext<typeof VfmParameters.Type>) {
  const settings = context.parameters
  const { vfm } = settings
  if (vfm === undefined) return yield* Effect.die(new Error("parameters of the method vfm without its group"))
  if (vfm.freezeBase && !settings.pretrained)
    return yield* permanent(
      "train.pretrained is false, but vfm.freeze_base is true",
      "a base of fresh parameters has to be trained: set vfm.freeze_base to false"
    )
  const base = yield* openBase(context)
  const { config, examples, length, mask, sequences, tokenizer } = base
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
  const { aliases, architecture, parameters } = languageModel(config)
  const adapter = vfmSpecs(vfm, config)
  const start = startOf(base, settings)
  yield* trainModel(context, {
    ...start,
    fields: {
      ...start.fields,
      token_shift: vfm.tokenShift,
      ...vfmFormat.encode({ architecture: vfm })
    },
    parameters: vfm.freezeBase ? [...adapter, ...untrained(parameters)] : [...parameters, ...adapter],
    aliases,
    architecture,
    settings,
    lengths: sequences.map(ids => ids.length),
    rowLength: length,
    objective: batch => vfmObjective(config, vfm, { ...data, ...batch }),
    evaluation: (engine, trained, rows) =>
      Effect.map(vfmTokenLosses(engine, config, trained, vfm, { rows, length, mask, seed: 0 }), losses =>
        heldOutBound(base, losses, { draws: settings.evalDraws, rows })
      )
  })
})
