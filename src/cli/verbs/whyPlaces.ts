/**
 * Where the parameters of a pipeline stand: it is evaluated, which takes the whole program. `why` is answered by a smaller one and loads this when it
 * has to. Promises and plain functions, since the two programs have their libraries apart.
 */
import { Effect } from "effect"
import type { Difference } from "../../ledger/Why.ts"
import { find, format } from "../../pipeline/Origin.ts"
import type { Plan, PlanNode } from "../../pipeline/Plan.ts"
import { type PlanFlags, planOf } from "../pipelines.ts"

/** File and line of a parameter that differs, or what `--set` says of it; `parameters`: all of the node's, as they were. */
export type Places = (label: string, difference: Difference, parameters: string | undefined) => string | undefined

export const placesIn = (plan: Plan): Places => {
  const nodes = new Map(plan.nodes.map(node => [node.label, node]))
  return (label, difference, parameters) => {
    const node = nodes.get(label)
    return node === undefined ? undefined : position(node, difference, parameters)
  }
}

/** Of the pipeline as it is now; nowhere when it cannot be evaluated any more. */
export const placesNow = (pipeline: string, flags: PlanFlags): Promise<Places> =>
  Effect.runPromise(
    planOf(pipeline, flags).pipe(
      Effect.map(placesIn),
      Effect.orElseSucceed((): Places => () => undefined)
    )
  )

/** Unknown when the configuration has changed since. */
const position = (node: PlanNode, { after, path }: Difference, parameters: string | undefined): string | undefined => {
  if (path === undefined || (parameters !== undefined && parameters !== node.parametersText)) return undefined
  const value = path.reduce<unknown>(
    (at, part) => (typeof at === "object" && at !== null ? (at as Record<string | number, unknown>)[part] : undefined),
    JSON.parse(node.parametersText)
  )
  if (value === undefined || JSON.stringify(value) !== after) return undefined
  const set = node.set?.findLast(({ path: at }) => at.every((part, i) => i >= path.length || part === String(path[i])))
  if (set !== undefined) return `--set ${set.text}`
  const found = find(node.given, path)
  return found === undefined ? undefined : format({ ...found }).replace(/:\d+$/, "")
}
