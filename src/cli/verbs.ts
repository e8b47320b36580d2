/** The verbs of the command line. Only the one that is asked for is loaded, so that the program starts fast. */
import { Effect } from "effect"
import { type AnyCommand, rootOf, type Verbs } from "./program.ts"

const load = (module: Promise<{ readonly command: unknown }>): Promise<AnyCommand> =>
  module.then(({ command }) => command as AnyCommand)

/** In the order of the help text. Each file is named after its verb. */
const verbs: Verbs = {
  list: () => load(import("./list.ts")),
  run: () => load(import("./run.ts")),
  plan: () => load(import("./plan.ts")),
  status: () => load(import("./status.ts")),
  runs: () => load(import("./runs.ts")),
  show: () => load(import("./show.ts")),
  why: () => load(import("./why.ts")),
  lineage: () => load(import("./lineage.ts")),
  query: () => load(import("./query.ts")),
  diff: () => load(import("./diff.ts")),
  metrics: () => load(import("./metrics.ts")),
  export: () => load(import("./export.ts")),
  generate: () => load(import("./generate.ts")),
  gc: () => load(import("./gc.ts")),
  pin: () => load(import("./pin.ts")),
  cache: () => load(import("./cache.ts")),
  doctor: () => load(import("./doctor.ts")),
  completions: () => load(import("./completions.ts"))
}

/** Reached by processes, not by people. */
const hidden: Verbs = {
  exec: () => load(import("./exec.ts"))
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
