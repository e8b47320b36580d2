/** Right answers to tasks by how many tokens a forward pass gives, as tables: what diffusion models are for. */
import { pointText } from "../evaluation/results.ts"
import { fixed, interval, percent, pValue, signed, significant } from "./format.ts"
import { keyOf, type Share } from "./operatingPoints.ts"
import type { Corrected, Measured, Parallelism, RowFigures } from "./parallelism.ts"
import type { GridRow, TeacherScores } from "./rows.ts"

/** Whether there is more to say of answers than a column of the grid can: several operating points, or a teacher. */
export const haveATable = (rows: ReadonlyArray<GridRow>, teacher: TeacherScores): boolean =>
  teacher.length > 0 ||
  rows.some(({ runs }) => runs.some(({ tasks }) => tasks.some(({ content }) => content.answers.length > 1)))

export interface Table {
  readonly columns: ReadonlyArray<string>
  readonly lines: ReadonlyArray<ReadonlyArray<string>>
}

const labelOf = ({ label }: RowFigures): string => label

export const withInterval = (format: (value: number) => string, found: Measured | undefined): string =>
  found === undefined ? "n/a" : `${format(found.value)} ${interval(format, found.low, found.high)}`

export const aupText = fixed(1)

/** Rows with their AUP on some tasks. */
interface AupRows {
  readonly tasks: ReadonlyArray<string>
  readonly rows: ReadonlyArray<{
    readonly label: string
    readonly tasks: ReadonlyArray<{ readonly aup: Measured } | undefined>
    /** Mean over the tasks; left out where tasks are not to be averaged. */
    readonly aup?: Measured | undefined
  }>
}

/** A line for each row and the teacher: AUP by task, and the mean over tasks. */
export const aupTable = ({ rows, tasks }: AupRows): Table => {
  const averaged = tasks.length > 1 && rows.some(row => "aup" in row)
  return {
    columns: ["AUP", ...tasks, ...(averaged ? ["all tasks"] : [])],
    lines: rows.map(row => [
      row.label,
      ...row.tasks.map(own => withInterval(aupText, own?.aup)),
      ...(averaged ? [withInterval(aupText, row.aup)] : [])
    ])
  }
}

/** What a share is called; and of how many tasks it is, if not of all. */
const shareLabel = ({ of, points }: Share, tasks: number): string => {
  const what =
    "threshold" in of
      ? `threshold ${of.threshold}`
      : `${of.tokensPerStep} ${of.tokensPerStep === 1 ? "token" : "tokens"} a step`
  return points.size === tasks ? what : `${what}, ${points.size} of ${tasks} tasks`
}

/** A line for each row and the teacher: right answers, means over tasks, at tokens a step; and at thresholds, with the tokens per forward pass that these give. */
export const sharesTable = ({ rows, shares, tasks }: Parallelism): Table => ({
  columns: [
    tasks.length > 1 ? "right answers, mean over tasks" : "right answers",
    ...shares.flatMap(share => [
      shareLabel(share, tasks.length),
      ...("threshold" in share.of ? ["tokens per forward"] : [])
    ])
  ],
  lines: rows.map(row => [
    labelOf(row),
    ...row.shares.flatMap((found, s) => [
      withInterval(percent, found?.right),
      ...("threshold" in shares[s]!.of ? [withInterval(significant, found?.rate)] : [])
    ])
  ])
})

/** Differences of AUP from the row beside; on each task, too, where `byTask`. */
export const aupDifferencesTable = ({ differences, tasks }: Parallelism, byTask: boolean): Table => ({
  columns: ["row", "beside", "task", "Δ AUP", "95 % interval", "p", "p, corrected"],
  lines: differences.flatMap(({ aup, beside, row, tasks: own }) => {
    const line = (task: string, found: Corrected | undefined) => [
      row.label,
      beside.label,
      task,
      ...(found === undefined
        ? ["n/a", "n/a", "n/a", "n/a"]
        : [
            signed(1)(found.value),
            interval(signed(1), found.low, found.high),
            pValue(found.p, found.smallest),
            pValue(found.adjusted, found.smallest)
          ])
    ]
    const each = tasks.map((task, t) => line(task, own[t]))
    return tasks.length === 1 ? each : [line("all", aup), ...(byTask ? each : [])]
  })
})

/** A line for each task and operating point: right answers, and the tokens per forward pass at which they were given. */
export const answersTable = ({ rows, tasks }: Parallelism): Table => ({
  columns: ["task", "operating point", ...rows.map(labelOf)],
  lines: tasks.flatMap((task, t) => {
    const points = new Map(
      rows.flatMap(({ tasks: own }) => (own[t]?.points ?? []).map(({ point }) => [keyOf(point), point] as const))
    )
    return [...points].map(([key, point]) => [
      task,
      pointText(point),
      ...rows.map(({ tasks: own }) => {
        const found = own[t]?.points.find(each => keyOf(each.point) === key)
        return found === undefined
          ? ""
          : `${withInterval(percent, found.share)} at ${withInterval(significant, found.rate)}`
      })
    ])
  })
})
