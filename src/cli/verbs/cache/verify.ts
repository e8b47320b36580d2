/** `pipeline cache verify`: hashes what the store holds; what is damaged is moved aside and made again by the next run. */
import { randomUUID } from "node:crypto"
import { availableParallelism } from "node:os"
import { Clock, Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../../verb.ts"
import * as Actions from "../../../ledger/Actions.ts"
import * as Checked from "../../../ledger/Checked.ts"
import type { Candidate } from "../../../ledger/Collection.ts"
import * as Suspects from "../../../ledger/Suspects.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type Digest, sha256, short } from "../../../pipeline/Digest.ts"
import { bytes, plural } from "../../../pipeline/units.ts"
import { inventory } from "../../../runner/Collect.ts"
import type { Stored } from "../../../store/Writing.ts"
import { Exit, exitCodes } from "../../failure.ts"
import * as flags from "../../flags.ts"
import { stoppable } from "../../interruption.ts"
import { attempt, sayNothingYet } from "../../look.ts"
import { openMaintenance } from "../../maintenance.ts"
import { first, styleOf, table } from "../../terminal/style.ts"
import { byteProgress } from "../../terminal/byteProgress.ts"
import { print, printJson, stdout } from "../../terminal/terminal.ts"

/** Artifacts listed one by one; --json has all. */
const listed = 20

export const verify = verb("verify", {
  about: "Hash every object; move damaged ones aside, so that the next run makes them again",
  examples: {
    "pipeline cache verify": "Everything, including the data that ship with the program",
    "pipeline cache verify --sample 0.05": "One object in twenty, others each time"
  },
  takes: {
    sample: flags.optionalText(
      "sample",
      "P",
      "Share of the objects to hash, from 0 to 1; another choice each time (default: all)"
    ),
    jobs: flags
      .optionalWhole("jobs", "N", "Objects hashed at a time (default: all processors)", 1)
      .pipe(Flag.withAlias("j")),
    ...flags.ofCache
  },
  run: Effect.fn("cache verify")(function* (args) {
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
    if (looked === undefined) return sayNothingYet(args)
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
    const doubted = yield* attempt(() => Suspects.count(database))
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
    const collected = new Set(yield* attempt(() => database.column<number>("SELECT id FROM artifact WHERE state = 1")))
    const still = known.candidates.filter(({ id }) => !collected.has(id))
    const needs = (candidate: Candidate) =>
      known.objectsOf(candidate).flatMap(object => [object, ...known.partsOf(object)])
    const needed = new Set(still.flatMap(needs))
    const there = yield* store.has(needed)
    const missing = [...needed].filter(digest => !there.has(digest))
    const bad = new Set<Digest>(missing)
    for (const { digest } of found.damaged) {
      // A sound copy in a layer takes the place of the one that was moved aside.
      const sound = yield* Effect.result(store.verify(digest as Digest))
      if (sound._tag === "Failure") bad.add(digest as Digest)
    }
    const lost = still.filter(candidate => bad.size > 0 && needs(candidate).some(object => bad.has(object)))
    const suspects = yield* attempt(() => {
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
      printJson({
        checked: found.checked,
        bytes: found.bytes,
        ms,
        damaged: found.damaged.map(({ digest, message, quarantined }) => ({
          digest,
          reason: message,
          moved: quarantined
        })),
        missing: vanished,
        odd: found.odd,
        lost: lost.map(({ digest, kind, label }) => ({ digest, kind, label })),
        suspect: suspects
      })
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
          ...first(lost, listed, shown =>
            table(shown.map(each => [`  ${short(each.digest)}`, each.kind, each.label ?? ""]))
          )
        )
      } else if (failed) lines.push("no artifact is lost by it")
      else lines.push(sample < 1 ? "all of them are sound" : "everything is sound")
      if (suspects.length > 0)
        lines.push(
          `suspect: ${plural(suspects.length, "result")}, computed from damaged bytes${suspects.length > doubted ? "" : " that were found before"}; the next run makes them again`,
          ...first(suspects, listed, shown => shown.map(label => `  ${label}`).join("\n"))
        )
      print(...lines)
    }
    if (failed) return yield* Effect.fail(new Exit(exitCodes.failed))
  }, stoppable())
})
