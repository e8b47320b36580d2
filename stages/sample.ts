/** Lets a model answer the questions of a task, each several times. A sample is an item of its own: a problem or a sample more asks only for that. */
import { Effect } from "effect"
import { ModelFiles, Questions, Samples } from "../src/artifacts/kinds.ts"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { inBlocks } from "../src/decoding/blockSettings.ts"
import type { DiffusionDecoding } from "../src/decoding/diffusion.ts"
import { makeEngine } from "../src/engines/make.ts"
import { filesOf } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import * as latents from "./decoding/byLatents.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { decodingOf } from "./evaluate/asking.ts"
import { makeSampleSet, sampleFields } from "./evaluate/sampleSet.ts"
import { continuePrompts, fillAll, type Sampling } from "./evaluate/sampling.ts"

export const sampleMethods = parametersOf(
  {
    ...sampleFields,
    /** Denoising steps of a sample */
    steps: setting(PositiveInt, 128)
  },
  () => ({ decoding: masks.decoding({ temperature: 0 }) }),
  () => ({ decoding: latents.decoding({ temperature: 0 }) })
)

export const sample = Stage.make("sample", {
  inputs: { model: ModelFiles, questions: Questions },
  parameters: byMethod("method", "masked", sampleMethods),
  outputs: { samples: Samples },
  items: { inputs: ["model"], parameters: ["method", "newTokens", "steps", "seed", "decoding"] },
  methods: decodingMethods,
  engine: true,
  // Decoding is a chain of passes, each of which a processor or two keep busy.
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("sample")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { decoding, method, newTokens, samples, seed, steps } = parameters
      const set = {
        questions: inputs.questions,
        output: outputs.samples,
        samples,
        weights: inputs.model.digest,
        settings: { method, newTokens, steps, seed, decoding },
        metric,
        progress
      }
      yield* makeSampleSet(set, (missing, keep, task) =>
        Effect.gen(function* () {
          const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
          const { model, own } = yield* modelOf(method, engine, yield* filesOf(inputs.model))
          const sampling: Sampling<never> = { engine, model, newTokens, steps, seed, keep }
          const gaps = missing.filter(({ question }) => question.gap !== undefined)
          if (gaps.length > 0 && (method !== "masked" || !("alg" in decoding)))
            return yield* permanent(
              `${task} has gaps in its texts, which models of the method ${method} do not fill`,
              "ask a model of the method masked"
            )
          const blocks = Object.keys(inBlocks.fields).filter(field => field in decoding)
          if (gaps.length > 0 && blocks.length > 0)
            return yield* permanent(
              `a gap is filled as one, and decoding.${blocks[0]} asks for blocks`,
              "leave it out for this task"
            )
          if (gaps.length > 0) yield* fillAll(sampling, gaps, { ...decoding, steps } as DiffusionDecoding)
          yield* continuePrompts(
            sampling,
            missing.filter(({ question }) => question.gap === undefined),
            shape =>
              own.generator(
                engine,
                model,
                shape,
                decodingOf({ answerTokens: newTokens, decoding }, own.blockLength?.(model))
              )
          )
        })
      )
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
