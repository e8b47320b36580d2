/** `pipeline query`: read-only SQL over the ledger, or a named query. */
import { spawnSync } from "node:child_process"
import { Effect, Option } from "effect"
import { Argument, Flag } from "effect/cli"
import { verb } from "../verb.ts"
import type { Database } from "../../ledger/Database.ts"
import { LedgerError } from "../../ledger/LedgerError.ts"
import { needsRun, queries } from "../../ledger/queries.ts"
import { resolve } from "../../ledger/References.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { closest } from "../../pipeline/Suggestion.ts"
import { Exit, exitCodes } from "../failure.ts"
import * as flags from "../flags.ts"
import { followLauncherFromThread } from "../launcher.ts"
import { attempt, needCache } from "../look.ts"
import { csv, formatRows } from "../text/rows.ts"
import { styleOf, table } from "../terminal/style.ts"
import { print, printData, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("query", {
  about: "Ask the ledger with SQL, or with a named query; changes nothing",
  examples: {
    "pipeline query --list": "The named queries",
    "pipeline query --named slowest-stages": "Where the time goes",
    "pipeline query --named metrics --run 41 --format csv": "Final values of a run, for a spreadsheet",
    'pipeline query "SELECT kind, count(*) FROM artifact GROUP BY kind"': "Your own question"
  },
  takes: {
    sql: flags.argument("sql", "A SELECT over the tables of docs/ledger.md").pipe(Argument.optional),
    named: flags.optionalText("named", "QUERY", "Run a query by its name (see --list)"),
    run: flags.optionalText("run", "RUN", "The run that a named query is about (default: the last)"),
    list: flags.toggle("list", "List the named queries"),
    format: flags
      .choice("format", ["table", "json", "csv"], "How to print the rows; digests are hexadecimal in all of them")
      .pipe(Flag.withDefault("table")),
    timeout: flags.optionalWhole(
      "timeout",
      "SECONDS",
      "Give up after this many seconds (default: never; Ctrl-C stops a query at once)",
      1
    ),
    ...flags.ofCache
  },
  run: Effect.fn("query")(function* (args) {
    const format = args.json ? "json" : args.format
    if (args.list) return list(format)
    if (Option.isSome(args.sql) === Option.isSome(args.named)) {
      return yield* new ConfigError({
        message: Option.isSome(args.sql) ? "give SQL or --named, not both" : "give SQL, or a query's name with --named",
        advice: "`pipeline query --list` shows the named ones"
      })
    }
    if (Option.isSome(args.timeout)) return yield* withinTime(args.timeout.value)
    const named = Option.isSome(args.named)
      ? yield* attempt(() => namedQuery(args.named.pipe(Option.getOrThrow)))
      : undefined
    if (Option.isSome(args.run) && (named === undefined || !needsRun(named)))
      return yield* new ConfigError({ at: "--run", message: "this query is not about a run" })
    const { database } = yield* needCache(args.cache)
    followLauncherFromThread()
    const { columns, rows } = yield* attempt(() => {
      if (named === undefined) return ask(database, Option.getOrThrow(args.sql))
      return ask(
        database,
        needsRun(named)
          ? bindRun(
              database,
              named.sql,
              Option.getOrElse(args.run, () => "last")
            )
          : named.sql
      )
    })
    const lines = formatRows(columns, rows, format)
    return format === "csv" ? printData(`${lines.join("\n")}\n`) : print(...lines)
  })
})

const list = (format: "table" | "json" | "csv"): void => {
  const entries = Object.entries(queries)
  if (format === "json") return printJson(entries.map(([name, { about, sql }]) => ({ name, about, sql })))
  if (format === "csv")
    return print(
      ...csv(
        ["name", "about"],
        entries.map(([name, { about }]) => [name, about])
      )
    )
  const style = styleOf(stdout())
  print(
    table(
      entries.map(([name, query]) => [style.bold(name), query.about + (needsRun(query) ? style.dim("  [--run]") : "")])
    )
  )
}

const namedQuery = (name: string) => {
  const query = Object.hasOwn(queries, name) ? queries[name] : undefined
  if (query !== undefined) return query
  const near = closest(name, Object.keys(queries))
  throw new ConfigError({
    at: `--named ${name}`,
    message: "there is no such query",
    advice: near === undefined ? "`pipeline query --list` shows those that there are" : `did you mean ${near}?`
  })
}

/** Puts the run's number in the place of `:run`. */
const bindRun = (database: Database, sql: string, run: string): string =>
  sql.replaceAll(":run", String(resolve(database, run, { accepted: ["run"] }).id))

/** What SQLite says of a statement that it cannot prepare or run is the user's concern, not a failure of ours. */
const ask = (database: Database, sql: string) => {
  try {
    return database.table(sql)
  } catch (cause) {
    if (!(cause instanceof LedgerError)) throw cause
    if (cause.code === "SQLITE_READONLY")
      throw new ConfigError({ message: cause.message, advice: "queries only read; use SELECT" })
    const wrong = cause.code === "SQLITE_ERROR" || cause.code === "UNKNOWN"
    if (!wrong) throw cause
    throw new ConfigError({
      message: cause.message.replace(/^.*could not run the query: /, "SQL: "),
      advice: 'docs/ledger.md describes the tables; `pipeline query "SELECT sql FROM sqlite_schema"` shows them'
    })
  }
}

/** Runs this same command in a process of its own that can be ended in the middle of a query. */
const withinTime = (seconds: number): Effect.Effect<void, ConfigError | Exit> =>
  Effect.gen(function* () {
    const words = process.argv.slice(1)
    const place = words.findIndex(word => word === "--timeout" || word.startsWith("--timeout="))
    words.splice(place, words[place] === "--timeout" ? 2 : 1)
    const child = spawnSync(process.execPath, [...process.execArgv, ...words], {
      stdio: "inherit",
      timeout: seconds * 1000,
      killSignal: "SIGKILL"
    })
    if (child.status === 0) return
    if (child.status === null && child.error !== undefined) {
      process.stderr.write(
        `error the query took longer than ${seconds} s\n  narrow it, or give it more time with --timeout\n`
      )
      return yield* Effect.fail(new Exit(exitCodes.failed))
    }
    return yield* Effect.fail(new Exit(child.status ?? exitCodes.interrupted))
  })
