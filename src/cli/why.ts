/** `pipeline why`: which part of a key changed, before and after; or what else made an action run. */
import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { EngineName, Precision } from "../engines/names.ts"
import type { Database } from "../ledger/Database.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import { pipelineNames, resolve, splitName } from "../ledger/References.ts"
import { runRow } from "../ledger/RunRows.ts"
import { type Asked, executionColumns, type ExecutionRow, explainExecution, reasonFor } from "../ledger/Why.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { flagsOf } from "../pipeline/Pipeline.ts"
import { closest } from "../pipeline/Suggestion.ts"
import { type Cache, openReadonly } from "../runner/Cache.ts"
import { plan as planRun } from "../runner/Planning.ts"
import { readOnly } from "../store/Disk.ts"
import * as Layer from "../store/Layer.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import * as Store from "../store/Store.ts"
import * as flags from "./flags.ts"
import { dist } from "./home.ts"
import { attempt, needCache, print, printJson, splitPath } from "./look.ts"
import { planOf } from "./pipelines.ts"
import { styleOf } from "./style.ts"
import { annotate, settingsOf } from "./whySource.ts"
import { printed, renderWhy, type WhyNode } from "./whyText.ts"
import { stdout } from "./terminal.ts"

export const command = Command.make(
  "why",
  {
    name: Argument.String("name").pipe(
      Argument.withDescription(
        "PIPELINE, PIPELINE/STAGE or PIPELINE/STAGE/NAME (PIPELINE may be the path of a file); or digits of a key or digest"
      )
    ),
    next: Flag.Boolean("next").pipe(
      Flag.withDescription("Explain what a run would do now, instead of what the last run did"),
      Flag.withDefault(false)
    ),
    profile: flags.profile,
    set: flags.set,
    ...flags.variant,
    engine: flags.engine,
    precision: flags.precision,
    cache: flags.cache,
    json: flags.json
  },
  Effect.fn("why")(function* (args) {
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
      ? yield* explainNext(args, path, rest, limit)
      : yield* explainPast(yield* needCache(args.cache), args.name, path, rest, limit)
    if (args.json) return printJson(nodes)
    print(...renderWhy(nodes, Date.now(), styleOf(stdout())))
  })
).pipe(
  Command.withDescription("Say why actions ran: which part of their key changed, before and after"),
  Command.withExamples([
    { command: "pipeline why compare-50x", description: "Everything that the last run executed" },
    { command: "pipeline why compare-50x/train/with_align", description: "One stage, also when it was reused" },
    { command: "pipeline why compare-50x --next", description: "What a run would execute now" },
    { command: "pipeline why compare-50x/train --next --set train.lr=1e-4", description: "What a change would cause" },
    { command: "pipeline why 3f9a12", description: "An action by its key, or what made an artifact" }
  ])
)

/** What the last run of a pipeline did, or why an action was executed last. */
const explainPast = (
  cache: Cache,
  text: string,
  path: string | undefined,
  rest: string,
  limit: number
): Effect.Effect<ReadonlyArray<WhyNode>, ConfigError | LedgerError> =>
  Effect.gen(function* () {
    const { database } = cache
    // The file tells the pipeline's name, and later where its parameters stand.
    const name = path === undefined ? text : `${(yield* planOf(path, noFlags)).pipeline}${rest}`
    const split = yield* attempt(() => splitName(database, name))
    if (split === undefined) {
      if (path !== undefined || !/^(?:[a-z]+:)?[0-9a-f]+$/i.test(name)) return yield* neverRun(database, name)
      return yield* attempt(() => explainReference(database, name))
    }
    const { label, pipeline } = split
    const nodes = yield* attempt(() => explainRun(database, pipeline, label, limit))
    return yield* annotate(nodes, { database, pipeline: path ?? pipeline })
  })

const noFlags = { profile: undefined, set: [], only: [] }

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

/** The executions behind a key, or behind an artifact. */
export const explainReference = (database: Database, text: string): ReadonlyArray<WhyNode> => {
  const reference = resolve(database, text, ["action", "artifact"])
  const executions =
    reference._tag === "action"
      ? lastExecution(database, reference.id)
      : database
          .column<number>("SELECT DISTINCT action FROM output WHERE artifact = ?", reference.id)
          .flatMap(action => lastExecution(database, action))
  if (executions.length === 0) {
    throw new ConfigError({ at: text, message: "was never executed here: nothing is known of why" })
  }
  return executions.map(execution => {
    const explained = explainExecution(database, execution)
    return { label: explained.label, outcome: "ran", run: explained.run, explained }
  })
}

const lastExecution = (database: Database, action: number): ReadonlyArray<ExecutionRow> =>
  database.all<ExecutionRow>(
    `SELECT ${executionColumns} FROM execution WHERE action = ? ORDER BY execution.id DESC LIMIT 1`,
    action
  )

/** Whether a node's label is meant by `STAGE` or `STAGE/NAME`. */
const isMeant = (label: string, pattern: string | undefined) =>
  pattern === undefined || label === pattern || label.startsWith(`${pattern}/`)

/** What the last run of a pipeline executed; with a stage named, what became of it, executed or not. */
export const explainRun = (
  database: Database,
  pipeline: string,
  pattern: string | undefined,
  limit = Number.POSITIVE_INFINITY
): ReadonlyArray<WhyNode> => {
  const { id } = database.get<{ id: number }>("SELECT max(id) AS id FROM run WHERE pipeline = ?", pipeline)!
  const run = runRow(database, id)!
  const executions = database.all<ExecutionRow>(
    `SELECT ${executionColumns} FROM execution WHERE id IN (SELECT min(id) FROM execution WHERE run = ? GROUP BY label, action) ORDER BY id`,
    id
  )
  const ran = executions
    .filter(({ label }) => isMeant(label, pattern))
    .map(execution => (): WhyNode => {
      const explained = explainExecution(database, execution)
      return { label: execution.label, outcome: "ran", run: id, explained }
    })
  if (pattern === undefined)
    return ran.length > 0
      ? first(ran, limit, id)
      : [{ label: pipeline, outcome: "nothing", run: id, reused: run.reused }]
  const executed = new Set(executions.map(({ label }) => label))
  const planned = database.all<{ label: string; action: number | null }>(
    "SELECT label, action FROM plan_node WHERE plan = ? ORDER BY seq",
    run.plan
  )
  const others = planned
    .filter(({ label }) => isMeant(label, pattern) && !executed.has(label))
    .map(({ action, label }) => (): WhyNode => {
      const execution = action === null ? undefined : lastExecution(database, action)[0]
      if (execution === undefined) return { label, outcome: "not reached", run: id }
      return { label, outcome: "reused", run: id, explained: explainExecution(database, execution) }
    })
  if (ran.length + others.length > 0) return first([...ran, ...others], limit, id)
  const labels = [...new Set([...planned.map(({ label }) => label), ...executed])]
  const near = closest(pattern, [...labels, ...labels.map(each => each.split("/")[0]!)])
  throw new ConfigError({
    at: `${pipeline}/${pattern}`,
    message: `run ${id} of ${pipeline} had no stage ${pattern}`,
    advice:
      near === undefined
        ? `its stages: ${labels.slice(0, 20).join(", ")}${labels.length > 20 ? ", …" : ""}`
        : `did you mean ${pipeline}/${near}?`
  })
}

/** Explains the first nodes, and counts the others. */
const first = (nodes: ReadonlyArray<() => WhyNode>, limit: number, run: number | undefined): ReadonlyArray<WhyNode> => [
  ...nodes.slice(0, limit).map(explain => explain()),
  ...(nodes.length > limit ? [{ label: "", outcome: "more", run, more: nodes.length - limit } as const] : [])
]

interface NextArgs extends flags.VariantArgs {
  readonly name: string
  readonly profile: Option.Option<string>
  readonly set: ReadonlyArray<string>
  readonly engine: EngineName
  readonly precision: Precision
  readonly cache: Option.Option<string>
}

/** What a run would do now. */
const explainNext = (args: NextArgs, path: string | undefined, rest: string, limit: number) =>
  Effect.gen(function* () {
    const location = flags.locationOf(args.cache)
    const cache = yield* attempt(() => openReadonly(location))
    const database = cache?.database
    const slash = args.name.indexOf("/")
    const [name, label] =
      path !== undefined
        ? [path, rest.slice(1)]
        : slash === -1
          ? [args.name, ""]
          : [args.name.slice(0, slash), args.name.slice(slash + 1)]
    const pattern = label === "" ? undefined : label
    const wanted = yield* planOf(name, {
      profile: Option.getOrUndefined(args.profile),
      set: args.set,
      only: [],
      variant: flags.variantOf(args)
    })
    const meant = wanted.nodes.filter(node => isMeant(node.label, pattern))
    if (pattern !== undefined && meant.length === 0) {
      const labels = wanted.nodes.map(node => node.label)
      const near = closest(pattern, [...labels, ...labels.map(each => each.split("/")[0]!)])
      return yield* new ConfigError({
        at: args.name,
        message: `pipeline ${wanted.pipeline} has no stage ${pattern}`,
        advice: near === undefined ? `its stages: ${labels.slice(0, 20).join(", ")}` : `did you mean ${near}?`
      })
    }
    const { resolver } = yield* planRun({
      plan: wanted,
      database,
      writable: false,
      store:
        cache?.store ??
        Store.make({
          root: location.root,
          disk: readOnly(nodeDisk),
          layers: location.layers.map(directory => Layer.make({ directory, disk: nodeDisk }))
        }),
      engine: yield* flags.engineClass(args),
      dist,
      refresh: false
    })
    const shown = meant.filter(node => {
      const state = resolver.states[node.id]!
      return pattern !== undefined || state._tag !== "known" || state.outputs.some(output => output.state !== "present")
    })
    const nodes = yield* attempt(() =>
      first(
        shown.map(node => (): WhyNode => {
          const state = resolver.states[node.id]!
          const base = { label: node.label, run: undefined }
          if (state._tag === "unknown") {
            const open = node.wires.filter(wire => resolver.states[wire.node]!._tag !== "known")
            return {
              ...base,
              outcome: "unknown",
              waits: [...new Set(open.map(wire => wanted.nodes[wire.node]!.label))]
            }
          }
          if (state._tag === "known") {
            const gone = state.outputs.find(output => output.state !== "present")?.state
            return { ...base, outcome: gone === undefined ? "hit" : "gone", key: state.key, gone }
          }
          const components = resolver.components(node)!
          const asked: Asked = { label: node.label, key: state.key, components, codeDetail: resolver.codeDetail(node) }
          const reason = database === undefined ? ({ _tag: "first" } as const) : reasonFor(database, asked)
          return { ...base, outcome: "would run", key: state.key, reason }
        }),
        limit,
        undefined
      )
    )
    if (nodes.length === 0)
      return [
        { label: wanted.pipeline, outcome: "nothing", run: undefined, reused: wanted.nodes.length } satisfies WhyNode
      ]
    return yield* annotate(nodes, { database, pipeline: name, plan: wanted, settings: settingsOf(args.set) })
  })
