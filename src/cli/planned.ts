/** A pipeline as the flags ask for it, planned against the cache as it is. Changes nothing. */
import { Effect, Option } from "effect"
import * as Cache from "../runner/Cache.ts"
import { meant, type NodeId, type Plan } from "../pipeline/Plan.ts"
import { plan, type PlanningOptions } from "../runner/Planning.ts"
import { readOnly } from "../store/Disk.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import * as flags from "./flags.ts"
import { dist } from "./home.ts"
import { attempt } from "./look.ts"
import { planOf } from "./pipelines.ts"

type PlannedArgs = flags.PlanArgs & Parameters<typeof flags.engineClass>[0] & { readonly cache: Option.Option<string> }

/** The plan that the flags ask for. */
export const wantedPlan = (pipeline: string, args: flags.PlanArgs) =>
  planOf(pipeline, {
    profile: Option.getOrUndefined(args.profile),
    set: args.set,
    only: args.only ?? [],
    force: args.force ?? [],
    variant: flags.variantOf(args)
  })

/** The nodes that are to be computed whatever is known of them. */
export const forced = (plan: Plan, { force = [] }: Pick<flags.PlanArgs, "force">): ReadonlySet<NodeId> =>
  new Set(meant(plan, force).nodes.map(({ id }) => id))

/** What a run would find. The database is undefined where nothing was ever run. */
export const planned = Effect.fn("planned")(function* (
  pipeline: string,
  args: PlannedArgs,
  options: Pick<PlanningOptions, "unnamed"> = {}
) {
  const wanted = yield* wantedPlan(pipeline, args)
  const location = flags.locationOf(args.cache)
  const cache = yield* attempt(() => Cache.openReadonly(location))
  const { resolver, unresolved } = yield* plan({
    plan: wanted,
    database: cache?.database,
    writable: false,
    store: cache?.store ?? Cache.storeAt(location, readOnly(nodeDisk)),
    engine: yield* flags.engineClass(args),
    dist,
    refresh: args.refresh ?? false,
    anew: forced(wanted, args),
    ...options
  })
  return { wanted, database: cache?.database, resolver, unresolved }
})
