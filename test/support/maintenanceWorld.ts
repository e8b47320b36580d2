/** A store and a ledger filled at random through their own interfaces, with a simple model of what they hold beside them. */
import { randomUUID } from "node:crypto"
import { Effect } from "effect"
import * as Actions from "../../src/ledger/Actions.ts"
import { Database } from "../../src/ledger/Database.ts"
import * as Leases from "../../src/ledger/Leases.ts"
import * as Pins from "../../src/ledger/Pins.ts"
import * as Runs from "../../src/ledger/Runs.ts"
import type { Manifest } from "../../src/pipeline/Artifact.ts"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import { actionKey, type KeyComponents } from "../../src/pipeline/Key.ts"
import { pathsOf } from "../../src/runner/Cache.ts"
import type { Maintenance } from "../../src/runner/Leftovers.ts"
import { encodePages } from "../../src/store/Pages.ts"
import type { Store } from "../../src/store/Store.ts"
import { below, type seeded } from "./random.ts"
import { bytesOf, inMemory, root } from "./storeSetup.ts"

type Random = ReturnType<typeof seeded>

export interface ModelArtifact {
  readonly digest: Digest
  /** Manifest, files, pages and items. */
  readonly objects: ReadonlySet<Digest>
}

export interface ModelAction {
  readonly key: Digest
  readonly label: string
  readonly inputs: ReadonlyArray<Digest>
  readonly outputs: ReadonlyArray<Digest>
  readonly chunked: boolean
}

export interface ModelRun {
  readonly id: number
  readonly pipeline: string
  readonly status: Runs.RunStatus
  readonly startedMs: number
  readonly actions: ReadonlyArray<ModelAction>
  readonly targets: ReadonlyArray<Digest>
}

export interface MaintenanceWorld {
  readonly house: Maintenance
  readonly store: Store
  readonly artifacts: ReadonlyMap<Digest, ModelArtifact>
  readonly runs: ReadonlyArray<ModelRun>
  readonly pinned: ReadonlySet<Digest>
  readonly leased: ReadonlyArray<ModelAction>
  /** Objects put into the store for no artifact. */
  readonly strays: ReadonlySet<Digest>
  readonly now: number
}

const code = sha256("code")
const minute = 60_000

/** Files come from a small pool, so that artifacts share them. */
const contents = 6
const itemPool = 5

/** Fills a house. The process with id 1 lives, the one with id 2 is dead. */
export const fill = (random: Random): Effect.Effect<MaintenanceWorld> =>
  Effect.gen(function* () {
    const { disk, store } = inMemory()
    const database = Database.open(":memory:")
    const now = Date.now()
    const owner = { id: randomUUID(), host: "here", boot: "b", pid: 1 }
    const house: Maintenance = { database, store, disk, paths: pathsOf(root), owner, alive: pid => pid === 1 }
    const artifacts = new Map<Digest, ModelArtifact>()

    const manifestOf = Effect.fnUntraced(function* (chunked: boolean) {
      const objects = new Set<Digest>()
      const files = []
      for (let i = 0, n = below(random, 3); i < n; i++) {
        const stored = yield* store.put(bytesOf(100 + 10 * below(random, contents), 3))
        objects.add(stored.sha256)
        files.push({ path: `f${i}`, ...stored })
      }
      const pages = []
      let bytes = 0
      if (chunked) {
        const items = []
        for (let i = 0, n = 1 + below(random, 4); i < n; i++) {
          const which = below(random, itemPool)
          const key = sha256(`item ${which}`)
          if (which === 0) items.push({ key, note: null, size: 3, bytes: Buffer.from("abc") })
          else {
            const stored = yield* store.put(bytesOf(5000 + which, 9))
            objects.add(stored.sha256)
            items.push({ key, note: null, ...stored })
          }
          bytes += items.at(-1)!.size
        }
        for (const page of encodePages(items)) {
          yield* store.put(page.bytes)
          objects.add(page.sha256)
          pages.push({ sha256: page.sha256, size: page.size, count: page.count })
        }
      }
      const manifest: Manifest = {
        kind: chunked ? "bag" : "text",
        files,
        metadata: { n: below(random, 3) },
        ...(chunked ? { items: { count: pages.reduce((sum, page) => sum + page.count, 0), bytes, pages } } : {})
      }
      const digest = yield* store.putManifest(manifest)
      objects.add(digest)
      artifacts.set(digest, { digest, objects })
      return { digest, manifest }
    })

    const actions: Array<ModelAction> = []
    const perform = Effect.fnUntraced(function* (run: number, at: number) {
      const inputs = [...artifacts.keys()].filter(() => random() < 0.2).slice(0, 3)
      const chunked = random() < 0.3
      const components: KeyComponents = {
        stage: chunked ? "bagger" : `stage${below(random, 3)}`,
        code,
        engine: "none",
        parameters: JSON.stringify({ n: actions.length }),
        inputs: inputs.map(digest => ({ port: "in", name: undefined, digest }))
      }
      const key = actionKey(components)
      const made = [yield* manifestOf(chunked)]
      if (random() < 0.3) made.push(yield* manifestOf(false))
      const label = `${components.stage}/${actions.length}`
      database.immediate(() => {
        const id = Actions.ensureAction(database, { key, components, codeDetail: "{}" }, at)
        const execution = Runs.beginExecution(database, { action: id, run, label, attempt: 1, now: at, log: "" })
        const outputs = made.map(({ digest, manifest }, i) => ({
          port: `out${i}`,
          digest,
          manifest,
          family: manifest.items === undefined ? undefined : sha256("family")
        }))
        Actions.recordOutputs(database, id, execution, outputs, at)
        Runs.finishExecution(database, execution, { status: "done", now: at + below(random, 5000) })
      })
      const action = { key, label, inputs, outputs: made.map(({ digest }) => digest), chunked }
      actions.push(action)
      return action
    })

    const runs: Array<ModelRun> = []
    for (let i = 0, n = below(random, 7); i < n; i++) {
      const pipeline = `p${below(random, 2)}`
      const startedMs = now - (n - i) * 10 * minute
      const last = i === n - 1
      const status = (["done", "done", "failed", "interrupted", "crashed", last ? "running" : "done"] as const)[
        below(random, 6)
      ]!
      const id = Runs.begin(database, {
        pipeline,
        profile: "small",
        command: "test",
        program: "0",
        owner: { ...owner, pid: status === "crashed" ? 2 : 1 },
        now: startedMs
      })
      const used = actions.filter(() => random() < 0.4)
      const begun: Array<ModelAction> = []
      for (let j = 0, m = below(random, 4); j < m; j++) begun.push(yield* perform(id, startedMs + j))
      // A run that did not come to its end has no plan: what it executed is all that is known.
      const unfinished = status === "running" || status === "crashed"
      const nodes = unfinished ? begun : [...used, ...begun]
      const targets = unfinished ? [] : nodes.slice(-1).flatMap(({ outputs }) => outputs.slice(0, 1))
      if (!unfinished) {
        Runs.finish(database, id, {
          status,
          now: startedMs + minute,
          nodes: nodes.map(({ key, label, outputs }) => ({ label, key, outputs })),
          generation: Actions.generation(database),
          pipeline,
          profile: "small",
          targets: targets.map(digest => ({ name: "target", digest })),
          executed: begun.length,
          reused: used.length,
          failed: 0,
          skipped: 0,
          executedMs: Number.POSITIVE_INFINITY
        })
      } else if (status === "crashed") database.run("UPDATE run SET status = 'crashed' WHERE id = ?", id)
      runs.push({ id, pipeline, status, startedMs, actions: nodes, targets })
    }

    const pinned = new Set([...artifacts.keys()].filter(() => random() < 0.1))
    Pins.add(
      database,
      [...pinned].map(digest => Actions.artifactId(database, digest)!),
      "",
      now
    )
    const leased = actions.filter(() => random() < 0.1)
    for (const { key } of leased)
      Leases.acquire(database, key, { ...owner, id: "someone" }, { now, duration: minute, alive: house.alive })
    const strays = new Set<Digest>()
    for (let i = 0, n = below(random, 3); i < n; i++) strays.add((yield* store.put(bytesOf(50 + i, 77))).sha256)
    return { house, store, artifacts, runs, pinned, leased, strays, now }
  }).pipe(Effect.orDie) as Effect.Effect<MaintenanceWorld>
