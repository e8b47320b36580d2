/**
 * Questions with several answers to choose from: a model chooses the one that it finds likeliest behind the question, by a bound of its likelihood (LLaDA; Nie et al. 2025, arXiv:2502.09992). Prompts are those of
 * lm-evaluation-harness.
 */
import { least } from "../../pipeline/lists.ts"
import { Schema } from "effect"

export interface Choice {
  readonly id: string
  readonly prompt: string
  /** As they follow the prompt. */
  readonly choices: ReadonlyArray<string>
  /** Number of the right one. */
  readonly answer: number
}

export interface ChoiceTask<Row> {
  readonly name: string
  readonly row: Schema.Codec<Row, unknown>
  readonly unique?: keyof Row & string
  readonly about: string
  readonly choice: (row: Row, number: number) => Choice
}

const inRange = Schema.makeFilter(
  ({ answer, choices }: { readonly answer: number; readonly choices: ReadonlyArray<string> }) =>
    answer < choices.length
      ? undefined
      : { path: ["answer"], issue: `must be the number of a choice, from 0 to ${choices.length - 1}` }
)

const Choices = Schema.Array(Schema.NonEmptyString).check(Schema.isMinLength(2))
const Index = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const OwnRow = Schema.Struct({ prompt: Schema.NonEmptyString, choices: Choices, answer: Index }).check(inRange)

/** Rows of one's own, which say how everything is written. */
const own: ChoiceTask<typeof OwnRow.Type> = {
  name: "multiple-choice",
  row: OwnRow,
  about: "rows with prompt, choices and answer, as they stand",
  choice: ({ answer, choices, prompt }, number) => ({ id: `multiple-choice/${number}`, prompt, choices, answer })
}

const ArcRow = Schema.Struct({
  id: Schema.NonEmptyString,
  question: Schema.NonEmptyString,
  choices: Schema.Struct({ text: Choices, label: Schema.Array(Schema.String) }),
  answerKey: Schema.NonEmptyString
}).check(
  Schema.makeFilter(({ answerKey, choices: { label, text } }) =>
    label.length === text.length && label.includes(answerKey)
      ? undefined
      : { path: ["answerKey"], issue: "must be one of choices.label, which has one for each of choices.text" }
  )
)

/** ARC (Clark et al. 2018, arXiv:1803.05457), easy or challenge. */
const arc: ChoiceTask<typeof ArcRow.Type> = {
  name: "arc",
  row: ArcRow,
  unique: "id",
  about: "lm-evaluation-harness' arc_easy and arc_challenge, without worked examples",
  choice: ({ answerKey, choices: { label, text }, id, question }) => ({
    id,
    prompt: `Question: ${question}\nAnswer:`,
    choices: text.map(choice => ` ${choice}`),
    answer: label.indexOf(answerKey)
  })
}

const PiqaRow = Schema.Struct({
  goal: Schema.NonEmptyString,
  sol1: Schema.NonEmptyString,
  sol2: Schema.NonEmptyString,
  label: Schema.Literals([0, 1])
})

/** PIQA (Bisk et al. 2019, arXiv:1911.11641). */
const piqa: ChoiceTask<typeof PiqaRow.Type> = {
  name: "piqa",
  row: PiqaRow,
  about: "lm-evaluation-harness' piqa, without worked examples",
  choice: ({ goal, label, sol1, sol2 }, number) => ({
    id: `piqa/${number}`,
    prompt: `Question: ${goal}\nAnswer:`,
    choices: [` ${sol1}`, ` ${sol2}`],
    answer: label
  })
}

/** One of whatever rows, which its own schema has read. */
export type AnyChoiceTask = ChoiceTask<never>

export const choiceTasks = { "multiple-choice": own, arc, piqa } as const
export type ChoiceTaskName = keyof typeof choiceTasks
export const choiceTaskNames = Object.keys(choiceTasks) as ReadonlyArray<ChoiceTaskName>

/** Number of the smallest; of equals the first. */
export const smallest = (values: ReadonlyArray<number>): number => values.indexOf(least(values))
