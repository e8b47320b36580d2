/** The program for verbs that only look. */
import { Effect } from "effect"
import type { lookingVerbs } from "./lookingWords.ts"
import { type AnyCommand, rootOf, start, type Verbs } from "./program.ts"

const load = (module: Promise<{ readonly command: unknown }>): Promise<AnyCommand> =>
  module.then(({ command }) => command as AnyCommand)

export const looking: Verbs & { readonly [verb in (typeof lookingVerbs)[number]]: unknown } = {
  runs: () => load(import("./runs.ts")),
  status: () => load(import("./status.ts")),
  show: () => load(import("./show.ts")),
  lineage: () => load(import("./lineage.ts")),
  query: () => load(import("./query.ts")),
  diff: () => load(import("./diff.ts")),
  metrics: () => load(import("./metrics.ts")),
  why: () => load(import("./why.ts"))
}

start(words => Effect.promise(async () => rootOf([await looking[words[0]!]!()])))
