/** `pipeline diff`: what differs between runs, and nothing else. */
import { Effect } from "effect"
import { Argument, Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { diffRuns } from "../../ledger/Diff.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { diffJson, diffMarkdown, diffText } from "../text/diffFormats.ts"
import * as flags from "../flags.ts"
import { attempt, lookFor, nameOf, needCache } from "../look.ts"
import { styleOf } from "../terminal/style.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("diff", {
  about: "Compare runs: parameters, code, inputs, metrics, artifacts; only what differs",
  examples: {
    "pipeline diff 40 41": "What changed between two runs",
    "pipeline diff 38 40 41 --format markdown": "A table for a pull request"
  },
  takes: {
    runs: flags
      .argument("run", "Two or more runs: 41, `last`, or a pipeline's name for its last run")
      .pipe(Argument.variadic({ min: 0 })),
    format: flags
      .choice("format", ["text", "markdown", "json"], "Markdown is meant for a pull request")
      .pipe(Flag.withDefault("text")),
    all: flags.toggle("all", "All differences, however many"),
    ...flags.ofCache
  },
  run: Effect.fn("diff")(function* (args) {
    if (args.runs.length < 2) {
      return yield* new ConfigError({
        message: `diff compares two runs or more, got ${args.runs.length === 0 ? "none" : "one"}`,
        advice: "for example `pipeline diff 40 41`; see `pipeline runs`"
      })
    }
    const { database } = yield* needCache(args.cache)
    const names = yield* Effect.forEach(args.runs, nameOf)
    const runs = yield* Effect.forEach(names, name => lookFor(database, name, { accepted: ["run"] }))
    const diff = yield* attempt(() =>
      diffRuns(
        database,
        runs.map(({ id }) => id)
      )
    )
    if (args.json || args.format === "json") return printJson(diffJson(diff))
    print(...(args.format === "markdown" ? diffMarkdown(diff, args.all) : diffText(diff, styleOf(stdout()), args.all)))
  })
})
