/** Lets a diffusion model write in few steps and many, and judges its texts. */
import { Effect, Schema } from "effect"
import { JudgedTexts, ModelFiles } from "../src/artifacts/kinds.ts"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { makeEngine } from "../src/engines/make.ts"
import { type Generation, TextsResult } from "../src/evaluation/results.ts"
import { textQuality } from "../src/evaluation/textQuality.ts"
import { filesOf } from "../src/models/artifact.ts"
import { greatest } from "../src/pipeline/lists.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError } from "../src/pipeline/StageError.ts"
import * as latents from "./decoding/byLatents.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { judgingFields, judgingInputs, prepareJudging, sampled } from "./evaluate/judging.ts"
import { writeResult } from "./evaluate/writeResult.ts"

/** What is asked of every method. */
const common = {
  ...judgingFields,
  /** Denoising steps of these texts. More than there are new tokens give the same as that many, unless `decoding` says otherwise */
  steps: setting(Schema.Array(PositiveInt), [1, 2, 4, 8, 16, 32])
} as const

export const textsMethods = parametersOf(
  common,
  () => ({ decoding: masks.decoding(sampled) }),
  () => ({ decoding: latents.decoding(sampled) })
)

export const evaluateTexts = Stage.make("evaluate-texts", {
  inputs: { model: ModelFiles, ...judgingInputs },
  parameters: byMethod("method", "masked", textsMethods),
  outputs: { texts: JudgedTexts },
  methods: decodingMethods,
  engine: true,
  // Rows of a grid are measured side by side.
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("evaluate-texts")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { newTokens, promptTokens, seed } = parameters
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { model, own } = yield* modelOf(parameters.method, engine, yield* filesOf(inputs.model))
      const { prompts, sampleOf, score } = yield* prepareJudging(engine, inputs, parameters)
      const writer = yield* own.generator(
        engine,
        model,
        { prompts: prompts.length, promptTokens, newTokens },
        parameters.decoding
      )
      /** By the number of steps that counts. */
      const made = new Map<number, Omit<Generation, "steps">>()
      const generations: Array<Generation> = []
      for (const steps of parameters.steps) {
        yield* progress({ done: generations.length, total: parameters.steps.length, unit: "step counts" })
        const counting = writer.stepsThatCount(steps)
        if (!made.has(counting)) {
          const { forwards, sequences } = yield* writer.generate({ prompts, steps: counting, seed, reuse: true })
          made.set(counting, {
            forwards: greatest(forwards),
            newTokens,
            ...(yield* score(sequences)),
            sample: sampleOf(sequences)
          })
        }
        const generation = { steps, ...made.get(counting)! }
        generations.push(generation)
        const { distinct2, ngramPerplexity, teacherPerplexity } = textQuality(generation)
        yield* metric(`generation/teacher_perplexity/steps_${steps}`, teacherPerplexity)
        yield* metric(`generation/ngram_perplexity/steps_${steps}`, ngramPerplexity)
        yield* metric(`generation/distinct_2/steps_${steps}`, distinct2)
      }
      yield* writeResult(outputs.texts, "texts.json", TextsResult, { weights: inputs.model.digest, generations })
      yield* outputs.texts.metadata({ texts: prompts.length })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
