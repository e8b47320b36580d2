/** `pipeline lineage`: what an artifact was computed from, and what was computed from it. */
import { Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { type Direction, subgraph } from "../../ledger/Lineage.ts"
import * as flags from "../flags.ts"
import { itemsOf } from "../items.ts"
import { toDot, toJson, toMermaid } from "../text/lineageFormats.ts"
import { renderTree } from "../text/lineageTree.ts"
import { artifactsFor, attempt, nameOf, needCache } from "../look.ts"
import { styleOf } from "../terminal/style.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("lineage", {
  about: "Show what an artifact was computed from, and what was computed from it",
  examples: {
    "pipeline lineage 3f9a12": "From an artifact up to the documents",
    "pipeline lineage compare-50x/tokenize/corpus --down": "Everything that saw these tokens",
    "pipeline lineage last --format mermaid > lineage.mmd": "A diagram of the last run's targets",
    "pipeline lineage compare-50x/anchor --items": "The items of a chunk set"
  },
  takes: {
    reference: flags.argument("ref", "An artifact, an action (its outputs) or a run (its targets)"),
    up: flags.toggle("up", "What it was computed from (the default)"),
    down: flags.toggle("down", "What was computed from it"),
    depth: flags.optionalWhole("depth", "N", "Steps to follow (default: all)", 1),
    format: flags
      .choice("format", ["tree", "json", "dot", "mermaid"], "How to print it")
      .pipe(Flag.withDefault("tree")),
    items: flags.toggle("items", "List the items of a chunk set instead: key, size, note"),
    ...flags.ofCache
  },
  run: Effect.fn("lineage")(function* (args) {
    const depth = Option.getOrUndefined(args.depth)
    const cache = yield* needCache(args.cache)
    const { database } = cache
    const name = yield* nameOf(args.reference)
    const roots = yield* artifactsFor(database, name)
    const format = args.json ? "json" : args.format
    if (args.items) {
      const listed = yield* itemsOf(cache.store, roots)
      if (format === "json") return printJson(listed)
      return print(...listed.map(({ key, note, size }) => `${key}  ${size}  ${JSON.stringify(note)}`))
    }
    const directions: ReadonlyArray<Direction> = [
      ...(args.up || !args.down ? (["up"] as const) : []),
      ...(args.down ? (["down"] as const) : [])
    ]
    const starts = roots.map(({ id }) => id)
    yield* attempt(() => {
      switch (format) {
        case "tree":
          return print(...renderTree(database, starts, directions, depth, styleOf(stdout())))
        case "json":
          return printJson(toJson(subgraph(database, starts, directions, depth)))
        case "dot":
          return print(toDot(subgraph(database, starts, directions, depth)))
        case "mermaid":
          return print(toMermaid(subgraph(database, starts, directions, depth)))
      }
    })
  })
})
