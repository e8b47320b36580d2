/** A pipeline as the flags ask for it, planned against the cache as it is. Changes nothing. */
import { Effect, Option } from "effect"
import * as Cache from "../runner/Cache.ts"
import type { EngineName } from "../engines/names.ts"
import type { ConfigError } from "../pipeline/ConfigError.ts"
import type { Resolver } from "../runner/Resolver.ts"
import { meant, type NodeId, type Plan, type PlanNode } from "../pipeline/Plan.ts"
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

/** Why the engine that was asked for cannot start here, where something is to be computed with it: known before anything is. */
export const missingEngine = (
  engine: EngineName,
  nodes: ReadonlyArray<PlanNode>,
  { states }: Pick<Resolver, "states">
): Effect.Effect<ConfigError | undefined> =>
  engine === "torch" && nodes.some(({ id, stage }) => stage.engine && states[id]!._tag !== "known")
    ? // Loaded where PyTorch is asked for: most runs do not.
      Effect.flatMap(
        Effect.promise(() => import("./torchReady.ts")),
        ({ missingTorch }) => missingTorch
      )
    : Effect.succeed(undefined)

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
