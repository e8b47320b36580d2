/** Lets a model answer the questions of a task, each several times. A sample is an item of its own: a problem or a sample more asks only for that. */
import { Effect, Schema } from "effect"
import { ModelFiles, Questions, Samples } from "../src/artifacts/kinds.ts"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { inBlocks } from "../src/decoding/blockSettings.ts"
import type { DiffusionDecoding } from "../src/decoding/diffusion.ts"
import { makeEngine } from "../src/engines/make.ts"
import { Question, type SampleNote } from "../src/evaluation/suiteFiles.ts"
import { filesOf } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import * as latents from "./decoding/byLatents.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { decodingOf } from "./evaluate/asking.ts"
import { continuePrompts, fillAll, type Made, type Sampling, type Wanted } from "./evaluate/sampling.ts"
import { readLines } from "./evaluate/suiteRows.ts"

export const sampleMethods = parametersOf(
  {
    /** Of each problem */
    samples: setting(PositiveInt, 1),
    /** Tokens that are made behind a prompt; of a gap whose length is not told */
    newTokens: setting(PositiveInt, 128),
    /** Denoising steps of a sample */
    steps: setting(PositiveInt, 128),
    /** Of what is drawn */
    seed: setting(Schema.Int, 0)
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
      const { problems, protocol, task } = inputs.questions.metadata
      const questions = yield* readLines(inputs.questions, "questions.jsonl", Question)
      const asked: ReadonlyArray<Wanted> = questions.flatMap(question =>
        Array.from({ length: samples }, (_, i) => ({ question, sample: i }))
      )
      const { samples: output } = outputs
      const keyOf = ({ question, sample: number }: Wanted) => output.key(JSON.stringify([question, number]))
      const missing = asked.filter(each => !output.has(keyOf(each)))
      yield* metric("samples/new", missing.length)
      yield* metric("samples/reused", asked.length - missing.length)
      if (missing.length > 0) {
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const { model, own } = yield* modelOf(method, engine, yield* filesOf(inputs.model))
        let done = asked.length - missing.length
        const keep = (wanted: Wanted, { forwards, ms, text, tokens }: Made) =>
          Effect.gen(function* () {
            const note: SampleNote = {
              task_id: wanted.question.id,
              sample: wanted.sample,
              tokens,
              forwards,
              ms: Number(ms.toFixed(3))
            }
            yield* output.put(keyOf(wanted), Buffer.from(text, "utf8"), { ...note })
            yield* progress({ done: ++done, total: asked.length, unit: "samples" })
          })
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
      }
      yield* output.finish(asked.map(keyOf), {
        task,
        protocol,
        problems,
        samples,
        weights: inputs.model.digest,
        settings: { method, newTokens, steps, seed, decoding }
      })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
