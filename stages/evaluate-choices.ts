/** Lets a model choose among answers by a bound of their likelihood behind the question. A question more asks only about that one. */
import { Effect, Schema, Stream } from "effect"
import { ChoiceBounds, Documents, ModelFiles, SuiteScore } from "../src/artifacts/kinds.ts"
import { recordsOfArtifact } from "../src/artifacts/records.ts"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { makeEngine } from "../src/engines/make.ts"
import { contextOf } from "../src/evaluation/context.ts"
import { likelihoodBound } from "../src/evaluation/likelihood.ts"
import { evenly } from "../src/evaluation/selection.ts"
import { ChoicesResult } from "../src/evaluation/suiteFiles.ts"
import {
  type AnyChoiceTask,
  type Choice,
  choiceTaskNames,
  choiceTasks,
  smallest
} from "../src/evaluation/tasks/choices.ts"
import { decodeBy } from "../src/formats/records.ts"
import { filesOf } from "../src/models/artifact.ts"
import { greatest } from "../src/pipeline/lists.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { makeMaskedLosses } from "../src/sessions/maskedLosses.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { HowMany, limit } from "./evaluate/heldOut.ts"
import { meanOver } from "./evaluate/meanOver.ts"
import { mustHave, withoutTwins } from "./evaluate/suiteRows.ts"
import { writeResult } from "./evaluate/writeResult.ts"

export const choiceMethods = parametersOf(
  {
    task: setting(Schema.Literals(choiceTaskNames), choiceTaskNames[0]!),
    /** How many problems are asked, at even distances, or `all` */
    problems: setting(HowMany, "all"),
    /** Draws of masks for each choice, one in each of as many strata of the share of masks */
    draws: setting(PositiveInt, 32),
    /** Rows of a pass */
    rows: setting(PositiveInt, 8),
    /** Of masks */
    seed: setting(Schema.Int, 0)
  },
  () => ({}),
  () => ({})
)

export const evaluateChoices = Stage.make("evaluate-choices", {
  inputs: {
    model: ModelFiles,
    /** Rows that the task reads. */
    dataset: Documents
  },
  parameters: byMethod("method", "masked", choiceMethods),
  outputs: { score: SuiteScore, bounds: ChoiceBounds },
  items: { inputs: ["model"], parameters: ["method", "draws", "seed"] },
  methods: decodingMethods,
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("evaluate-choices")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { draws, method, problems: wanted, rows, seed, task: name } = parameters
      const task = choiceTasks[name] as unknown as AnyChoiceTask
      const decode = withoutTwins(decodeBy(task.row as Schema.Codec<unknown, unknown>), task.unique)
      const all = Array.from(yield* Stream.runCollect(recordsOfArtifact(inputs.dataset, decode)))
      yield* mustHave(wanted, all.length, `the data of ${name}`)
      const problems = evenly(
        all.map((row, i): Choice => task.choice(row as never, i)),
        limit(wanted)
      )
      if (problems.length === 0) return yield* permanent(`the data has no problems of the task ${name}`)
      const { bounds } = outputs
      const keyOf = ({ choices, prompt }: Choice) => bounds.key(JSON.stringify([prompt, choices]))
      const missing = problems.filter(each => !bounds.has(keyOf(each)))
      yield* metric("problems/new", missing.length)
      yield* metric("problems/reused", problems.length - missing.length)
      if (missing.length > 0) {
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const { model, own } = yield* modelOf(method, engine, yield* filesOf(inputs.model))
        if (own.maskedReading === undefined)
          return yield* permanent(
            `a model of the method ${method} has no bound of its likelihood, by which choices are compared`,
            "ask a model that decodes by masks"
          )
        const { config, parameters: weights, tokenizer } = model
        const asked = missing.map(problem => {
          const prompt = tokenizer.encode(problem.prompt)
          return {
            problem,
            sequences: problem.choices.map(choice => {
              const ids = Int32Array.from([...prompt, ...tokenizer.encode(choice)])
              return { ids, maskable: new Uint8Array(ids.length).fill(1, prompt.length) }
            })
          }
        })
        const length = greatest(asked.flatMap(({ sequences }) => sequences.map(({ ids }) => ids.length)))
        const context = contextOf(model.json)
        if (length > context) {
          const { problem } = asked.find(({ sequences }) => sequences.some(({ ids }) => ids.length === length))!
          return yield* permanent(
            `${problem.id} has ${length} tokens, more than the ${context} that the model was made for`
          )
        }
        const shape = { rows, length }
        const losses = yield* makeMaskedLosses(engine, config, weights, {
          ...shape,
          ...own.maskedReading(model, { ...shape, seed })
        })
        let done = problems.length - missing.length
        for (const { problem, sequences } of asked) {
          // By itself, so that it has the same masks in any company.
          const found = yield* likelihoodBound(
            { ...shape, losses, pad: tokenizer.padId, mask: tokenizer.maskId, draws, seed },
            sequences
          )
          const nats = found.sequences.map(sequence => sequence.nats)
          yield* bounds.put(keyOf(problem), Buffer.from(JSON.stringify(nats)), { nats })
          yield* progress({ done: ++done, total: problems.length, unit: "problems" })
        }
      }
      const byProblem = problems.map(problem => {
        const { nats } = bounds.note(keyOf(problem)) as { readonly nats: ReadonlyArray<number> }
        const byLength = nats.map((own, i) => own / Buffer.byteLength(problem.choices[i]!))
        return {
          id: problem.id,
          answer: problem.answer,
          chosen: smallest(nats),
          chosenByLength: smallest(byLength),
          nats
        }
      })
      const shareOf = (field: "chosen" | "chosenByLength") =>
        meanOver(byProblem.map(problem => Number(problem[field] === problem.answer)))
      const result: ChoicesResult = {
        task: name,
        about: task.about,
        weights: inputs.model.digest,
        draws,
        problems: problems.length,
        accuracy: shareOf("chosen"),
        accuracyByLength: shareOf("chosenByLength"),
        byProblem
      }
      yield* metric("eval/accuracy", result.accuracy.value)
      yield* metric("eval/accuracy_by_length", result.accuracyByLength.value)
      yield* writeResult(outputs.score, "score.json", ChoicesResult, result)
      yield* outputs.score.metadata({
        task: name,
        protocol: "likelihood",
        problems: problems.length,
        attempts: problems.length,
        right: byProblem.filter(({ answer, chosen }) => answer === chosen).length
      })
      yield* bounds.finish([...new Set(problems.map(keyOf))], {
        problems: problems.length,
        choices: problems.reduce((sum, { choices }) => sum + choices.length, 0)
      })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
