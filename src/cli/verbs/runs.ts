/** `pipeline runs`: the runs that the ledger knows, newest first. */
import { Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../verb.ts"
import type { Database } from "../../ledger/Database.ts"
import { hasEnded, type RunRow, rowColumns, statusOf } from "../../ledger/RunRows.ts"
import { type Standing, standings } from "../../ledger/Series.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { ago, count, duration, sixDigits } from "../../pipeline/units.ts"
import { here, isAlive } from "../../runner/Machine.ts"
import * as flags from "../flags.ts"
import { attempt, openCache, sayNothingYet } from "../look.ts"
import { type Style, styleOf, table } from "../terminal/style.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

/** Runs shown unless --limit asks for more. */
const usual = 20

export const command = verb("runs", {
  about: "List runs, newest first",
  examples: {
    "pipeline runs": "The newest runs",
    "pipeline runs --pipeline compare-50x --limit 100": "More of one pipeline",
    "pipeline runs --metrics 'eval/nll_bound'": "A leaderboard: what each training or evaluation came to, lowest first",
    "pipeline runs --metrics 'eval/exact_match*' --descending": "Where more is better"
  },
  takes: {
    pipeline: flags.optionalText("pipeline", "NAME", "Only runs of this pipeline"),
    limit: flags.whole("limit", "N", "How many runs to show").pipe(Flag.withAlias("n"), Flag.withDefault(usual)),
    metrics: flags.optionalText(
      "metrics",
      "GLOB",
      "A leaderboard instead: final values of metrics whose name matches, a line for each action, ordered by the first"
    ),
    descending: flags.toggle("descending", "With --metrics: the highest first"),
    ...flags.ofCache
  },
  run: Effect.fn("runs")(function* ({ cache: flag, descending, json, limit, metrics, pipeline }) {
    if (descending && Option.isNone(metrics))
      return yield* new ConfigError({ at: "--descending", message: "goes with --metrics" })
    if (limit < 1) return yield* new ConfigError({ at: `--limit ${limit}`, message: "must be at least 1" })
    const cache = yield* openCache(flag)
    if (cache === undefined) return sayNothingYet({ cache: flag, json }, [])
    const rows = yield* attempt(() => listRuns(cache.database, Option.getOrUndefined(pipeline), limit))
    if (Option.isSome(metrics)) {
      const board = yield* attempt(() => leaderboard(cache.database, rows, metrics.value, descending))
      return json ? printJson(board) : print(renderLeaderboard(board, metrics.value, styleOf(stdout())))
    }
    if (json) return printJson(rows)
    if (rows.length === 0) return print(Option.isSome(pipeline) ? `no run of ${pipeline.value}` : "no run yet")
    print(renderRuns(rows, Date.now(), styleOf(stdout())))
  })
})

/** What is shown of a run. */
export interface RunLine extends RunRow {
  /** Milliseconds; undefined while it is under way, or when nobody saw it end. */
  readonly ms: number | undefined
}

export const listRuns = (database: Database, pipeline: string | undefined, limit: number): ReadonlyArray<RunLine> => {
  const machine = here()
  return database
    .all<RunRow>(
      `SELECT ${rowColumns} FROM run ${pipeline === undefined ? "" : "WHERE pipeline = ?"} ORDER BY id DESC LIMIT ?`,
      ...(pipeline === undefined ? [] : [pipeline]),
      limit
    )
    .map(row => ({
      ...row,
      status: statusOf(row, machine, isAlive),
      ms: row.endedMs === null ? undefined : row.endedMs - row.startedMs
    }))
}

/** The sign of a run's status, in its colour. */
export const statusText = (status: string, style: Style): string =>
  status === "done" ? style.green(status) : status === "running" ? style.cyan(status) : style.red(status)

/** What a run came to, or as far as it came; how much was reused is known at the end alone. */
export const tallyOf = (run: RunRow, style: Style): string =>
  [
    `${count(run.executed)} executed`,
    ...(hasEnded(run)
      ? [`${count(run.reused)} reused${run.savedMs >= 100 ? ` (${duration(run.savedMs)} saved)` : ""}`]
      : []),
    ...(run.failed > 0 ? [style.red(`${count(run.failed)} failed`)] : []),
    ...(run.skipped > 0 ? [style.yellow(`${count(run.skipped)} skipped`)] : [])
  ].join(", ")

/** What is shown of a place on the leaderboard. */
export interface Leader extends Standing {
  readonly tag: string | null
}

/** The actions of some runs, newest first, ordered by the first metric that any of them has; those without it come last. */
export const leaderboard = (
  database: Database,
  rows: ReadonlyArray<RunLine>,
  glob: string,
  descending: boolean
): ReadonlyArray<Leader> => {
  const tags = new Map(rows.map(({ id, tag }) => [id, tag]))
  const all = standings(
    database,
    rows.map(({ id }) => id),
    glob
  )
  const [by] = metricNames(all)
  const rank = ({ values }: Standing): number => {
    const value = by === undefined ? undefined : values[by]
    return value === undefined ? Number.POSITIVE_INFINITY : descending ? -value : value
  }
  return all.map(each => ({ ...each, tag: tags.get(each.run) ?? null })).toSorted((a, b) => rank(a) - rank(b) || 0)
}

const metricNames = (all: ReadonlyArray<Standing>): ReadonlyArray<string> => [
  ...new Set(all.flatMap(({ values }) => Object.keys(values)))
]

/** Columns of metrics that fit beside each other; --json has all. */
const columnsShown = 6

export const renderLeaderboard = (all: ReadonlyArray<Leader>, glob: string, style: Style): string => {
  const names = metricNames(all)
  if (names.length === 0) return `no metric matches ${glob}; \`pipeline metrics last\` shows those that there are`
  const shown = names.slice(0, columnsShown)
  const tagged = all.some(({ tag }) => tag !== null)
  const left = names.length - shown.length
  return [
    table(
      [
        [...shown, "run", ...(tagged ? ["tag"] : []), "action"].map(style.dim),
        ...all.map(({ label, run, tag, values }) => [
          ...shown.map(name => (values[name] === undefined ? "" : sixDigits(values[name]))),
          String(run),
          ...(tagged ? [tag ?? ""] : []),
          label
        ])
      ],
      new Set(Array.from({ length: shown.length + 1 }, (_, i) => i))
    ),
    ...(left === 0 ? [] : [style.dim(`… and ${count(left)} metrics more; a narrower GLOB, or --json, shows them`)])
  ].join("\n")
}

export const renderRuns = (rows: ReadonlyArray<RunLine>, now: number, style: Style): string => {
  // Most caches have no run with a name.
  const said = (["tag", "note"] as const).filter(field => rows.some(row => row[field] !== null))
  return table(
    [
      ["run", "pipeline", "profile", "status", "started", "took", "executed", "reused", "failed", "saved", ...said].map(
        style.dim
      ),
      ...rows.map(row => [
        String(row.id),
        row.pipeline,
        row.profile,
        statusText(row.status, style),
        ago(now - row.startedMs),
        row.ms === undefined ? "" : duration(row.ms),
        count(row.executed),
        hasEnded(row) ? count(row.reused) : "",
        row.failed === 0 ? "0" : style.red(count(row.failed)),
        row.savedMs >= 100 ? duration(row.savedMs) : "",
        ...said.map(field => row[field] ?? "")
      ])
    ],
    new Set([0, 5, 6, 7, 8, 9])
  )
}
