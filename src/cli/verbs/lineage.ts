/** `pipeline lineage`: what an artifact was computed from, and what was computed from it. */
import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { type Direction, subgraph } from "../../ledger/Lineage.ts"
import { artifactsOf, type NamedArtifact, resolve } from "../../ledger/References.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { short } from "../../pipeline/Digest.ts"
import * as flags from "../flags.ts"
import { itemsOf } from "../items.ts"
import { toDot, toJson, toMermaid } from "../text/lineageFormats.ts"
import { renderTree } from "../text/lineageTree.ts"
import { attempt, nameOf, needCache, print, printJson } from "../look.ts"
import { styleOf } from "../terminal/style.ts"
import { stdout } from "../terminal/terminal.ts"

export const command = Command.make(
  "lineage",
  {
    reference: Argument.String("ref").pipe(
      Argument.withDescription("An artifact, an action (its outputs) or a run (its targets)")
    ),
    up: Flag.Boolean("up").pipe(
      Flag.withDescription("What it was computed from (the default)"),
      Flag.withDefault(false)
    ),
    down: Flag.Boolean("down").pipe(Flag.withDescription("What was computed from it"), Flag.withDefault(false)),
    depth: Flag.Int("depth").pipe(
      Flag.withDescription("Steps to follow (default: all)"),
      Flag.withMetavar("N"),
      flags.atLeast(0),
      Flag.optional
    ),
    format: Flag.Literals("format", ["tree", "json", "dot", "mermaid"]).pipe(
      Flag.withDescription("How to print it"),
      Flag.withDefault("tree")
    ),
    items: Flag.Boolean("items").pipe(
      Flag.withDescription("List the items of a chunk set instead: key, size, note"),
      Flag.withDefault(false)
    ),
    cache: flags.cache,
    json: flags.json
  },
  Effect.fn("lineage")(function* (args) {
    const depth = Option.getOrUndefined(args.depth)
    if (depth !== undefined && depth < 1)
      return yield* new ConfigError({ at: `--depth ${depth}`, message: "must be at least 1" })
    const cache = yield* needCache(args.cache)
    const { database } = cache
    const name = yield* nameOf(args.reference)
    const roots = yield* attempt(() => rootsOf(artifactsOf(database, resolve(database, name)), args.reference))
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
    const starts = [...new Set(roots.map(({ id }) => id))]
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
).pipe(
  Command.withDescription("Show what an artifact was computed from, and what was computed from it"),
  Command.withExamples([
    { command: "pipeline lineage 3f9a12", description: "From an artifact up to the documents" },
    { command: "pipeline lineage compare-50x/tokenize --down", description: "Everything that saw these tokens" },
    {
      command: "pipeline lineage last --format mermaid > lineage.mmd",
      description: "A diagram of the last run's targets"
    },
    { command: "pipeline lineage compare-50x/anchors --items", description: "The items of a chunk set" }
  ])
)

const rootsOf = (roots: ReadonlyArray<NamedArtifact>, text: string): ReadonlyArray<NamedArtifact> => {
  if (roots.length > 0) return roots
  throw new ConfigError({
    at: text,
    message: "has no artifact: it failed, or has not ended",
    advice: `\`pipeline show ${/^[0-9a-f]{64}$/.test(text) ? short(text) : text}\` says more`
  })
}
