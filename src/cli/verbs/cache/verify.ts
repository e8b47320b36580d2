/** `pipeline cache verify`: hashes what the store holds; what is damaged is moved aside and made again by the next run. */
import { randomUUID } from "node:crypto"
import { availableParallelism } from "node:os"
import { Clock, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import * as Actions from "../../../ledger/Actions.ts"
import * as Checked from "../../../ledger/Checked.ts"
import type { Candidate } from "../../../ledger/Collection.ts"
import * as Suspects from "../../../ledger/Suspects.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type Digest, sha256, short } from "../../../pipeline/Digest.ts"
import { bytes, count } from "../../../pipeline/units.ts"
import { inventory } from "../../../runner/Collect.ts"
import type { Stored } from "../../../store/Writing.ts"
import { Exit, exitCodes } from "../../failure.ts"
import { plural } from "../../text/amounts.ts"
import * as flags from "../../flags.ts"
import { stoppable } from "../../interruption.ts"
import { attempt, nothingYet, openMaintenance } from "../../maintenance.ts"
import { styleOf, table } from "../../terminal/style.ts"
import { byteProgress } from "../../terminal/byteProgress.ts"
import { stdout } from "../../terminal/terminal.ts"

/** Artifacts listed one by one; --json has all. */
const listed = 20

export const verify = Command.make(
  "verify",
  {
    sample: Flag.String("sample").pipe(
      Flag.withDescription("Share of the objects to hash, from 0 to 1; another choice each time (default: all)"),
      Flag.withMetavar("P"),
      Flag.optional
    ),
    jobs: Flag.Int("jobs").pipe(
      Flag.withAlias("j"),
      Flag.withDescription("Objects hashed at a time (default: all processors)"),
      Flag.withMetavar("N"),
      flags.atLeast(1),
      Flag.optional
    ),
    cache: flags.cache,
    json: flags.json
  },
  Effect.fn("cache verify")(function* (args) {
    const location = flags.locationOf(args.cache)
    const sample = Number(Option.getOrElse(args.sample, () => "1"))
    if (!(sample >= 0 && sample <= 1)) {
      return yield* new ConfigError({
        at: `--sample ${Option.getOrElse(args.sample, () => "")}`,
        message: "must be a number from 0 to 1",
        advice: "for example --sample 0.1"
      })
    }
    // Looked at through a store that changes nothing, so that it is the check below that finds what is damaged.
    const looked = yield* openMaintenance(location, "read")
    if (looked === undefined)
      return void stdout().write(args.json ? `${JSON.stringify({ exists: false })}\n` : nothingYet(location))
    const known = yield* inventory(looked)
    looked.database.close()
    const maintenance = (yield* openMaintenance(location, "write"))!
    const { database, store } = maintenance

    const expected = new Map<Digest, Stored>()
    for (const objects of known.listed.values())
      for (const { digest, size } of objects) expected.set(digest, { sha256: digest, size })
    let total = 0
    const salt = randomUUID()
    const chosen = (digest: Digest) =>
      sample === 1 || Number.parseInt(sha256(`${digest} ${salt}`).slice(0, 8), 16) < sample * 2 ** 32
    for (const [digest, { size }] of known.stored) if (chosen(digest)) total += size
    const progress = byteProgress({ total, verb: "verified" })
    const started = yield* Clock.currentTimeMillis
    const doubted = yield* attempt(database, () => Suspects.count(database))
    const found = yield* store
      .verifyAll({
        concurrency: Option.getOrElse(args.jobs, () => availableParallelism()),
        expected: expected.values(),
        chosen,
        onProgress: done => Effect.sync(() => progress.update(done))
      })
      .pipe(Effect.ensuring(Effect.sync(() => progress.end())))
    const ms = (yield* Clock.currentTimeMillis) - started

    // What was collected while we were hashing is not missing.
    const collected = new Set(
      yield* attempt(database, () => database.column<number>("SELECT id FROM artifact WHERE state = 1"))
    )
    const still = known.candidates.filter(({ id }) => !collected.has(id))
    const needed = new Set<Digest>()
    for (const candidate of still) {
      for (const object of known.objectsOf(candidate)) {
        needed.add(object)
        for (const part of known.partsOf(object)) needed.add(part)
      }
    }
    const there = yield* store.has(needed)
    const missing = [...needed].filter(digest => !there.has(digest))
    const bad = new Set<Digest>(missing)
    for (const { digest } of found.damaged) {
      // A sound copy in a layer takes the place of the one that was moved aside.
      const sound = yield* Effect.result(store.verify(digest as Digest))
      if (sound._tag === "Failure") bad.add(digest as Digest)
    }
    const lost = still.filter(candidate => isAmong(candidate, bad, known))
    const suspects = yield* attempt(database, () => {
      Checked.record(database, store.checks())
      Actions.markArtifacts(
        database,
        lost.map(({ digest }) => digest),
        "lost"
      )
      return Suspects.labels(database)
    })
    const damaged = new Set<string>(found.damaged.map(({ digest }) => digest))
    const vanished = missing.filter(digest => !damaged.has(digest))
    const failed = damaged.size + vanished.length + found.odd.length > 0
    if (args.json) {
      stdout().write(
        `${JSON.stringify(
          {
            checked: found.checked,
            bytes: found.bytes,
            ms,
            damaged: found.damaged.map(error => ({
              digest: error.digest,
              reason: error.message,
              moved: error.quarantined
            })),
            missing: vanished,
            odd: found.odd,
            lost: lost.map(({ digest, kind, label }) => ({ digest, kind, label })),
            suspect: suspects
          },
          null,
          2
        )}\n`
      )
    } else {
      const style = styleOf(stdout())
      const rate = ms > 0 ? `, ${bytes(Math.round((found.bytes / ms) * 1000))}/s` : ""
      const part = sample < 1 ? ` (a sample of ${sample})` : ""
      const lines = [`verified ${plural(found.checked, "object")}${part}, ${bytes(found.bytes)}${rate}`]
      for (const error of found.damaged) {
        lines.push(`${style.red("damaged")} ${error.message}`)
        if (error.quarantined !== undefined) lines.push(`  moved to ${error.quarantined}`)
      }
      if (vanished.length > 0)
        lines.push(
          `${style.red("missing")} ${plural(vanished.length, "object")}: ${vanished.slice(0, 8).map(short).join(", ")}`
        )
      for (const path of found.odd)
        lines.push(`${style.red("odd")} something that was no directory had the name of one: moved to ${path}`)
      if (lost.length > 0) {
        lines.push(
          `lost: ${plural(lost.length, "artifact")}; the next run makes again those that it needs`,
          table(lost.slice(0, listed).map(each => [`  ${short(each.digest)}`, each.kind, each.label ?? ""])),
          ...(lost.length > listed ? [`  … and ${count(lost.length - listed)} more; --json lists all`] : [])
        )
      } else if (failed) lines.push("no artifact is lost by it")
      else lines.push(sample < 1 ? "all of them are sound" : "everything is sound")
      if (suspects.length > 0)
        lines.push(
          `suspect: ${plural(suspects.length, "result")}, computed from damaged bytes${suspects.length > doubted ? "" : " that were found before"}; the next run makes them again`,
          table(suspects.slice(0, listed).map(label => [`  ${label}`])),
          ...(suspects.length > listed ? [`  … and ${count(suspects.length - listed)} more; --json lists all`] : [])
        )
      stdout().write(`${lines.join("\n")}\n`)
    }
    if (failed) return yield* Effect.fail(new Exit(exitCodes.failed))
  }, stoppable())
).pipe(
  Command.withDescription("Hash every object; move damaged ones aside, so that the next run makes them again"),
  Command.withExamples([
    { command: "pipeline cache verify", description: "Everything, including the data that ship with the program" },
    { command: "pipeline cache verify --sample 0.05", description: "One object in twenty, others each time" }
  ])
)

const isAmong = (
  candidate: Candidate,
  bad: ReadonlySet<Digest>,
  known: {
    readonly objectsOf: (candidate: Candidate) => Iterable<Digest>
    readonly partsOf: (object: Digest) => Iterable<Digest>
  }
): boolean => {
  if (bad.size === 0) return false
  for (const object of known.objectsOf(candidate)) {
    if (bad.has(object)) return true
    for (const part of known.partsOf(object)) if (bad.has(part)) return true
  }
  return false
}
