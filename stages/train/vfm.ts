/** A noise adapter, trained beside a base that stays as it is, or with it. */
import { Effect } from "effect"
import { randomMasking } from "../../src/diffusion/corruption.ts"
import { vfmTokenLosses } from "../../src/decoding/latent/vfmTokenLosses.ts"
import { vfmFormat, vfmSpecs } from "../../src/models/latent/vfm.ts"
import { permanent } from "../../src/pipeline/StageError.ts"
import { languageModel, trainModel } from "../../src/training/model.ts"
import { vfmObjective } from "../../src/training/objectives/vfm.ts"
import type { ContextOf } from "../train.ts"
import { attempt, heldOutBound, openBase, startOf } from "./base.ts"

export const run = Effect.fn("train a noise adapter")(function* (context: ContextOf<"vfm">) {
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
    parameters: vfm.freezeBase ? adapter : [...parameters, ...adapter],
    fixed: vfm.freezeBase ? parameters : [],
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
