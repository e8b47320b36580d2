/** `pipeline runs`: the runs that the ledger knows, newest first. */
import { Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../verb.ts"
import type { Database } from "../../ledger/Database.ts"
import { hasEnded, type RunRow, rowColumns, statusOf } from "../../ledger/RunRows.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { ago, count, duration } from "../../pipeline/units.ts"
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
    "pipeline runs --pipeline compare-50x --limit 100": "More of one pipeline"
  },
  takes: {
    pipeline: flags.optionalText("pipeline", "NAME", "Only runs of this pipeline"),
    limit: flags.whole("limit", "N", "How many runs to show").pipe(Flag.withAlias("n"), Flag.withDefault(usual)),
    ...flags.ofCache
  },
  run: Effect.fn("runs")(function* ({ cache: flag, json, limit, pipeline }) {
    if (limit < 1) return yield* new ConfigError({ at: `--limit ${limit}`, message: "must be at least 1" })
    const cache = yield* openCache(flag)
    if (cache === undefined) return sayNothingYet({ cache: flag, json }, [])
    const rows = yield* attempt(() => listRuns(cache.database, Option.getOrUndefined(pipeline), limit))
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

export const renderRuns = (rows: ReadonlyArray<RunLine>, now: number, style: Style): string =>
  table(
    [
      ["run", "pipeline", "profile", "status", "started", "took", "executed", "reused", "failed", "saved"].map(
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
        row.savedMs >= 100 ? duration(row.savedMs) : ""
      ])
    ],
    new Set([0, 5, 6, 7, 8, 9])
  )
