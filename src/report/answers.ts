/** Right answers to tasks by how many tokens a forward pass gives: what diffusion models are for. */
import { count } from "../pipeline/units.ts"
import { type Answers, rightOf, type TaskResult, tokensPerForward } from "../evaluation/results.ts"
import { interval, percent, significant } from "./format.ts"
import { greatest, least } from "../pipeline/lists.ts"
import { everyNumber, type Given, type GridRow, type Run, taskNames } from "./rows.ts"
import { wilson } from "./statistics.ts"

/** What an autoregressive teacher answers, token by token. */
export type TeacherScores = ReadonlyArray<Given<TaskResult>>

export const answersOf = (run: Pick<Run, "tasks">, task: string): ReadonlyArray<Answers> =>
  run.tasks.find(({ content }) => content.task === task)?.content.answers ?? []

export const shareOf = (answers: Answers): number => rightOf(answers) / answers.outcomes.length

/** Whether there is more to say of answers than a column of the grid can: several numbers of steps, or a teacher. */
export const haveATable = (rows: ReadonlyArray<GridRow>, teacher: TeacherScores): boolean =>
  teacher.length > 0 ||
  rows.some(({ runs }) => runs.some(({ tasks }) => tasks.some(({ content }) => content.answers.length > 1)))

/** A line for each task and number of steps. */
export const answersTable = (
  rows: ReadonlyArray<GridRow>,
  teacher: TeacherScores
): { readonly columns: ReadonlyArray<string>; readonly lines: ReadonlyArray<ReadonlyArray<string>> } => {
  const lines = taskNames(rows).flatMap(task => {
    const causal = answersOf({ tasks: teacher }, task)
    const steps = everyNumber(rows, run => answersOf(run, task).map(each => each.steps))
    return [
      ...(causal.length === 0 ? [] : [[task, "token by token", "1", pooled(causal), ...rows.map(() => "")]]),
      ...steps.map(allowed => {
        const ofRows = rows.map(({ runs }) =>
          runs.flatMap(run => answersOf(run, task).filter(each => each.steps === allowed))
        )
        const given = ofRows.flat().map(tokensPerForward)
        const [fewest, most] = [least(given), greatest(given)].map(significant)
        return [
          task,
          count(allowed),
          fewest === most ? fewest! : `${fewest} to ${most}`,
          ...(teacher.length === 0 ? [] : [""]),
          ...ofRows.map(pooled)
        ]
      })
    ]
  })
  return {
    columns: [
      "task",
      "denoising steps",
      "tokens per forward",
      ...(teacher.length === 0 ? [] : ["the teacher"]),
      ...rows.map(({ label }) => label)
    ],
    lines: haveATable(rows, teacher) ? lines : []
  }
}

/** Of several runs all answers together, with Wilson's interval. */
const pooled = (all: ReadonlyArray<Answers>): string => {
  if (all.length === 0) return "n/a"
  const right = all.reduce((sum, each) => sum + rightOf(each), 0)
  const asked = all.reduce((sum, { outcomes }) => sum + outcomes.length, 0)
  const { high, low } = wilson(right, asked)
  return `${percent(right / asked)} ${interval(percent, low, high)}`
}
