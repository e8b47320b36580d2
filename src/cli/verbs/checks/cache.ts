/** The cache as it is: whether the ledger opens, who is at work, and what dead processes left. */
import { closeSync, openSync, readSync, statSync } from "node:fs"
import { Clock, Effect, Result } from "effect"
import { liveLeases, liveRuns } from "../../../ledger/Liveness.ts"
import { migrations } from "../../../ledger/schema.ts"
import { bytes, count, plural } from "../../../pipeline/units.ts"
import { pathsOf } from "../../../runner/Cache.ts"
import { findLeftovers, hereOf, type Maintenance } from "../../../runner/Leftovers.ts"
import * as Layer from "../../../store/Layer.ts"
import { nodeDisk } from "../../../store/NodeDisk.ts"
import { attempt } from "../../look.ts"
import { openMaintenance } from "../../maintenance.ts"
import { type Check, type Finding, ok, problem, warning } from "./Check.ts"

/** A ledger up to this size is checked page by page. */
const checkedBytes = 64e6
/** A write-ahead log beyond this has not been folded in for long: somebody holds an old view of the ledger. */
const longLog = 256e6

const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0

export const cache: Check = {
  name: "cache",
  run: ({ location }) =>
    Effect.gen(function* () {
      const maintenance = yield* openMaintenance(location, "read")
      if (maintenance === undefined)
        return [ok("ledger", `none yet; the first run makes ${pathsOf(location.root).root}`)]
      const close = Effect.sync(() => maintenance.database.close())
      return yield* Effect.ensuring(look(maintenance, yield* Clock.currentTimeMillis), close)
    }).pipe(
      Effect.catch(({ advice = "use another cache with --cache", message }) =>
        Effect.succeed([problem("ledger", message, advice)])
      )
    )
}

/** From the file itself: what was opened for looking may be a copy in memory. Offsets are those of SQLite's file format. */
const headerOf = (file: string): { readonly version: number; readonly journal: string } => {
  const bytes = Buffer.alloc(100)
  const handle = openSync(file, "r")
  try {
    readSync(handle, bytes, 0, bytes.length, 0)
  } finally {
    closeSync(handle)
  }
  return { version: bytes.readUInt32BE(60), journal: bytes[18] === 2 ? "wal" : "rollback" }
}

const look = Effect.fnUntraced(function* (maintenance: Maintenance, now: number) {
  const { database } = maintenance
  const { ledger } = maintenance.paths
  const state = yield* attempt(() => ({
    ...headerOf(ledger),
    sound: sizeOf(ledger) > checkedBytes ? "ok" : (database.value<string>("PRAGMA quick_check(1)") ?? "ok"),
    runs: database.value<number>("SELECT count(*) FROM run")!,
    leases: liveLeases(database, hereOf(maintenance, now)).length,
    running: liveRuns(database, hereOf(maintenance, now)).length
  }))
  const findings: Array<Finding> = []
  if (state.sound !== "ok") {
    findings.push(
      problem(
        "ledger",
        `${ledger} is damaged: ${state.sound}`,
        "move it away; objects in the store stay valid and are found again by digest"
      )
    )
  }
  const older = state.version < migrations.length ? `, brought to ${migrations.length} by the next run` : ""
  findings.push(
    ok(
      "ledger",
      `${ledger}: schema ${state.version}${older}, ${bytes(sizeOf(ledger))}, journal ${state.journal}, ${plural(state.runs, "run")}`
    )
  )
  const log = sizeOf(`${ledger}-wal`)
  if (log > longLog) {
    findings.push(
      warning(
        "write-ahead log",
        `${bytes(log)} are not folded into the ledger`,
        "a process holds an old view of it; end long-lived readers, then run anything"
      )
    )
  }
  findings.push(
    ok(
      "work",
      state.running + state.leases === 0
        ? "nothing is running"
        : `${plural(state.running, "run")} at work, ${plural(state.leases, "action")} leased`
    )
  )
  const leftovers = (yield* findLeftovers(
    maintenance,
    { keepRuns: 5, logs: false, quarantine: false, checkpoints: false },
    now
  )).filter(({ kind }) => kind !== "log")
  const going = leftovers.filter(({ kept }) => !kept)
  const total = bytes(going.reduce((sum, leftover) => sum + leftover.bytes, 0))
  findings.push(
    going.length === 0
      ? ok("leftovers", "none")
      : warning(
          "leftovers",
          `${count(going.length)} of dead processes, ${total}`,
          "`pipeline gc` lists them, and with --apply removes them"
        )
  )
  const damaged = leftovers.filter(
    ({ kind, kept, path }) => kind === "quarantine" && kept && !path.endsWith(".json")
  ).length
  if (damaged > 0)
    findings.push(
      warning(
        "quarantine",
        `${plural(damaged, "damaged object")} moved aside`,
        "`pipeline cache verify` tells whether more are; `pipeline gc --quarantine --apply` removes them"
      )
    )
  return findings as ReadonlyArray<Finding>
})

/** The artifacts that ship with the program, on which the embedded profiles stand. */
export const embedded: Check = {
  name: "embedded",
  run: ({ location }) =>
    Effect.forEach(location.layers, directory =>
      Effect.map(Effect.result(embeddedIn(directory)), result =>
        Result.isSuccess(result)
          ? result.success
          : problem("embedded data", result.failure.message, "install the program anew")
      )
    )
}

const embeddedIn = Effect.fnUntraced(function* (directory: string) {
  const { artifacts, objects } = yield* Layer.make({ directory, disk: nodeDisk }).content
  let total = 0
  const absent: Array<string> = []
  for (const object of objects.values()) {
    if (object._tag !== "file") continue
    total += object.size
    if (sizeOf(object.path) !== object.size) absent.push(object.path)
  }
  return absent.length > 0
    ? problem(
        "embedded data",
        `${count(absent.length)} files are missing or cut short, such as ${absent[0]}`,
        "install the program anew"
      )
    : ok("embedded data", `${plural(artifacts.size, "artifact")}, ${bytes(total)}, in ${directory}`)
})
