/** Block diffusion: masks in all blocks of a sequence at once, each block read behind clean ones. */
import { Effect } from "effect"
import { isHybrid } from "../../models/config.ts"
import { permanent } from "../../pipeline/StageError.ts"
import { makeMaskedLosses } from "../../sessions/maskedLosses.ts"
import type { ModelTraining } from "../../training/model.ts"
import type { Training } from "../Method.ts"
import type { SettingsOf } from "../settings.ts"
import { isAligned } from "../shared/alignment/settings.ts"
import { heldOutBound } from "../shared/base.ts"
import { mustBeTrained, teacherStates, withLayersOf } from "../shared/maskedTraining.ts"
import { countLabelled } from "../shared/masks/corruptedRows.ts"
import { diffusionObjective } from "../shared/masks/objective.ts"
import { diffusionObservers } from "../shared/observers.ts"
import { blockMasking } from "./corruption.ts"

export const training: Training<SettingsOf<"bd3lm">>["training"] = Effect.fn("train block diffusion")(function* ({
  base,
  inputs,
  settings: written
}) {
  const { config, examples, length, mask, sequences, start, tokenizer } = base
  if (isHybrid(config))
    return yield* permanent(
      `a model of the family ${config.family} has recurrent layers, which cannot read a noisy and a clean half in one pass, as bd3lm trains`,
      "train it by the method masked with attention_block_size: its blocks then follow earlier ones with masks among them"
    )
  if (config.linear?.adapter !== undefined)
    return yield* permanent(
      "the base has an adapter, whose files do not say that it was trained by bd3lm",
      "merge the base first (the stage merge, or pipeline export --to merged)"
    )
  yield* mustBeTrained(config)
  const settings = withLayersOf(written, config)
  const { seed } = settings
  const states = yield* teacherStates(inputs.anchors, { config, ids: sequences, settings })
  const data = {
    sequences,
    length,
    pad: tokenizer.padId,
    mask,
    masking: blockMasking(examples, settings, seed),
    halves: true
  } as const
  return {
    ...start,
    settings,
    fields: {
      ...start.fields,
      /** By which the method is known; what stands here says how much of a block was masked. */
      bd3lm: { sampling_eps_min: settings.samplingEpsMin, sampling_eps_max: settings.samplingEpsMax }
    },
    objective: ({ steps, ...batch }) =>
      diffusionObjective(
        config,
        settings,
        { ...batch, ...data, averaging: settings.averaging },
        isAligned(settings) ? { settings, steps, seed, ...(states === undefined ? {} : { states }) } : undefined
      ),
    labelled:
      ({ epochs }) =>
      step =>
        countLabelled(epochs.rows(step), step, data),
    evaluation: (engine, trained, rows) =>
      Effect.map(makeMaskedLosses(engine, config, trained, { rows, length, halves: true }), losses =>
        heldOutBound(base, losses, { draws: settings.evalDraws, rows, blockSize: settings.attentionBlockSize })
      ),
    observers: ({ engine, epochs }) =>
      diffusionObservers(engine, config, settings, { ...data, epochs, seed, tokenizer })
  } satisfies ModelTraining
})
