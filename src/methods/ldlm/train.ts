/** LDLM: latents, their diffusion model and their decoders, trained beside a base that stays as it is. */
import { Effect } from "effect"
import { windowsOf } from "../../tokens/windows.ts"
import { ldlmReconstruction } from "./reconstruction.ts"
import { evenly } from "../../evaluation/selection.ts"
import { ldlmFormat, ldlmShape, ldlmSpecs } from "./networks.ts"
import { untrained } from "../../models/parameters.ts"
import { permanent } from "../../pipeline/StageError.ts"
import { languageModel, trainModel } from "../../training/model.ts"
import { ldlmObjective, statisticsIn } from "./objective.ts"
import type { TrainContext } from "../shared/context.ts"
import type { LdlmParameters } from "./settings.ts"
import { attempt, openBase, startOf } from "../shared/base.ts"

/** Held-out pieces that are reconstructed during training. */
const measuredPieces = 64

export const run = Effect.fn("train LDLM")(function* (context: TrainContext<typeof LdlmParameters.Type>) {
  const settings = context.parameters
  const { ldlm } = settings
  if (ldlm === undefined) return yield* Effect.die(new Error("parameters of the method ldlm without its group"))
  if (!settings.pretrained)
    return yield* permanent(
      "train.method is ldlm, but train.pretrained is false",
      "latents are made of the states of the base, which this method does not train"
    )
  if (settings.attentionBlockSize !== undefined)
    return yield* permanent(
      `train.method is ldlm, but train.attention_block_size is ${settings.attentionBlockSize}`,
      "the base reads text causally, in blocks or not; leave the field out"
    )
  const base = yield* openBase(context)
  const { config, examples, tokenizer } = base
  yield* attempt("ldlm", () => ldlmShape(ldlm, config))
  const shape = { prompt: ldlm.promptLength, length: ldlm.seqLen }
  const windows = windowsOf(
    examples.map(({ ids }) => ids.length),
    shape
  )
  const heldOut = base.heldOut.map(({ ids }) => ids)
  const measured = evenly(
    windowsOf(
      heldOut.map(ids => ids.length),
      shape
    ),
    measuredPieces
  )
  const { aliases, architecture, parameters } = languageModel(config)
  yield* trainModel(context, {
    ...startOf(base, settings),
    parameters: [...ldlmSpecs(ldlm, config), ...untrained(parameters)],
    aliases,
    architecture,
    settings,
    lengths: windows.map(() => shape.length),
    rowLength: shape.length,
    objective: ({ epochs, microBatchRows }) =>
      ldlmObjective(config, ldlm, {
        sequences: examples,
        windows,
        epochs,
        microBatchRows,
        pad: tokenizer.padId,
        seed: settings.seed
      }),
    evaluation: (engine, trained, rows, memory) =>
      Effect.map(ldlmReconstruction(engine, config, trained, ldlm, { rows, pad: tokenizer.padId }), reconstruct =>
        Effect.suspend(() =>
          Effect.map(reconstruct(heldOut, measured, statisticsIn(memory())), ({ accuracy, loss }) => ({
            reconstruction_accuracy: accuracy,
            reconstruction_loss: loss
          }))
        )
      ),
    remembered: memory => ldlmFormat.encode({ architecture: ldlm, statistics: statisticsIn(memory) })
  })
})
