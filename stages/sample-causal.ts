/** Lets a causal language model answer the questions of a task, token by token, perhaps with drafts: what diffusion is measured beside. A sample is an item of its own, as in `sample`. */
import { Effect, Schema } from "effect"
import { ModelFiles, Questions, Samples } from "../src/artifacts/kinds.ts"
import { NonNegative, PositiveInt, setting } from "../src/config/setting.ts"
import { Sampling } from "../src/decoding/sampling.ts"
import { makeEngine } from "../src/engines/make.ts"
import { filesOf, loadModel } from "../src/models/artifact.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { causalGenerator } from "../src/sessions/autoregressive.ts"
import { makeSampleSet, sampleFields } from "./evaluate/sampleSet.ts"
import { continuePrompts } from "./evaluate/sampling.ts"

/** How tokens are drawn. */
const Decoding = Schema.Struct({
  ...Sampling.fields,
  /** Logits are divided by it before a token is drawn; 0 takes the likeliest */
  temperature: setting(NonNegative, 0)
})

export const sampleCausal = Stage.make("sample-causal", {
  inputs: {
    model: ModelFiles,
    questions: Questions,
    /** A diffusion model that drafts; left out where `draftTokens` is given, the model itself does. */
    drafter: Artifact.optional(ModelFiles)
  },
  parameters: Schema.Struct({
    ...sampleFields,
    decoding: setting(Decoding, {}),
    /** Tokens that are drafted at once by diffusion and verified: the answers are the same, in fewer passes. By default none */
    draftTokens: Schema.optionalKey(PositiveInt)
  }),
  outputs: { samples: Samples },
  items: { inputs: ["model", "drafter"], parameters: ["newTokens", "seed", "decoding", "draftTokens"] },
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("sample-causal")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { decoding, draftTokens, newTokens, samples, seed } = parameters
      const { drafter, questions } = inputs
      if (drafter !== undefined && draftTokens === undefined)
        return yield* permanent("there is a drafter, but nothing says how much it drafts", "set draftTokens")
      const set = {
        questions,
        output: outputs.samples,
        samples,
        weights: inputs.model.digest,
        settings: {
          method: "autoregressive",
          newTokens,
          seed,
          decoding,
          ...(draftTokens === undefined ? {} : { draftTokens, drafter: (drafter ?? inputs.model).digest })
        },
        metric,
        progress
      }
      yield* makeSampleSet(set, (missing, keep, task) =>
        Effect.gen(function* () {
          if (missing.some(({ question }) => question.gap !== undefined))
            return yield* permanent(
              `${task} has gaps in its texts, which are not filled token by token`,
              "leave its autoregressive decodings out"
            )
          const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
          const model = yield* loadModel(engine, yield* filesOf(inputs.model))
          const speculation =
            draftTokens === undefined
              ? undefined
              : {
                  drafter: drafter === undefined ? model : yield* loadModel(engine, yield* filesOf(drafter)),
                  draftTokens: Math.min(draftTokens, newTokens)
                }
          yield* continuePrompts({ engine, model, newTokens, steps: newTokens, seed, keep }, missing, shape =>
            causalGenerator(engine, model, shape, decoding, speculation)
          )
        })
      )
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
