/** The verbs of the command line. Only the one that is asked for is loaded, so that the program starts fast. */
import { Effect } from "effect"
import { type AnyCommand, load, rootOf, type Verbs } from "./program.ts"

/** In the order of the help text. Each file is named after its verb. */
const verbs: Verbs = {
  init: () => load(import("./verbs/init.ts")),
  list: () => load(import("./verbs/list.ts")),
  run: () => load(import("./verbs/run.ts")),
  plan: () => load(import("./verbs/plan.ts")),
  status: () => load(import("./verbs/status.ts")),
  watch: () => load(import("./verbs/watch.ts")),
  runs: () => load(import("./verbs/runs.ts")),
  show: () => load(import("./verbs/show.ts")),
  why: () => load(import("./verbs/why.ts")),
  lineage: () => load(import("./verbs/lineage.ts")),
  query: () => load(import("./verbs/query.ts")),
  diff: () => load(import("./verbs/diff.ts")),
  metrics: () => load(import("./verbs/metrics.ts")),
  export: () => load(import("./verbs/export.ts")),
  generate: () => load(import("./verbs/generate.ts")),
  serve: () => load(import("./verbs/serve.ts")),
  gc: () => load(import("./verbs/gc.ts")),
  pin: () => load(import("./verbs/pin.ts")),
  cache: () => load(import("./verbs/cache.ts")),
  doctor: () => load(import("./verbs/doctor.ts")),
  completions: () => load(import("./verbs/completions.ts"))
}

/** Reached by processes, not by people. */
const hidden: Verbs = {
  exec: () => load(import("./verbs/exec.ts"))
}

export const verbNames = Object.keys(verbs)

/** The root command with the verb that these words name, or with all verbs for help and completions. */
export const commandFor = (words: ReadonlyArray<string>): Effect.Effect<AnyCommand> =>
  Effect.promise(async () => {
    const named = words.find(word => !word.startsWith("-"))
    const one = named === undefined ? undefined : (verbs[named] ?? hidden[named])
    const loaded = one === undefined ? await Promise.all(Object.values(verbs).map(verb => verb())) : [await one()]
    return rootOf(loaded)
  })
