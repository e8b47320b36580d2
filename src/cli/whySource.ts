/** Where the changes that `why` names come from: a line of a configuration, a `--set`, or an upstream stage. */
import { Effect, Option } from "effect"
import { parseOverride } from "../data/overrides.ts"
import type { Database } from "../ledger/Database.ts"
import { runRow } from "../ledger/RunRows.ts"
import { type Difference, producerOf } from "../ledger/Why.ts"
import { find, format } from "../pipeline/Origin.ts"
import { pathBelow, touches } from "../pipeline/OverrideProblem.ts"
import type { Plan, PlanNode } from "../pipeline/Plan.ts"
import type { Override } from "../pipeline/PlanBuilder.ts"
import type { Variant } from "../pipeline/Pipeline.ts"
import { variantOf } from "./flags.ts"
import { planOf } from "./pipelines.ts"
import { changesOf, type WhyNode } from "./whyText.ts"

/** The parameters that a command line sets; one that cannot be read is left out. */
export const settingsOf = (texts: ReadonlyArray<string>): ReadonlyArray<Override> =>
  texts.flatMap(text => {
    try {
      return [parseOverride(text)]
    } catch {
      return []
    }
  })

/** The `--set` of a recorded command line. */
export const settingsOfCommand = (command: string): ReadonlyArray<string> =>
  [...command.matchAll(/(?:^|\s)--set(?:=|\s+)(\S+)/g)].map(match => match[1]!)

/** The flags of a recorded command line that chose a variant of the pipeline. */
const variantOfCommand = (command: string): Variant => {
  const given = (flag: string) => new RegExp(`\\s--${flag}(?:\\s|$)`).test(command)
  const seeds = /\s--seeds(?:=|\s+)(\d+)/.exec(command)?.[1]
  return variantOf({
    quick: given("quick"),
    controls: given("controls"),
    ablations: given("ablations"),
    seeds: Option.map(Option.fromUndefinedOr(seeds), Number)
  })
}

export interface Surroundings {
  readonly database: Database | undefined
  /** Name or path of the pipeline, to find where its parameters stand. */
  readonly pipeline: string
  /** The plan of now, where it was evaluated already. */
  readonly plan?: Plan
  /** What the command line of now sets. */
  readonly settings?: ReadonlyArray<Override>
}

/** Adds to each difference where it comes from, as far as that can be found out. */
export const annotate = (
  nodes: ReadonlyArray<WhyNode>,
  { database, pipeline, plan, settings }: Surroundings
): Effect.Effect<ReadonlyArray<WhyNode>> =>
  Effect.gen(function* () {
    const plans = new Map<number | undefined, ReadonlyMap<string, PlanNode>>()
    const nodesOf = (run: number | undefined) =>
      Effect.gen(function* () {
        const known = plans.get(run)
        if (known !== undefined) return known
        const row = run === undefined || database === undefined ? undefined : runRow(database, run)
        const evaluated =
          plan ??
          (row === undefined
            ? undefined
            : yield* Effect.orElseSucceed(
                planOf(pipeline, {
                  profile: row.profile,
                  set: settingsOfCommand(row.command),
                  only: [],
                  variant: variantOfCommand(row.command)
                }),
                () => undefined
              ))
        const found = new Map(evaluated?.nodes.map(node => [node.label, node]))
        plans.set(run, found)
        return found
      })
    const commandOf = (run: number) => (database === undefined ? undefined : runRow(database, run)?.command)
    const annotated: Array<WhyNode> = []
    for (const node of nodes) {
      const changes = changesOf(node)
      if (changes === undefined) {
        annotated.push(node)
        continue
      }
      const { differences, run, since } = changes
      const here = settings ?? settingsOf(settingsOfCommand((run === undefined ? undefined : commandOf(run)) ?? ""))
      const before = settingsOf(settingsOfCommand(commandOf(since) ?? ""))
      const planned = differences.some(({ path }) => path !== undefined)
        ? (yield* nodesOf(run)).get(node.label)
        : undefined
      const sources = differences.map((difference): string | undefined => {
        if (difference.digests !== undefined) return upstream(database, run, difference)
        if (difference.path === undefined) return undefined
        const set = settingAt(here, node.label, difference.path)
        if (set !== undefined) return `--set ${set.text}`
        const was = settingAt(before, node.label, difference.path)
        if (was !== undefined) return `run ${since} had --set ${was.text}`
        return planned === undefined ? undefined : position(planned, difference, changes.parameters)
      })
      annotated.push({ ...node, sources })
    }
    return annotated
  })

const settingAt = (
  settings: ReadonlyArray<Override>,
  label: string,
  path: ReadonlyArray<string | number>
): Override | undefined =>
  settings.findLast(setting => {
    const below = pathBelow(setting, label.split("/")[0]!, label)
    return below !== undefined && touches(below.slice(0, path.length), path.slice(0, below.length))
  })

/** The line of a parameter; unknown when the configuration has changed since. */
const position = (node: PlanNode, { after, path }: Difference, parameters: string | undefined): string | undefined => {
  if (path === undefined || (parameters !== undefined && parameters !== node.parametersText)) return undefined
  const value = path.reduce<unknown>(
    (at, part) => (typeof at === "object" && at !== null ? (at as Record<string | number, unknown>)[part] : undefined),
    JSON.parse(node.parametersText)
  )
  if (value === undefined || JSON.stringify(value) !== after) return undefined
  const found = find(node.given, path)
  return found === undefined ? undefined : format({ ...found }).replace(/:\d+$/, "")
}

const upstream = (
  database: Database | undefined,
  run: number | undefined,
  { digests }: Difference
): string | undefined => {
  if (database === undefined || run === undefined || digests?.length !== 1) return undefined
  const producer = producerOf(database, run, digests[0]!)
  if (producer === undefined) return undefined
  return producer.diverged
    ? `from ${producer.label}, whose result is not reproducible`
    : `from ${producer.label}${producer.executed ? ", which ran" : ""}`
}
