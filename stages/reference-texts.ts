/** What the texts of diffusion models are read beside, under the same judges: the held-out texts themselves, the teacher's own, and tokens drawn one by one. */
import { Effect, Schema } from "effect"
import { ReferenceTexts } from "../src/artifacts/kinds.ts"
import { setting } from "../src/config/setting.ts"
import { Sampling } from "../src/decoding/sampling.ts"
import { makeEngine } from "../src/engines/make.ts"
import { ReferenceTexts as Result } from "../src/evaluation/results.ts"
import { textQuality } from "../src/evaluation/textQuality.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError } from "../src/pipeline/StageError.ts"
import { causalGenerator } from "../src/sessions/autoregressive.ts"
import { randomKey, uniformAt } from "../src/tensor/random.ts"
import { judgingFields, judgingInputs, prepareJudging, sampled } from "./evaluate/judging.ts"
import { writeResult } from "./evaluate/writeResult.ts"

export const referenceTexts = Stage.make("reference-texts", {
  inputs: judgingInputs,
  parameters: Schema.Struct({
    ...judgingFields,
    /** How the teacher's tokens are drawn */
    decoding: setting(
      Schema.Struct({ ...Sampling.fields, temperature: setting(Sampling.fields.temperature, 0) }),
      sampled
    )
  }),
  outputs: { texts: ReferenceTexts },
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("reference-texts")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, slots }) {
      const { decoding, newTokens, promptTokens, seed } = parameters
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { learnt, prompts, sampleOf, score, teacher, truth } = yield* prepareJudging(engine, inputs, parameters)
      const shape = { prompts: prompts.length, promptTokens, newTokens }
      const writer = yield* causalGenerator(engine, teacher, shape, decoding)
      const { sequences } = yield* writer.generate({ prompts, steps: newTokens, seed })
      const heldOut = yield* score(truth)
      const byTeacher = yield* score(sequences)
      const tokens = Int32Array.from(learnt.flatMap(ids => [...ids]))
      const byChance = yield* score(
        prompts.map((prompt, row) => {
          const key = randomKey(seed, "unigram texts", row)
          const drawn = Array.from(
            { length: newTokens },
            (_, i) => tokens[Math.floor(uniformAt(key, i) * tokens.length)]!
          )
          return Int32Array.from([...prompt, ...drawn])
        })
      )
      for (const [name, texts] of Object.entries({ held_out: heldOut, teacher: byTeacher, unigram: byChance }))
        yield* metric(`generation/teacher_perplexity/${name}`, textQuality(texts).teacherPerplexity)
      yield* writeResult(outputs.texts, "references.json", Result, {
        weights: inputs.teacher.digest,
        heldOut,
        teacher: { ...byTeacher, sample: sampleOf(sequences) },
        unigram: byChance
      })
      yield* outputs.texts.metadata({ texts: prompts.length })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})

type Settings = { readonly [field: string]: unknown }

/** Of what is said of models' texts what bears on those that they are read beside: not how masks are revealed. */
export const settingsBeside = (texts: Settings = {}): Settings => {
  const { decoding } = texts as { readonly decoding?: Settings }
  const judging = Origin.without(texts, ["decoding", "steps"])
  if (decoding === undefined) return judging
  const ofMasks = Object.keys(decoding).filter(field => !Object.hasOwn(Sampling.fields, field))
  return Origin.overlay(judging, { decoding: Origin.without(decoding, ofMasks) })
}
