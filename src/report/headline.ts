/** The report on a grid in one table that fits on a screen: what a run prints, with where the rest is. */
import { percent } from "./format.ts"
import { aupText, withInterval } from "./answers.ts"
import type { GridReport } from "./gridReport.ts"
import { markdownTable } from "./markdown.ts"

/** Figures beside the name of a row, most telling first. */
const shown = 4

interface Figures {
  readonly label: string
  /** By the label of the line. */
  readonly of: (line: string) => string | undefined
}

/** The most telling figures that the grid has: the bound, right answers at few and at many tokens a step, AUP, texts, speed. */
export const headline = (report: GridReport): string => {
  const figures = [
    column(report, "bound"),
    ...answers(report),
    ...["teacherPerplexity", "usefulTokensPerSecond", "trainedParameters"].map(id => column(report, id))
  ].filter(each => each !== undefined)
  const labels = [
    ...new Set([
      ...report.grid.lines.filter(({ row }) => row !== undefined).map(({ label }) => label),
      ...(report.parallelism?.rows ?? []).map(({ label }) => label)
    ])
  ]
  const columns = figures.slice(0, shown)
  return `${markdownTable(
    [report.settings.title, ...columns.map(({ label }) => label)],
    labels.map(line => [line, ...columns.map(({ of }) => of(line) ?? "")])
  )}\n`
}

/** A column of the grid; undefined where it has none of that name. */
const column = ({ grid }: GridReport, id: string): Figures | undefined => {
  const place = grid.columns.findIndex(each => each.id === id)
  if (place < 0) return undefined
  return {
    label: grid.columns[place]!.label,
    of: label => {
      const cell = grid.lines.find(line => line.label === label)?.cells[place]
      return cell && `${cell.text}${cell.interval === undefined ? "" : ` ${cell.interval}`}`
    }
  }
}

/** Right answers one token a step, and at the most that all rows were asked for; and AUP. */
const answers = ({ parallelism }: GridReport): ReadonlyArray<Figures> => {
  if (parallelism === undefined) return []
  const { rows, shares, tasks } = parallelism
  const whole = shares.flatMap(({ of, points }, place) =>
    "tokensPerStep" in of && points.size === tasks.length ? [{ place, tokens: of.tokensPerStep }] : []
  )
  const rowOf = (label: string) => rows.find(row => row.label === label)
  return [
    ...[...new Set([whole[0], whole.at(-1)])].flatMap(share =>
      share === undefined
        ? []
        : [
            {
              label: `right, ${share.tokens} ${share.tokens === 1 ? "token" : "tokens"} a step`,
              of: (label: string) => {
                const row = rowOf(label)
                return row && withInterval(percent, row.shares[share.place]?.right)
              }
            }
          ]
    ),
    {
      label: "AUP",
      of: label => {
        const row = rowOf(label)
        return row && withInterval(aupText, tasks.length > 1 ? row.aup : row.tasks[0]?.aup)
      }
    }
  ]
}
