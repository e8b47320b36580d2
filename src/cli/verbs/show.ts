/** `pipeline show`: everything that is known of a run, an action, an artifact or an object. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Option, Result } from "effect"
import { verb } from "../verb.ts"
import type { Database } from "../../ledger/Database.ts"
import {
  actionDetails,
  artifactDetails,
  type ExecutionLine,
  executionsOfAction,
  executionsOfRun,
  objectDetails,
  runDetails
} from "../../ledger/Details.ts"
import type { Reference } from "../../ledger/References.ts"
import { runRow, statusOf } from "../../ledger/RunRows.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import type { Cache } from "../../runner/Cache.ts"
import { here, isAlive } from "../../runner/Machine.ts"
import * as flags from "../flags.ts"
import { appendedTo } from "../follow.ts"
import { itemsOfManifest } from "../items.ts"
import { artifactsFor, attempt, lookFor, nameOf, needCache } from "../look.ts"
import { lookUp } from "../lookUp.ts"
import { showAction, showArtifact, showFound, showObject, showRun } from "../text/showText.ts"
import { styleOf } from "../terminal/style.ts"
import { print, printData, printJson, stdout } from "../terminal/terminal.ts"

/** Items of a chunk set that are shown. */
const shownItems = 5

export const command = verb("show", {
  about: "Show everything about a run, an action or an artifact",
  examples: {
    "pipeline show last": "The last run: what was executed, what was reused, its targets",
    "pipeline show compare-50x/train/with_align": "Parameters, inputs, outputs, metrics, executions",
    "pipeline show 3f9a12": "An artifact: metadata, files, who made it, who used it",
    "pipeline show evaluate/score --item HumanEval/7": "What a model wrote for a problem, and what came of it",
    "pipeline show compare-50x/tokenize/corpus --log": "What an action printed",
    "pipeline show train/no_align --log --follow": "What an action prints, as it does"
  },
  takes: {
    reference: flags.argument(
      "ref",
      "A run (41, `last`, a pipeline's name), an action (PIPELINE/STAGE, STAGE, digits of its key) or an artifact (digits of its digest)"
    ),
    item: flags.optionalText(
      "item",
      "NAME",
      "Only what its artifacts have under this name: items of chunk sets, and lines of JSON; of samples, a problem"
    ),
    log: flags.toggle("log", "Print the log of an action's last execution, or the logs of a run"),
    follow: flags.toggle("follow", "With --log of an action: go on printing what it says until it ends"),
    ...flags.ofCache
  },
  run: Effect.fn("show")(function* (args) {
    const cache = yield* needCache(args.cache)
    const { database } = cache
    const name = yield* nameOf(args.reference)
    const reference = yield* lookFor(database, name, { accepted: ["run", "action", "artifact", "object"] })
    if (args.follow) return yield* followLog(cache, reference, args)
    if (args.log) return yield* attempt(() => printLogs(cache, logsOf(database, reference), args))
    const style = styleOf(stdout())
    if (Option.isSome(args.item)) {
      const artifacts = yield* artifactsFor(database, name)
      const found = yield* lookUp(cache.store, artifacts, args.item.value)
      if (found.length === 0)
        return yield* new ConfigError({ at: args.reference, message: `has nothing under the name ${args.item.value}` })
      return args.json ? printJson(found) : print(...found.flatMap(each => showFound(each, style)))
    }
    const now = Date.now()
    switch (reference._tag) {
      case "run": {
        const details = yield* attempt(() => runDetails(database, reference.id))
        const run = { ...details.run, status: statusOf(details.run, here(), isAlive) }
        return args.json ? printJson({ ...details, run }) : print(...showRun({ ...details, run }, now, style))
      }
      case "action": {
        const details = yield* attempt(() => actionDetails(database, reference.id))
        return args.json ? printJson(details) : print(...showAction(details, now, style))
      }
      case "artifact": {
        const details = yield* attempt(() => artifactDetails(database, reference.id))
        const read = yield* Effect.result(
          details.items === null
            ? Effect.succeed([])
            : Effect.flatMap(cache.store.readManifest(details.digest), manifest =>
                itemsOfManifest(cache.store, manifest, shownItems)
              )
        )
        // A set whose bytes are gone is still worth showing.
        const items = Result.isSuccess(read) ? read.success : []
        return args.json
          ? printJson({ ...details, firstItems: items })
          : print(...showArtifact(details, items, now, style))
      }
      case "object": {
        const details = yield* attempt(() => objectDetails(database, reference.digest))
        const path = yield* Effect.result(cache.store.locate(reference.digest))
        const where = Result.isSuccess(path) ? path.success : undefined
        return args.json ? printJson({ ...details, path: where ?? null }) : print(...showObject(details, where, style))
      }
    }
  })
})

const logsOf = (database: Database, reference: Reference): ReadonlyArray<ExecutionLine> => {
  switch (reference._tag) {
    case "run":
      return executionsOfRun(database, reference.id)
    case "action":
      return executionsOfAction(database, reference.id).slice(-1)
    case "artifact":
      return database
        .column<number>("SELECT action FROM output WHERE artifact = ?", reference.id)
        .flatMap(action => executionsOfAction(database, action).slice(-1))
    case "object":
      return []
  }
}

/** Milliseconds between two looks at a log. */
const lookMs = 200

/** Prints the log of an action's last execution until that ends. */
const followLog = Effect.fnUntraced(function* (
  { database, paths }: Cache,
  found: Reference,
  { json, log, reference }: { readonly json: boolean; readonly log: boolean; readonly reference: string }
) {
  if (!log || json || found._tag !== "action")
    return yield* new ConfigError({ at: "--follow", message: "goes with --log of an action, and prints text" })
  const last = yield* attempt(() => executionsOfAction(database, found.id).at(-1))
  if (last === undefined)
    return yield* new ConfigError({ at: reference, message: "has no log: nothing was executed for it" })
  const read = appendedTo(join(paths.root, last.log))
  const decoder = new TextDecoder()
  const isRunning = attempt(
    () =>
      executionsOfAction(database, found.id).at(-1)?.status === "running" &&
      statusOf(runRow(database, last.run)!, here(), isAlive) === "running"
  )
  for (;;) {
    // Asked before the log is read: what is said last is said before the end.
    const goesOn = yield* isRunning
    printData(decoder.decode(read(), { stream: true }))
    if (!goesOn) return
    yield* Effect.sleep(lookMs)
  }
})

const printLogs = (
  cache: Cache,
  executions: ReadonlyArray<ExecutionLine>,
  { json, reference }: { readonly json: boolean; readonly reference: string }
): void => {
  if (executions.length === 0)
    throw new ConfigError({ at: reference, message: "has no log: nothing was executed for it" })
  const logs = executions.map(({ attempt: n, label, log, run, status }) => {
    const path = join(cache.paths.root, log)
    return {
      run,
      label,
      attempt: n,
      status,
      log: path,
      text: existsSync(path) ? readFileSync(path, "utf8") : undefined
    }
  })
  if (json) return printJson(logs.map(log => ({ ...log, text: log.text ?? null })))
  const style = styleOf(stdout())
  for (const { label, log, text } of logs) {
    if (logs.length > 1) print(style.bold(`==> ${label}  ${log}`))
    if (text === undefined) print(style.yellow(`the log ${log} is gone`))
    else printData(text.endsWith("\n") || text === "" ? text : `${text}\n`)
  }
}
