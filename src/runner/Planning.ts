/** Planning: from a plan to what is known of it. Shared by `run`, `plan` and `why`; writes nothing that matters. */
import { Effect } from "effect"
import * as Actions from "../ledger/Actions.ts"
import type { Database } from "../ledger/Database.ts"
import { fromCause, LedgerError } from "../ledger/LedgerError.ts"
import { latestSnapshot } from "../ledger/Plans.ts"
import * as Remembered from "../ledger/Remembered.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { NodeId, Plan, PlanNode } from "../pipeline/Plan.ts"
import type { StageError } from "../pipeline/StageError.ts"
import type { Store } from "../store/Store.ts"
import * as Codes from "./Codes.ts"
import * as Identities from "./Identities.ts"
import type { Ports } from "./Ports.ts"
import { Resolver } from "./Resolver.ts"

export interface PlanningOptions {
  readonly plan: Plan
  /** Undefined where nothing was ever run. */
  readonly database: Database | undefined
  /** Whether what is found out may be remembered. */
  readonly writable: boolean
  readonly store: Store
  /** Numeric class of the engine. */
  readonly engine: string
  /** Directory of the built program, when this is it. */
  readonly dist: string | undefined
  /** Ask again what names like `hf://…@main` stand for. */
  readonly refresh: boolean
  /** Nodes that the run computes whatever is known of them. */
  readonly anew?: ReadonlySet<NodeId> | undefined
  /** Whether nodes stay unknown that name something elsewhere (a branch), where it cannot be found out what that stands for. By default that is a failure. */
  readonly unnamed?: "fail" | "unknown"
}

export interface Planned {
  readonly resolver: Resolver
  /** Why nodes are unknown whose identity could not be found out. */
  readonly unresolved: ReadonlyMap<NodeId, StageError>
  readonly codes: Codes.Codes
  /** For the run: looks again at what a node's key is made from besides its inputs; the resolver derives keys from what it found. */
  readonly look: Ports["look"]
}

/** Identities ask the network at most this many times at once. */
const identityConcurrency = 8

export const plan = (options: PlanningOptions): Effect.Effect<Planned, StageError | LedgerError> =>
  Effect.gen(function* () {
    const { database, plan: wanted, writable } = options
    const memory: Codes.Memory = {
      get: name => (database === undefined ? undefined : Remembered.name(database, name)),
      set: (name, value) => {
        if (database !== undefined && writable) Remembered.rememberName(database, name, value, Date.now())
      }
    }
    const codes = yield* Codes.load(wanted.nodes, memory, options.dist)
    const unnamed = new Set<NodeId>()
    const onUnknownName = ({ id }: PlanNode) => void unnamed.add(id)
    const asked = Identities.make({ ...options, memory, identityOf: codes.identityOf, onUnknownName })
    const evaluate = withOwnCode(codes, asked)
    const mayFail = ({ id }: PlanNode): boolean => options.unnamed === "unknown" && unnamed.has(id)
    const { identities, unresolved } = yield* resolveIdentities(wanted.nodes, evaluate, mayFail)
    const resolver = new Resolver({
      plan: wanted,
      codeOf: codes.codeOf,
      identityOf: node => identities.get(node.id)?.text,
      isOpen: node => unresolved.has(node.id),
      engine: options.engine,
      anew: options.anew,
      lookup: keys =>
        database === undefined ? new Map<Digest, Actions.KnownAction>() : Actions.lookup(database, keys),
      generation: database === undefined ? 0 : Actions.generation(database),
      snapshot: database === undefined ? undefined : latestSnapshot(database, wanted.pipeline, wanted.profile)
    })
    yield* Effect.try({
      try: () => resolver.resolveAll(),
      catch: cause => (cause instanceof LedgerError ? cause : fromCause(cause, database?.file ?? "the ledger", "plan"))
    })
    yield* missTargets(options, resolver)
    return { resolver, codes, unresolved, look: lookAgain(codes, evaluate, identities) }
  })

/** Results that people want on disk are looked at, each time: without them a run that finds everything would be a lie. */
const lookedAt = 64

/** Targets whose objects are gone count as lost from now on, so that a run makes them again. */
const missTargets = (
  { database, store, writable }: PlanningOptions,
  resolver: Resolver
): Effect.Effect<void, LedgerError> =>
  Effect.forEach(
    resolver.plan.targets.slice(0, lookedAt),
    ({ node, output }) =>
      Effect.gen(function* () {
        const state = resolver.states[node]!
        const found = state._tag === "known" ? state.outputs.find(({ port }) => port === output) : undefined
        if (database === undefined || state._tag !== "known" || found === undefined || found.state !== "present") return
        if (yield* isThere(store, found.digest)) return
        resolver.settle(
          node,
          state.key,
          state.outputs.map(known => (known === found ? { ...known, state: "lost" as const } : known))
        )
        if (writable)
          yield* Effect.try({
            try: () => Actions.markArtifacts(database, [found.digest], "lost"),
            catch: asLedgerError(database)
          })
      }),
    { discard: true }
  )

const asLedgerError = (database: Database) => (cause: unknown) =>
  cause instanceof LedgerError ? cause : fromCause(cause, database.file, "note what is lost")

/** Whether the store has an artifact's manifest, files and pages. */
const isThere = (store: Store, artifact: Digest): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const { files, items } = yield* store.readManifest(artifact)
    const objects = [...files, ...(items?.pages ?? [])].map(({ sha256 }) => sha256)
    return (yield* store.has(objects)).size === new Set(objects).size
  }).pipe(Effect.orElseSucceed(() => false))

/** How often code is read anew that changes between the look at it and its loading. */
const lookedTimes = 3

/** An identity is code of its stage, too: what the function of an older code says must not stand beside a result of the new one. */
const withOwnCode =
  (codes: Codes.Codes, evaluate: Identities.Evaluate): Identities.Evaluate =>
  node =>
    Effect.suspend(() => evaluate(node)).pipe(
      Effect.tapError(error => (error.class === "stale" ? codes.refresh(node) : Effect.void)),
      Effect.retry({ times: lookedTimes, while: error => error.class === "stale" })
    )

const lookAgain =
  (codes: Codes.Codes, evaluate: Identities.Evaluate, identities: Map<NodeId, Identities.Identity>): Ports["look"] =>
  node =>
    Effect.gen(function* () {
      if (!codes.isCurrent(node)) yield* codes.refresh(node)
      const identity = node.stage.identity === undefined ? undefined : yield* evaluate(node)
      if (identity !== undefined) identities.set(node.id, identity)
      return {
        code: codes.codeOf(node),
        identity: identity?.text,
        files: [...(identity?.files ?? []), ...codes.filesOf(node)]
      }
    })

const resolveIdentities = (
  nodes: ReadonlyArray<PlanNode>,
  evaluate: Identities.Evaluate,
  mayFail: (node: PlanNode) => boolean
) =>
  Effect.gen(function* () {
    const identities = new Map<NodeId, Identities.Identity>()
    const unresolved = new Map<NodeId, StageError>()
    yield* Effect.forEach(
      nodes.filter(node => node.stage.identity !== undefined),
      node =>
        Effect.matchEffect(evaluate(node), {
          onSuccess: identity => Effect.sync(() => void identities.set(node.id, identity)),
          onFailure: error =>
            mayFail(node) ? Effect.sync(() => void unresolved.set(node.id, error)) : Effect.fail(error)
        }),
      { concurrency: identityConcurrency, discard: true }
    )
    return { identities, unresolved }
  })
