/** `pipeline why`: which part of a key changed, before and after; or what else made an action run. */
import { Effect, Option } from "effect"
import { verb } from "../verb.ts"
import type { Database } from "../../ledger/Database.ts"
import type { LedgerError } from "../../ledger/LedgerError.ts"
import { pipelineNames, splitName, usesOf } from "../../ledger/Names.ts"
import { resolve } from "../../ledger/References.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { flagsOf } from "../../pipeline/Pipeline.ts"
import { closest } from "../../pipeline/Suggestion.ts"
import type { Cache } from "../../runner/Cache.ts"
import * as flags from "../flags.ts"
import { attempt, nameOf, needCache, splitPath } from "../look.ts"
import { styleOf } from "../terminal/style.ts"
import { explainReference, explainRun } from "./whyPast.ts"
import { annotate } from "./whySource.ts"
import { printed, renderWhy, type WhyNode } from "../text/whyText.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("why", {
  about: "Say why actions ran: which part of their key changed, before and after",
  examples: {
    "pipeline why compare-50x": "Everything that the last run executed",
    "pipeline why compare-50x/train/with_align": "One stage, also when it was reused",
    "pipeline why compare-50x --next": "What a run would execute now",
    "pipeline why compare-50x/train --next --set train.lr=1e-4": "What a change would cause",
    "pipeline why 3f9a12": "An action by its key, or what made an artifact"
  },
  takes: {
    name: flags.argument(
      "name",
      "PIPELINE, PIPELINE/STAGE or PIPELINE/STAGE/NAME (PIPELINE may be the path of a file); STAGE alone; or digits of a key or digest"
    ),
    next: flags.toggle("next", "Explain what a run would do now, instead of what the last run did"),
    ...flags.planning
  },
  run: Effect.fn("why")(function* (args) {
    const { path, rest } = splitPath(args.name)
    const [ahead] = [
      ...(args.set.length > 0 ? ["--set"] : []),
      ...(Option.isSome(args.profile) ? ["--profile"] : []),
      ...flagsOf(flags.variantOf(args))
    ]
    if (!args.next && ahead !== undefined) {
      return yield* new ConfigError({
        at: ahead,
        message: "goes with --next: what the last run did is past"
      })
    }
    // Explaining one node takes some queries: what is not printed is not asked for.
    const limit = args.json ? Number.POSITIVE_INFINITY : printed
    const nodes = args.next
      ? yield* (yield* Effect.promise(() => import("./whyNext.ts"))).explainNext(args, path, rest, limit)
      : yield* explainPast(yield* needCache(args.cache), args.name, path, limit)
    if (args.json) return printJson(nodes)
    print(...renderWhy(nodes, Date.now(), styleOf(stdout())))
  })
})

/** What the last run of a pipeline did, or why an action was executed last. */
const explainPast = (
  cache: Cache,
  text: string,
  path: string | undefined,
  limit: number
): Effect.Effect<ReadonlyArray<WhyNode>, ConfigError | LedgerError> =>
  Effect.gen(function* () {
    const { database } = cache
    const name = yield* nameOf(text)
    const split = yield* attempt(() => splitName(database, name) ?? stageAlone(database, name))
    if (split === undefined) {
      if (path !== undefined || !/^(?:[a-z]+:)?[0-9a-f]+$/i.test(name)) return yield* neverRun(database, name)
      return yield* attempt(() => explainReference(database, name))
    }
    const { label, pipeline } = split
    const nodes = yield* attempt(() => explainRun(database, pipeline, label, limit))
    return yield* annotate(nodes, { database, pipeline: path ?? pipeline })
  })

/** A stage that is named without its pipeline. Throws ConfigError where several pipelines have one of this name. */
const stageAlone = (database: Database, name: string) => {
  const uses = usesOf(database, name)
  const [pipeline, ...others] = new Set(uses.map(use => use.pipeline))
  if (others.length > 0) resolve(database, name, { accepted: ["action"] })
  return pipeline === undefined ? undefined : { pipeline, label: name }
}

const neverRun = (database: Database, name: string): Effect.Effect<never, ConfigError | LedgerError> =>
  Effect.gen(function* () {
    const names = yield* attempt(() => pipelineNames(database))
    const near = closest(name.split("/")[0]!, names)
    return yield* new ConfigError({
      at: name,
      message: "no such pipeline was run with this cache",
      advice:
        near !== undefined
          ? `did you mean ${near}?`
          : `\`pipeline why ${name} --next\` explains a pipeline that was never run; run were: ${names.join(", ") || "none"}`
    })
  })
