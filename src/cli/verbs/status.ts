/** `pipeline status`: what is there, what is under way, and what failed last. */
import { Effect, Option } from "effect"
import { Argument } from "effect/cli"
import { verb } from "../verb.ts"
import { hex } from "../../ledger/columns.ts"
import type { Database } from "../../ledger/Database.ts"
import * as Suspects from "../../ledger/Suspects.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { type Digest, short } from "../../pipeline/Digest.ts"
import { fromHere } from "../../pipeline/Origin.ts"
import { ago, bytes, count, duration, plural } from "../../pipeline/units.ts"
import type { Cache } from "../../runner/Cache.ts"
import * as flags from "../flags.ts"
import { attempt, nameOf, openCache, sayNothingYet } from "../look.ts"
import { listRuns, type RunLine, statusText, tallyOf } from "./runs.ts"
import { type Style, styleOf, table } from "../terminal/style.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("status", {
  about: "Show what is there, what is under way, and what failed last",
  examples: {
    "pipeline status": "The whole cache",
    "pipeline status compare-50x": "One pipeline"
  },
  takes: {
    pipeline: flags
      .argument("pipeline", "Only this pipeline: its name, or the path of its file")
      .pipe(Argument.optional),
    ...flags.ofCache
  },
  run: Effect.fn("status")(function* ({ cache: flag, json, pipeline }) {
    const cache = yield* openCache(flag)
    if (cache === undefined)
      return sayNothingYet({ cache: flag, json }, { cache: flags.locationOf(flag).root, exists: false })
    const name = Option.isSome(pipeline) ? yield* nameOf(pipeline.value) : undefined
    const usage = yield* cache.store.usage
    const status = { ...(yield* attempt(() => statusOf(cache.database, name, Date.now()))), usage }
    if (json) return printJson({ cache: cache.paths.root, exists: true, ...status })
    print(...render(cache, status, Date.now(), styleOf(stdout())))
  })
})

interface Working {
  readonly run: number
  readonly label: string
  readonly attempt: number
  readonly startedMs: number
  readonly key: Digest
  readonly log: string
  /** The lease under which it is computed, while it lives. */
  readonly lease: { readonly host: string; readonly pid: number; readonly expiresMs: number } | undefined
}

interface Failure {
  readonly label: string
  readonly class: string | null
  readonly message: string | null
  readonly log: string
}

interface Status {
  readonly runs: number
  readonly actions: number
  readonly artifacts: number
  readonly artifactBytes: number
  /** Labels of results that were computed from damaged bytes. */
  readonly suspect: ReadonlyArray<string>
  readonly running: ReadonlyArray<RunLine>
  readonly working: ReadonlyArray<Working>
  /** The last run of each pipeline. */
  readonly last: ReadonlyArray<RunLine>
  /** Of the last run that is not under way. */
  readonly failures: { readonly run: number; readonly of: ReadonlyArray<Failure> } | undefined
}

/** What the ledger says. Throws ConfigError for a pipeline that was never run. */
export const statusOf = (database: Database, pipeline: string | undefined, now: number): Status => {
  const names = database.column<string>("SELECT DISTINCT pipeline FROM run ORDER BY pipeline")
  if (pipeline !== undefined && !names.includes(pipeline)) {
    throw new ConfigError({
      at: pipeline,
      message: "this pipeline was never run with this cache",
      advice: names.length === 0 ? "nothing was" : `these were: ${names.join(", ")}`
    })
  }
  const one = (sql: string) => database.value<number>(sql)!
  const running = listRuns(database, pipeline, Number.MAX_SAFE_INTEGER).filter(run => run.status === "running")
  const last = names
    .filter(name => pipeline === undefined || name === pipeline)
    .map(name => listRuns(database, name, 1)[0]!)
    .sort((a, b) => b.id - a.id)
  const ended = last.find(run => run.status !== "running")
  return {
    runs: one("SELECT count(*) FROM run"),
    actions: one("SELECT count(*) FROM action"),
    artifacts: one("SELECT count(*) FROM artifact"),
    artifactBytes: one("SELECT coalesce(sum(bytes), 0) FROM artifact WHERE state = 0"),
    suspect: Suspects.labels(database),
    running,
    working: running.flatMap(run => workingOn(database, run.id, now)),
    last,
    failures:
      ended === undefined
        ? undefined
        : {
            run: ended.id,
            of: database.all<Failure>(
              `SELECT label, class, message, log FROM execution WHERE run = ? AND status IN ('failed', 'lost')
               AND id IN (SELECT max(id) FROM execution WHERE run = ? GROUP BY label) ORDER BY id`,
              ended.id,
              ended.id
            )
          }
  }
}

const workingOn = (database: Database, run: number, now: number): ReadonlyArray<Working> =>
  database
    .all<
      Omit<Working, "run" | "lease"> & {
        readonly host: string | null
        readonly pid: number | null
        readonly expiresMs: number | null
      }
    >(
      `SELECT label, attempt, execution.started_ms AS startedMs, ${hex("action.key")} AS key, log, lease.host, lease.pid, lease.expires_ms AS expiresMs
       FROM execution JOIN action ON action.id = execution.action LEFT JOIN lease ON lease.key = action.key AND lease.expires_ms > ?
       WHERE run = ? AND status = 'running' ORDER BY execution.id`,
      now,
      run
    )
    .map(({ expiresMs, host, pid, ...execution }) => ({
      run,
      ...execution,
      lease: host === null || pid === null || expiresMs === null ? undefined : { host, pid, expiresMs }
    }))

const render = (
  cache: Cache,
  status: Status & { readonly usage: { readonly objects: { readonly count: number; readonly bytes: number } } },
  now: number,
  style: Style
): ReadonlyArray<string> => {
  const root = fromHere(cache.paths.root)
  const { failures, last, running, usage, working } = status
  const lines = [
    `${style.bold(root)}  ${bytes(usage.objects.bytes)} in ${plural(usage.objects.count, "object")}`,
    [plural(status.runs, "run"), plural(status.actions, "action"), plural(status.artifacts, "artifact")].join(", ")
  ]
  if (status.suspect.length > 0) {
    const more =
      status.suspect.length > shownFailures ? ` and ${count(status.suspect.length - shownFailures)} more` : ""
    lines.push(
      style.red(
        `suspect: ${plural(status.suspect.length, "result")}, computed from damaged bytes, which the next run makes again: ${status.suspect.slice(0, shownFailures).join(", ")}${more}`
      )
    )
  }
  for (const run of running) {
    lines.push(
      "",
      `run ${run.id}  ${run.pipeline}, profile ${run.profile}, ${statusText("running", style)} for ${duration(now - run.startedMs)} on ${run.host}, process ${run.pid}`
    )
    const rows = working
      .filter(action => action.run === run.id)
      .map(action => [
        `  ${style.cyan("▸")} ${action.label}`,
        action.attempt > 1 ? `attempt ${action.attempt}` : "",
        duration(now - action.startedMs),
        action.lease === undefined
          ? style.yellow("no lease")
          : `lease of process ${action.lease.pid} on ${action.lease.host}, ${duration(Math.max(0, action.lease.expiresMs - now))} left`,
        style.dim(short(action.key))
      ])
    if (rows.length > 0) lines.push(table(rows))
  }
  const rows = last.map(run => [
    `  ${run.pipeline}`,
    `run ${run.id}`,
    run.profile,
    statusText(run.status, style),
    ago(now - run.startedMs),
    style.dim(tallyOf(run, style))
  ])
  lines.push("", "last runs", table(rows))
  if (failures !== undefined && failures.of.length > 0) {
    lines.push("", `failed in run ${failures.run}`)
    for (const { class: kind, label, log, message } of failures.of.slice(0, shownFailures))
      lines.push(
        `  ${style.red("✗")} ${label}  ${[kind, message ?? "its process vanished"]
          .filter(part => part !== null)
          .join(": ")
          .replaceAll("\n", "\n    ")}`,
        style.dim(`    log ${root}/${log}`)
      )
    if (failures.of.length > shownFailures)
      lines.push(`  … and ${count(failures.of.length - shownFailures)} more; --json lists all`)
  }
  return lines
}

/** Failures that are printed. */
const shownFailures = 10
