/** Where the changes that `why` names come from: a line of a configuration, a `--set`, or an upstream stage. */
import { Effect, Option } from "effect"
import { parseOverride } from "../../config/overrides.ts"
import type { Database } from "../../ledger/Database.ts"
import { runRow } from "../../ledger/RunRows.ts"
import { type Difference, producerOf } from "../../ledger/Why.ts"
import { pathBelow, touches } from "../../pipeline/OverrideProblem.ts"
import type { Plan } from "../../pipeline/Plan.ts"
import type { Override } from "../../pipeline/PlanBuilder.ts"
import { modelFamilies } from "../../pipeline/ModelFamily.ts"
import type { Variant } from "../../pipeline/Pipeline.ts"
import { variantOf } from "../flags.ts"
import { splitPath } from "../look.ts"
import { pipelines } from "../../../pipelines/index.ts"
import type { Places } from "./whyPlaces.ts"
import { changesOf, type WhyNode } from "../text/whyText.ts"

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
  const value = (flag: string) => Option.fromUndefinedOr(new RegExp(`\\s--${flag}(?:=|\\s+)(\\S+)`).exec(command)?.[1])
  return variantOf({
    quick: given("quick"),
    controls: given("controls"),
    ablations: given("ablations"),
    seeds: Option.map(value("seeds"), Number),
    sweep: [...command.matchAll(/\s--sweep(?:=|\s+)(?:'([^']*)'|(\S+))/g)].map(match => (match[1] ?? match[2])!),
    family: Option.flatMap(value("family"), given =>
      Option.fromUndefinedOr(modelFamilies.find(known => known === given))
    ),
    config: value("config")
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
    const known = new Map<number | undefined, Places>()
    const placesOf = (run: number | undefined) =>
      Effect.promise(async () => {
        const found = known.get(run) ?? (await findPlaces(run))
        known.set(run, found)
        return found
      })
    const findPlaces = async (run: number | undefined): Promise<Places> => {
      const row = run === undefined || database === undefined ? undefined : runRow(database, run)
      if (plan === undefined && (row === undefined || !canBeEvaluated(pipeline))) return nowhere
      const { placesIn, placesNow } = await import("./whyPlaces.ts")
      if (plan !== undefined) return placesIn(plan)
      return placesNow(pipeline, {
        profile: row!.profile,
        set: settingsOfCommand(row!.command),
        only: [],
        variant: variantOfCommand(row!.command)
      })
    }
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
      const sources: Array<string | undefined> = []
      for (const difference of differences) {
        const { digests, path } = difference
        const set = path === undefined ? undefined : settingAt(here, node.label, path)
        const was = path === undefined ? undefined : settingAt(before, node.label, path)
        sources.push(
          digests !== undefined
            ? upstream(database, run, difference)
            : path === undefined
              ? undefined
              : set !== undefined
                ? `--set ${set.text}`
                : was !== undefined
                  ? `run ${since} had --set ${was.text}`
                  : (yield* placesOf(run))(node.label, difference, changes.parameters)
        )
      }
      annotated.push({ ...node, sources })
    }
    return annotated
  })

/** A user's own pipeline is named by its file; its name alone leads nowhere. */
const canBeEvaluated = (pipeline: string) => splitPath(pipeline).path !== undefined || pipelines[pipeline] !== undefined

const nowhere: Places = () => undefined

const settingAt = (
  settings: ReadonlyArray<Override>,
  label: string,
  path: ReadonlyArray<string | number>
): Override | undefined =>
  settings.findLast(setting => {
    const below = pathBelow(setting, label.split("/")[0]!, label)
    return below !== undefined && touches(below.slice(0, path.length), path.slice(0, below.length))
  })

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
