/** Answers to choose from: bounds against the model in plain loops, what is computed anew, and rows that cannot be used. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Schema } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import { ChoicesResult } from "../../src/evaluation/suiteFiles.ts"
import { choiceTasks, smallest } from "../../src/evaluation/tasks/choices.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadModel } from "../../stages/download.ts"
import { evaluateChoices } from "../../stages/evaluate-choices.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { tinyConfig, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

const letters = [" a", " the", " of", " and"]
const problems = Array.from({ length: 5 }, (_, i) => ({
  prompt: `The people ${"of the ".repeat(i)}state`,
  choices: letters.slice(0, 2 + (i % 3)),
  answer: i % 2
}))

const run = (rows: ReadonlyArray<object>, settings: object = {}): Promise<Ran> => {
  const path = join(directory.path, "rows.jsonl")
  writeFileSync(path, rows.map(row => `${JSON.stringify(row)}\n`).join(""))
  const pipeline = Pipeline.make(
    "choices-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () =>
      evaluateChoices({
        model: downloadModel({ source: `file:${join(directory.path, "tiny")}` }),
        dataset: downloadDocuments({ source: `file:${path}`, dataType: "fields" }),
        draws: 3,
        ...settings
      } as Parameters<typeof evaluateChoices>[0])
  )
  return runPipeline(pipeline, { cache: join(directory.path, "cache"), engine: numericClass("ort") })
}
const resultOf = (ran: Ran) =>
  Schema.decodeUnknownSync(ChoicesResult)(JSON.parse(ran.text("evaluate-choices", "score.json")))
const failureOf = (ran: Ran) => (ran.failures as unknown as [{ readonly message: string }])[0].message

describe("choosing among answers", () => {
  it("takes the one that the model finds likeliest behind the question: the exact likelihood, where a choice is one token", async () => {
    const ran = await run(problems)
    assert.strictEqual(ran.status, "done")
    const { accuracy, byProblem } = resultOf(ran)
    const tokenizer = loadFrom(shippedDirectory)
    let right = 0
    for (const [i, { answer, choices, prompt }] of problems.entries()) {
      const given = [...tokenizer.encode(prompt)]
      const { logits } = bruteForward(tinyConfig, name => tinyWeight(name), [...given, tokenizer.maskId], false)
      const row = logits[given.length - 1]!
      const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0))
      const nats = choices.map(choice => {
        const ids = tokenizer.encode(choice)
        assert.strictEqual(ids.length, 1)
        return total - row[ids[0]!]!
      })
      for (const [c, own] of nats.entries()) assert.closeTo(byProblem[i]!.nats[c]!, own, 1e-3)
      assert.strictEqual(byProblem[i]!.chosen, smallest(nats))
      assert.strictEqual(byProblem[i]!.chosenByLength, smallest(nats.map((own, c) => own / choices[c]!.length)))
      right += Number(smallest(nats) === answer)
    }
    assert.closeTo(accuracy.value, right / problems.length, 1e-12)
  })

  it("computes a problem more alone, and the same for it as before", async () => {
    const first = resultOf(await run(problems.slice(0, 3)))
    const ran = await run(problems)
    assert.deepStrictEqual(
      [ran.metric("evaluate-choices", "problems/new"), ran.metric("evaluate-choices", "problems/reused")],
      [2, 3]
    )
    assert.deepStrictEqual(
      resultOf(ran)
        .byProblem.slice(0, 3)
        .map(({ nats }) => nats),
      first.byProblem.map(({ nats }) => nats)
    )
  })

  it("refuses rows that say nothing, with their places, and questions that are too long", async () => {
    const [row] = problems
    assert.match(
      failureOf(await run([row!, { ...row, answer: 2 }])),
      /rows\.jsonl:2:\d+: answer must be the number of a choice, from 0 to 1/
    )
    assert.match(failureOf(await run([{ ...row, choices: ["one"] }])), /rows\.jsonl:1:\d+: choices/)
    assert.match(
      failureOf(await run([{ ...row, prompt: "the ".repeat(100) }])),
      /multiple-choice\/0 has \d+ tokens, more than the 64/
    )
  })
})

describe("tasks with choices", () => {
  it("write questions as lm-evaluation-harness does", () => {
    assert.deepStrictEqual(
      choiceTasks.arc.choice(
        { id: "A_1", question: "Why?", choices: { text: ["x", "y"], label: ["A", "B"] }, answerKey: "B" },
        0
      ),
      { id: "A_1", prompt: "Question: Why?\nAnswer:", choices: [" x", " y"], answer: 1 }
    )
    assert.deepStrictEqual(choiceTasks.piqa.choice({ goal: "Cut.", sol1: "a", sol2: "b", label: 1 }, 3), {
      id: "piqa/3",
      prompt: "Question: Cut.\nAnswer:",
      choices: [" a", " b"],
      answer: 1
    })
  })
})
