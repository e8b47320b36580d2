/** The program for verbs that only look. */
import { Effect } from "effect"
import type { lookingVerbs } from "./lookingWords.ts"
import { load, rootOf, start, type Verbs } from "./program.ts"

export const looking: Verbs & { readonly [verb in (typeof lookingVerbs)[number]]: unknown } = {
  runs: () => load(import("./verbs/runs.ts")),
  status: () => load(import("./verbs/status.ts")),
  show: () => load(import("./verbs/show.ts")),
  lineage: () => load(import("./verbs/lineage.ts")),
  query: () => load(import("./verbs/query.ts")),
  diff: () => load(import("./verbs/diff.ts")),
  metrics: () => load(import("./verbs/metrics.ts")),
  why: () => load(import("./verbs/why.ts"))
}

start(words => Effect.promise(async () => rootOf([await looking[words[0]!]!()])))
