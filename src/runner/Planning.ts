/** Planning: from a plan to what is known of it. Shared by `run`, `plan` and `why`; writes nothing that matters. */
import { Effect } from "effect"
import * as Actions from "../ledger/Actions.ts"
import type { Database } from "../ledger/Database.ts"
import { fromCause, LedgerError } from "../ledger/LedgerError.ts"
import { latestSnapshot } from "../ledger/Plans.ts"
import * as Remembered from "../ledger/Remembered.ts"
import { canonical, type Digest } from "../pipeline/Digest.ts"
import type { NodeId, Plan } from "../pipeline/Plan.ts"
import type { IdentityContext } from "../pipeline/Stage.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import * as Layer from "../store/Layer.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import type { Store } from "../store/Store.ts"
import * as Codes from "./Codes.ts"
import { statText } from "./Fingerprint.ts"
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
}

export interface Planned {
  readonly resolver: Resolver
  readonly codes: Codes.Codes
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
    const identities = yield* resolveIdentities(options, memory)
    const resolver = new Resolver({
      plan: wanted,
      codeOf: codes.codeOf,
      identityOf: node => identities.get(node.id),
      engine: options.engine,
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
    return { resolver, codes }
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

const resolveIdentities = (
  options: PlanningOptions,
  memory: Codes.Memory
): Effect.Effect<ReadonlyMap<NodeId, string>, StageError> =>
  Effect.gen(function* () {
    const nodes = options.plan.nodes.filter(node => node.stage.identity !== undefined)
    const context = identityContext(options, memory)
    const found = yield* Effect.forEach(
      nodes,
      node =>
        Effect.map(
          node.stage.identity!(node.parameters, context),
          identity => [node.id, canonical(identity)] as const
        ).pipe(Effect.mapError(error => permanent(`${node.label}: ${error.message}`, error.advice))),
      { concurrency: identityConcurrency }
    )
    return new Map(found)
  })

const identityContext = (
  { database, refresh, store, writable }: PlanningOptions,
  memory: Codes.Memory
): IdentityContext => ({
  fileDigest: path =>
    Effect.suspend(() => {
      const stat = statText(path)
      if (stat === "missing") return Effect.fail(permanent(`${path}: there is no such file`))
      const known = database === undefined ? undefined : Remembered.fileDigest(database, path, stat)
      if (known !== undefined) return Effect.succeed({ sha256: known.digest, size: known.size })
      return nodeDisk.hash(path).pipe(
        Effect.mapError(error => permanent(error.message, error.advice)),
        Effect.tap(({ sha256, size }) =>
          Effect.sync(() => {
            if (database !== undefined && writable)
              Remembered.rememberFile(database, path, stat, sha256 as Digest, size)
          })
        )
      )
    }),
  embedded: name =>
    Effect.flatMap(
      Effect.mapError(Layer.findArtifact(store.layers, name), error => permanent(error.message)),
      artifact =>
        artifact === undefined
          ? Effect.fail(
              permanent(
                `no artifact named ${name} ships with the program`,
                "`pipeline list --assets` shows those that do"
              )
            )
          : Effect.succeed(artifact.manifest)
    ),
  remember: (name, compute) =>
    Effect.suspend(() => {
      const known = refresh ? undefined : memory.get(name)
      if (known !== undefined) return Effect.succeed(known)
      return Effect.tap(compute, value => Effect.sync(() => memory.set(name, value)))
    })
})
