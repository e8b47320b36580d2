/** Garbage collection: finds out what may go, shows it, and moves it to the trash while runs go on. */
import { join } from "node:path"
import { Effect, Stream } from "effect"
import * as Actions from "../ledger/Actions.ts"
import * as Collection from "../ledger/Collection.ts"
import type { Database } from "../ledger/Database.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import { liveLeases } from "../ledger/Liveness.ts"
import { protections } from "../ledger/Protection.ts"
import { restoreNeeded } from "./Restore.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { Faults } from "../store/Faults.ts"
import type { LayerInvalid } from "../store/ObjectError.ts"
import { objectsOf } from "../store/Pages.ts"
import type { StorageError } from "../store/StorageError.ts"
import { untouched } from "../store/Store.ts"
import {
  findLeftovers,
  hereOf,
  type Maintenance,
  type Leftover,
  type LeftoverOptions,
  removeLeftovers
} from "./Leftovers.ts"
import { ledgerOf } from "./Ports.ts"

export interface CollectOptions extends LeftoverOptions {
  /** Of the kept runs, keep only what they came to: targets, and what no later stage consumes. */
  readonly finalOnly: boolean
  readonly olderThanMs?: number | undefined
  readonly maxBytes?: number | undefined
  /** See Collection.CollectionOptions; a day by default. */
  readonly orphanGraceMs?: number | undefined
}

/** What a collection would do. */
export interface Survey {
  readonly plan: Collection.CollectionPlan
  readonly leftovers: ReadonlyArray<Leftover>
  /** Of what is dropped: results of kept runs that only other stages of those runs needed. */
  readonly intermediates: ReadonlySet<Actions.ArtifactId>
  /** Objects of no artifact that were left alone, and why. */
  readonly orphansKept: string | undefined
  readonly notes: ReadonlyArray<string>
}

export interface Collected extends Survey {
  /** The folder of the trash; undefined when no object was moved. */
  readonly folder: string | undefined
  /** Objects that were brought back because a run had come to need them in the meantime. */
  readonly broughtBack: number
  readonly removed: ReadonlyArray<Leftover>
}

/** Points between the steps of a collection, beside those of the store. */
export const collectFaultPoints = ["collect.marked", "collect.trashed", "collect.checked"] as const

const dayMs = 86_400_000

/** What was read from disk to decide; the ledger is asked again before anything happens. */
interface Gathered {
  readonly stored: Map<Digest, Collection.StoredObject>
  /** Items of pages that lie in objects of their own. */
  readonly items: Map<Digest, ReadonlyArray<Digest>>
  readonly unreadable: Set<Digest>
}

interface Decision extends Omit<Survey, "leftovers"> {
  /** Artifacts that stay. */
  readonly staying: ReadonlySet<Actions.ArtifactId>
}

/** Plans; changes nothing, and works on a cache that was opened for reading. */
export const survey = Effect.fn("Collect.survey")(function* (
  maintenance: Maintenance,
  options: CollectOptions,
  now: number
): Effect.fn.Return<Survey, StorageError | LedgerError | LayerInvalid> {
  const gathered = yield* gather(maintenance)
  const { staying: _, ...decided } = yield* settled(maintenance, gathered, database =>
    decide(database, maintenance, gathered, options, now)
  )
  return { ...decided, leftovers: yield* findLeftovers(maintenance, options, now) }
})

/**
 * Collects. In this order: what was left beside the store is removed; the artifacts are marked as collected in one transaction, together with the final decision; then their
 * objects move to the trash; then whatever an action has come to need since is brought back. A crash in between leaves objects that
 * no artifact needs, which the next collection finds.
 */
export const collect = Effect.fn("Collect.collect")(function* (
  maintenance: Maintenance,
  options: CollectOptions,
  faults: Faults,
  now: number
): Effect.fn.Return<Collected, StorageError | LedgerError | LayerInvalid> {
  const { store } = maintenance
  const gathered = yield* gather(maintenance)
  const leftovers = yield* findLeftovers(maintenance, options, now)
  // First: on a full disk they make room for what the ledger has to note.
  const removed = yield* removeLeftovers(maintenance, leftovers, now)
  const { staying, ...decided } = yield* settled(maintenance, gathered, database =>
    database.immediate(() => {
      const decision = decide(database, maintenance, gathered, options, now)
      if ("plan" in decision) {
        const digests = decision.plan.dropped.map(({ digest }) => digest)
        Actions.markArtifacts(database, digests, "collected")
      }
      return decision
    })
  )
  yield* faults("collect.marked")
  let folder: string | undefined
  let broughtBack = 0
  if (decided.plan.objects.length > 0) {
    const trashed = yield* store.trash(decided.plan.objects)
    folder = trashed.objects === 0 ? undefined : trashed.folder
    yield* faults("collect.trashed")
    broughtBack = yield* restoreNeeded(maintenance, new Set(decided.plan.objects), staying)
    yield* faults("collect.checked")
  }
  return { ...decided, leftovers, folder, broughtBack, removed }
})

/** Everything that the ledger believes in the store, with the objects that it needs and those that are there. */
export const inventory = Effect.fn("Collect.inventory")(function* (maintenance: Maintenance) {
  const gathered = yield* gather(maintenance)
  const { candidates, listed } = yield* ledgerOf(maintenance.database)(database => ({
    candidates: Collection.candidates(database),
    listed: Collection.listedObjects(database)
  }))
  return { candidates, listed, stored: gathered.stored, ...contentsOf(listed, gathered) }
})

const contentsOf = (listed: Listed, gathered: Gathered) => ({
  objectsOf: ({ digest, id }: Collection.Candidate): ReadonlyArray<Digest> => [
    digest,
    ...(listed.get(id) ?? []).map(object => object.digest)
  ],
  partsOf: (object: Digest): ReadonlyArray<Digest> => gathered.items.get(object) ?? []
})

/** Reads the pages of all sets, lists the store, and finds out how old the objects are that nothing needs. */
const gather = Effect.fnUntraced(function* (maintenance: Maintenance) {
  const { disk, store } = maintenance
  const gathered: Gathered = { stored: new Map(), items: new Map(), unreadable: new Set() }
  yield* Stream.runForEach(store.list, ({ sha256, size }) =>
    Effect.sync(() => void gathered.stored.set(sha256, { size, modifiedMs: Number.POSITIVE_INFINITY }))
  )
  const { artifacts, listed } = yield* ledgerOf(maintenance.database)(database => ({
    artifacts: Collection.candidates(database),
    listed: Collection.listedObjects(database)
  }))
  yield* readPages(maintenance, gathered, pagesIn(listed, gathered))
  const needed = new Set<Digest>(artifacts.map(({ digest }) => digest))
  for (const objects of listed.values()) for (const { digest } of objects) needed.add(digest)
  for (const items of gathered.items.values()) for (const item of items) needed.add(item)
  yield* Effect.forEach(
    [...gathered.stored].filter(([digest]) => !needed.has(digest)),
    ([digest, { size }]) =>
      Effect.map(
        Effect.orElseSucceed(
          disk.stat(join(store.root, "objects", digest.slice(0, 2), digest.slice(2))),
          () => undefined
        ),
        stat => {
          if (stat === undefined) gathered.stored.delete(digest)
          else gathered.stored.set(digest, { size, modifiedMs: Number(stat.mtimeNs / 1_000_000n) })
        }
      ),
    { concurrency: 8, discard: true }
  )
  return gathered
})

/** Pages that must be read before anything can be decided, with their sizes. */
interface Unread {
  readonly unread: ReadonlyMap<Digest, number>
}

type Listed = ReturnType<typeof Collection.listedObjects>

/** Pages that have not been read yet, with their sizes. */
const pagesIn = (listed: Listed, gathered: Gathered): ReadonlyMap<Digest, number> => {
  const pages = new Map<Digest, number>()
  for (const objects of listed.values()) {
    for (const { digest, page, size } of objects) if (page && !gathered.items.has(digest)) pages.set(digest, size)
  }
  return pages
}

/** A page that cannot be read has items that are not known: they must not be taken for objects that nobody needs. */
const readPages = (maintenance: Maintenance, gathered: Gathered, pages: ReadonlyMap<Digest, number>) => {
  const store = untouched(maintenance.store, maintenance.disk)
  return Effect.forEach(
    pages,
    ([page, size]) =>
      Effect.match(store.readPage({ sha256: page, size }), {
        onSuccess: items => void gathered.items.set(page, objectsOf(items)),
        onFailure: () => {
          gathered.items.set(page, [])
          gathered.unreadable.add(page)
        }
      }),
    { concurrency: 8, discard: true }
  )
}

/** Asks for a decision until every page that it depends on has been read: a run may publish while we read. */
const settled = (
  maintenance: Maintenance,
  gathered: Gathered,
  ask: (database: Database) => Decision | Unread
): Effect.Effect<Decision, LedgerError> =>
  Effect.gen(function* () {
    for (;;) {
      const answer = yield* ledgerOf(maintenance.database)(ask)
      if ("plan" in answer) return answer
      yield* readPages(maintenance, gathered, answer.unread)
    }
  })

/** The decision on what the ledger says now; or the pages that must be read first. */
const decide = (
  database: Database,
  maintenance: Maintenance,
  gathered: Gathered,
  options: CollectOptions,
  now: number
): Decision | Unread => {
  const listed = Collection.listedObjects(database)
  const unread = pagesIn(listed, gathered)
  if (unread.size > 0) return { unread }
  const here = hereOf(maintenance, now)
  const candidates = Collection.candidates(database)
  const orphansKept =
    liveLeases(database, here).length > 0
      ? "actions are running, which may use them"
      : gathered.unreadable.size > 0
        ? "the items of damaged chunk sets may be among them"
        : undefined
  const plan = Collection.choose(
    {
      candidates,
      protections: protections(database, options, here),
      ...contentsOf(listed, gathered),
      stored: gathered.stored
    },
    {
      now,
      olderThanMs: options.olderThanMs,
      maxBytes: options.maxBytes,
      orphanGraceMs: options.orphanGraceMs ?? dayMs,
      orphans: orphansKept === undefined
    }
  )
  const wide = options.finalOnly ? protections(database, { ...options, finalOnly: false }, here) : undefined
  const intermediates = new Set(plan.dropped.map(({ id }) => id).filter(id => wide?.has(id) === true))
  const notes =
    gathered.unreadable.size === 0
      ? []
      : [`${gathered.unreadable.size} pages of chunk sets cannot be read: run \`pipeline cache verify\``]
  const staying = new Set(candidates.map(({ id }) => id))
  for (const { id } of plan.dropped) staying.delete(id)
  return { plan, intermediates, orphansKept, notes, staying }
}
