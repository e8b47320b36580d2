/** `pipeline metrics`: final values and series of a run or an action; sparklines, CSV, JSON, or a chart as SVG. */
import { writeFileSync } from "node:fs"
import { Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../verb.ts"
import type { Database } from "../../ledger/Database.ts"
import type { Reference } from "../../ledger/References.ts"
import { type Metric, metricsOfAction, metricsOfRun, type Point } from "../../ledger/Series.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { short } from "../../pipeline/Digest.ts"
import { count, sixDigits } from "../../pipeline/units.ts"
import * as flags from "../flags.ts"
import { attempt, lookFor, nameOf, needCache } from "../look.ts"
import { byWorth } from "../text/metricOrder.ts"
import { formatRows } from "../text/rows.ts"
import { type Style, styleOf, table } from "../terminal/style.ts"
import { print, printData, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("metrics", {
  about: "Show final values and series of a run or an action",
  examples: {
    "pipeline metrics last": "What the last run came to, reused results included; --all for everything",
    "pipeline metrics compare-50x/train/with_align --name 'loss*'": "Some of one action",
    "pipeline metrics 41 --name training/loss --svg loss.svg": "Curves of all rows in one chart",
    "pipeline metrics 41 --csv > metrics.csv": "For a spreadsheet"
  },
  takes: {
    reference: flags.argument(
      "ref",
      "A run (41, `last`, a pipeline's name) or an action (PIPELINE/STAGE, STAGE, digits of its key)"
    ),
    name: flags
      .text("name", "GLOB", "Only metrics whose name matches: * for any text, ? for any letter")
      .pipe(Flag.withDefault("*")),
    svg: flags.optionalText("svg", "FILE", "Write the series as a chart to this file"),
    all: flags.toggle("all", "All of them, in the order of the plan, however many"),
    csv: flags.toggle("csv", "Print CSV: label, name, step, value"),
    ...flags.ofCache
  },
  run: Effect.fn("metrics")(function* (args) {
    if (args.csv && args.json) return yield* new ConfigError({ message: "give --csv or --json, not both" })
    const { database } = yield* needCache(args.cache)
    const name = yield* nameOf(args.reference)
    const reference = yield* lookFor(database, name, { accepted: ["run", "action"] })
    const metrics = yield* attempt(() => metricsOf(database, reference, args.name))
    if (Option.isSome(args.svg)) {
      const file = args.svg.value
      const series = metrics.filter(({ points }) => points.length > 0)
      if (series.length === 0) {
        return yield* new ConfigError({
          at: `--svg ${file}`,
          message: `there is no series to draw${metrics.length === 0 ? "" : `: all ${count(metrics.length)} metrics are single values`}`
        })
      }
      const { chart } = yield* Effect.promise(() => import("../text/chart.ts"))
      yield* Effect.try({
        try: () => writeFileSync(file, chart(series)),
        catch: cause =>
          new ConfigError({
            at: `--svg ${file}`,
            message: `the file cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`
          })
      })
      process.stderr.write(`${count(series.length)} series drawn to ${file}\n`)
    }
    if (args.json) return printJson(metrics)
    if (args.csv)
      return printData(`${formatRows(["label", "name", "step", "value"], rowsOf(metrics), "csv").join("\n")}\n`)
    if (metrics.length === 0) return print(args.name === "*" ? "no metrics" : `no metric matches ${args.name}`)
    const style = styleOf(stdout())
    if (args.all || metrics.length <= screenful) return print(renderMetrics(metrics, style))
    const left = count(metrics.length - screenful)
    print(
      renderMetrics(mostTelling(metrics).slice(0, screenful), style),
      style.dim(`… and ${left} more; --all prints them, --name GLOB chooses`)
    )
  })
})

const metricsOf = (database: Database, reference: Reference, glob: string): ReadonlyArray<Metric> => {
  if (reference._tag === "run") return metricsOfRun(database, reference.id, glob)
  if (reference._tag === "action")
    return metricsOfAction(database, reference.id, reference.label ?? short(reference.key), glob)
  return []
}

/** Lines that are printed unless all are asked for. */
const screenful = 40

/** Measurements of a result before those on the way to it, and what it is worth before what it cost. */
export const mostTelling = (metrics: ReadonlyArray<Metric>): ReadonlyArray<Metric> =>
  byWorth(
    metrics.toSorted((a, b) => Number(a.points.length > 1) - Number(b.points.length > 1)),
    ({ name }) => name
  )

/** A final value has no step. */
const rowsOf = (metrics: ReadonlyArray<Metric>) =>
  metrics.flatMap(({ label, name, points, value }): Array<Array<string | number | null>> =>
    points.length === 0 ? [[label, name, null, value]] : points.map(point => [label, name, point.step, point.value])
  )

export const renderMetrics = (metrics: ReadonlyArray<Metric>, style: Style): string => {
  let before = ""
  // The page of one action need not repeat its label in every line.
  const labelled = metrics.some(({ label }) => label !== "")
  return table(
    metrics.map(({ label, name, points, value }) => {
      const first = label === before ? "" : label
      before = label
      const known = points.flatMap(point => (point.value === null ? [] : [point.value]))
      return [
        ...(labelled ? [style.bold(first)] : []),
        name,
        valueText(value),
        points.length < 2 ? "" : style.cyan(sparkline(points)),
        points.length < 2
          ? ""
          : style.dim(
              `${count(points.length)} points, steps ${points[0]!.step} to ${points.at(-1)!.step}${
                known.length === 0 ? "" : `, ${valueText(smallest(known))} to ${valueText(largest(known))}`
              }`
            )
      ]
    }),
    new Set([labelled ? 2 : 1])
  )
}

const smallest = (values: ReadonlyArray<number>) => values.reduce((a, b) => Math.min(a, b))
const largest = (values: ReadonlyArray<number>) => values.reduce((a, b) => Math.max(a, b))

const valueText = (value: number | null): string => (value === null ? "not a number" : sixDigits(value))

const bars = "▁▂▃▄▅▆▇█"
/** Letters of a sparkline. */
const sparkWidth = 40

/** The shape of a series in one line: the mean of the steps that share a letter; a gap where there is no number. */
export const sparkline = (points: ReadonlyArray<Point>): string => {
  const columns = Math.min(sparkWidth, points.length)
  const means = Array.from({ length: columns }, (_, i) => {
    const part = points
      .slice(Math.floor((i * points.length) / columns), Math.floor(((i + 1) * points.length) / columns))
      .flatMap(({ value }) => (value === null ? [] : [value]))
    return part.length === 0 ? undefined : part.reduce((sum, value) => sum + value / part.length, 0)
  })
  const known = means.filter(value => value !== undefined)
  if (known.length === 0) return " ".repeat(columns)
  const [low, high] = [smallest(known), largest(known)]
  return means
    .map(value => {
      if (value === undefined) return " "
      const level = high === low ? 3 : Math.floor(((value - low) / (high - low)) * (bars.length - 1) + 0.5)
      return bars[Math.min(bars.length - 1, Math.max(0, level))]
    })
    .join("")
}
