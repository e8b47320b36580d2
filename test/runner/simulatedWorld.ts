/** What simulated processes share: a disk, a ledger, time; and what is watched while they use them. */
import { dirname, join } from "node:path"
import { Effect } from "effect"
import { Database } from "../../src/ledger/Database.ts"
import * as Actions from "../../src/ledger/Actions.ts"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import type { CachePaths } from "../../src/runner/Ports.ts"
import { memoryDisk, type MemoryDisk } from "../support/memoryDisk.ts"
import { below } from "../support/random.ts"
import type { SimulatedProcess } from "./simulatedProcess.ts"
import { VirtualTime } from "./virtualTime.ts"

export const root = "/cache"

export const paths: CachePaths = {
  root,
  ledger: ":memory:",
  actions: join(root, "actions"),
  checkpoints: join(root, "checkpoints"),
  logs: join(root, "logs")
}

/** The work of one attempt, from the moment its process starts to the moment that process is gone. */
export interface SimulatedExecution {
  readonly process: SimulatedProcess
  readonly label: string
  readonly token: number
  running: boolean
}

interface LeaseRow {
  readonly key: string
  readonly owner: string
  readonly token: number
  readonly expires_ms: number
}

/** One database for all worlds, emptied: making the tables and their statements anew would cost more than most histories. */
let ledger: Database | undefined

const emptyLedger = (): Database => {
  const database = (ledger ??= Database.open(":memory:"))
  database.immediate(() => {
    database.run("PRAGMA defer_foreign_keys = ON")
    const tables = database.column<string>("SELECT name FROM sqlite_schema WHERE type = 'table'")
    for (const table of tables) if (table !== "counter") database.run(`DELETE FROM ${table}`)
    database.run("UPDATE counter SET value = 0")
  })
  return database
}

export class World {
  readonly random: () => number
  readonly time: VirtualTime
  readonly disk: MemoryDisk
  readonly database = emptyLedger()
  readonly processes: Array<SimulatedProcess> = []
  readonly executions: Array<SimulatedExecution> = []
  /** Objects that were damaged behind everybody's back, and not repaired since. */
  readonly rotten = new Set<string>()
  readonly violations: Array<string> = []
  readonly trace: Array<string> | undefined
  /** Whether nothing goes wrong any more. */
  calm = false
  boot = 1
  #nonce = 0
  readonly #code = new Map<string, { readonly version: number; readonly edits: number }>()
  readonly #done = new Set<number>()
  #leases: ReadonlyMap<string, LeaseRow> = new Map()
  #changes = -1

  constructor(seed: number, random: () => number, traced: boolean) {
    this.random = random
    this.time = new VirtualTime(random)
    this.disk = memoryDisk({ interleave: seed })
    this.trace = traced ? [] : undefined
  }

  nonce = (): number => this.#nonce++

  /** The code of a stage as it is on disk just now, and how often it was written to. */
  versionOf(stage: string): { readonly version: number; readonly edits: number } {
    return this.#code.get(stage) ?? { version: 0, edits: 0 }
  }

  /** Somebody edits the code of a stage. */
  edit(stage: string, version: number): void {
    this.tell("editor", () => `writes version ${version} of ${stage}`)
    this.#code.set(stage, { version, edits: this.versionOf(stage).edits + 1 })
  }

  /** Puts all code back to what it was at the beginning. */
  undoEdits(): void {
    for (const [stage, { version }] of this.#code) if (version !== 0) this.edit(stage, 0)
  }

  chance(probability: number): boolean {
    return this.random() < probability
  }

  between(from: number, to: number): number {
    return from + below(this.random, to - from + 1)
  }

  tell(who: string, what: () => string): void {
    this.trace?.push(`${String(this.time.now).padStart(8)} ${who.padEnd(10)} ${what()}`)
  }

  violate(what: string): void {
    this.tell("!!!", () => what)
    this.violations.push(`at ${this.time.now} ms: ${what}`)
  }

  #readLeases(): ReadonlyMap<string, LeaseRow> {
    const rows = this.database.all<LeaseRow>("SELECT hex(key) AS key, owner, token, expires_ms FROM lease")
    return new Map(rows.map(row => [row.key, row]))
  }

  /** Lets a process use the ledger, and looks at what became of everybody's leases and results. */
  watch<A>(by: SimulatedProcess, use: () => A): A {
    const before = this.#leases
    const result = use()
    const changes = this.database.get<{ n: number }>("SELECT total_changes() AS n")!.n
    if (changes === this.#changes) return result
    this.#changes = changes
    const after = this.#readLeases()
    this.#leases = after
    for (const [key, lease] of before) {
      const now = after.get(key)
      if (now?.token !== lease.token) this.#judgeLoss(by, lease, now)
    }
    this.#judgeResults(by, before)
    return result
  }

  #judgeLoss(by: SimulatedProcess, lease: LeaseRow, now: LeaseRow | undefined): void {
    const holder = this.processes.find(process => process.owner.id === lease.owner)!
    const running = this.executions.some(execution => execution.token === lease.token && execution.running)
    const key = lease.key.slice(0, 8)
    if (holder === by) {
      if (!running) return
      this.violate(
        `${by.name} ${now === undefined ? "gave back" : "took anew"} its lease of ${key} while the action still runs`
      )
      return
    }
    if (now === undefined) {
      this.violate(`${by.name} gave back the lease of ${key}, which is ${holder.name}'s`)
      return
    }
    const expired = lease.expires_ms <= this.time.now
    // One that has ended leaves leases only where the ledger failed it: then it counts as dead like one that crashed.
    if (holder.isEnded()) {
      const seenDead = holder.owner.host === by.owner.host && (holder.owner.boot !== by.owner.boot || holder.isGone())
      if (!expired && !seenDead) this.violate(`${by.name} took the living lease of ${key} from ${holder.name}`)
    } else if (!expired) this.violate(`${by.name} took the living lease of ${key} from ${holder.name}`)
    else if (!holder.wasDisturbed())
      this.violate(`the lease of ${key} expired although its holder ${holder.name} was well`)
  }

  /** Who makes results visible must hold the lease in that moment. */
  #judgeResults(by: SimulatedProcess, before: ReadonlyMap<string, LeaseRow>): void {
    const rows = this.database.all<{ id: number; key: string }>(
      `SELECT execution.id, hex(action.key) AS key FROM execution JOIN action ON action.id = execution.action
       WHERE execution.status = 'done'`
    )
    for (const { id, key } of rows) {
      if (this.#done.has(id)) continue
      this.#done.add(id)
      if (before.get(key)?.owner !== by.owner.id)
        this.violate(`${by.name} published ${key.slice(0, 8)} without holding its lease`)
    }
  }

  objectPath(digest: string): string {
    return join(root, "objects", digest.slice(0, 2), digest.slice(2))
  }

  /** Everything that the ledger calls present must be in the store, with right bytes. */
  checkPresent(when: string): void {
    const rows = this.database.all<{ digest: Buffer; artifact: Buffer; size: number | null }>(
      `SELECT object.digest, artifact.digest AS artifact, object.size FROM artifact
         JOIN artifact_object ON artifact_object.artifact = artifact.id JOIN object ON object.id = artifact_object.object
         WHERE artifact.state = 0
       UNION SELECT digest, digest, NULL FROM artifact WHERE state = 0`
    )
    const files = this.disk.files()
    for (const { artifact, digest, size } of rows) {
      const hex = Buffer.from(digest).toString("hex")
      if (this.rotten.has(hex)) continue
      const bytes = files.get(this.objectPath(hex))
      const of = `object ${hex.slice(0, 8)} of artifact ${Buffer.from(artifact).toString("hex").slice(0, 8)}`
      if (bytes === undefined) this.violate(`${when}: ${of} is called present, but is not in the store`)
      else if (sha256(bytes) !== hex || (size !== null && bytes.length !== size))
        this.violate(`${when}: ${of} is called present, but has other bytes`)
    }
  }

  #objects(): ReadonlyArray<string> {
    return [...this.disk.files().keys()].filter(path => dirname(dirname(path)) === join(root, "objects")).sort()
  }

  /** A bit flips in some object. */
  rot(): void {
    const objects = this.#objects()
    const path = objects[below(this.random, objects.length)]
    if (path === undefined) return
    const digest = path.split("/").slice(-2).join("")
    this.tell("disk", () => `rots object ${digest.slice(0, 8)}`)
    this.rotten.add(digest)
    this.disk.corrupt(path, bytes => {
      bytes[below(this.random, bytes.length)]! ^= 1 << below(this.random, 8)
      return bytes
    })
  }

  /** Some artifact is marked as collected; its bytes go, too, unless someone is at work, who may be about to use them. */
  collect(): void {
    const artifacts = this.database.column<Buffer>("SELECT digest FROM artifact WHERE state = 0 ORDER BY id")
    const artifact = artifacts[below(this.random, artifacts.length)]
    if (artifact === undefined) return
    const objects = [
      artifact,
      ...this.database.column<Buffer>(
        `SELECT object.digest FROM artifact JOIN artifact_object ON artifact_object.artifact = artifact.id
         JOIN object ON object.id = artifact_object.object WHERE artifact.digest = ?`,
        artifact
      )
    ].map(digest => Buffer.from(digest).toString("hex") as Digest)
    const state = this.chance(0.5) ? "collected" : "lost"
    Actions.markObjects(this.database, objects, state)
    this.tell("gc", () => `marks ${objects[0]!.slice(0, 8)} as ${state}`)
    const crashed = (owner: string) => this.processes.some(process => process.owner.id === owner && process.crashed)
    if ([...this.#leases.values()].some(lease => !crashed(lease.owner))) return
    this.#remove(objects)
  }

  #remove(objects: Iterable<string>): void {
    const there = this.disk.files()
    for (const digest of objects) {
      const path = this.objectPath(digest)
      if (there.has(path)) Effect.runSync(this.disk.unlink(path))
      this.tell("gc", () => `removes ${digest.slice(0, 8)}`)
    }
  }

  /** What `pipeline cache verify` does. */
  repair(): void {
    const rotten = [...this.rotten] as Array<Digest>
    Actions.markObjects(this.database, rotten, "lost")
    Actions.markArtifacts(this.database, rotten, "lost")
    this.#remove(rotten)
    this.rotten.clear()
  }
}
