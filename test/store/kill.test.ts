import { spawn } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import * as Faults from "../../src/store/Faults.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { make } from "../../src/store/Store.ts"
import { objectAt, temporaryFolder } from "../support/storeSetup.ts"
import * as victim from "../support/storeVictim.ts"

const program = fileURLToPath(new URL("../support/storeVictim.ts", import.meta.url))

/** Runs the victim in a process of its own; says how it ended and which steps it completed. */
const run = (folder: string, fault: string) =>
  Effect.callback<{ readonly ended: string; readonly steps: ReadonlyArray<string>; readonly errors: string }>(
    resume => {
      const child = spawn(process.execPath, [program, folder], {
        env: { ...process.env, NODE_OPTIONS: "", [Faults.variable]: fault },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let output = ""
      let errors = ""
      child.stdout.on("data", data => (output += String(data)))
      child.stderr.on("data", data => (errors += String(data)))
      child.on("close", (code, signal) =>
        resume(
          Effect.succeed({
            ended: signal ?? `exit ${code}`,
            steps: output.split("\n").filter(line => line !== ""),
            errors
          })
        )
      )
    }
  )

/** The objects that must be there once a step was reported. */
const promised: Readonly<Record<string, ReadonlyArray<Uint8Array>>> = {
  small: [victim.small],
  large: [victim.large],
  piecewise: [victim.piecewise],
  publish: victim.outputs,
  fragile: [victim.fragile],
  restored: [victim.discarded]
}

const check = Effect.fnUntraced(function* (folder: string, steps: ReadonlyArray<string>) {
  const store = make({ root: join(folder, "deep", "cache"), disk: nodeDisk })
  const summary = yield* store.verifyAll()
  // The victim damages one object on purpose, and may be killed before it has looked at it again.
  const damaged = summary.damaged.map(error => error.digest as Digest)
  assert.deepStrictEqual(
    damaged.filter(digest => steps.includes("fragile") || digest !== sha256(victim.fragile)),
    []
  )
  for (const step of steps) {
    for (const bytes of promised[step] ?? [])
      assert.strictEqual((yield* store.verify(sha256(bytes))).size, bytes.length)
  }
  const out = fs.readFileSync(join(folder, "out.bin"))
  if (steps.includes("materialise")) assert.isTrue(out.equals(victim.large))
  else assert.isTrue(out.toString() === victim.oldText || out.equals(victim.large), "half a file")
})

/** How often an undisturbed run passes each point. */
const visits = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const counts = new Map<string, number>()
  yield* victim.scenario(
    folder,
    point => Effect.sync(() => counts.set(point, (counts.get(point) ?? 0) + 1)),
    () => {}
  )
  return counts
})

describe("kill -9", () => {
  it.effect("is tried at every point: an undisturbed run passes each of them, and no others", () =>
    Effect.gen(function* () {
      const counts = yield* visits
      assert.deepStrictEqual([...counts.keys()].toSorted(), [...Faults.faultPoints].toSorted())
    })
  )

  for (const point of Faults.faultPoints) {
    it.effect(
      `at ${point}: what was reported is there, nothing is half there, and the next run completes`,
      () =>
        Effect.gen(function* () {
          const count = (yield* visits).get(point) ?? 0
          for (const nth of new Set([1, count])) {
            const folder = yield* temporaryFolder
            fs.writeFileSync(join(folder, "out.bin"), victim.oldText)
            const killed = yield* run(folder, `${point}:${nth}`)
            assert.strictEqual(killed.ended, "SIGKILL", killed.errors)
            yield* check(folder, killed.steps)

            const steps: Array<string> = []
            yield* victim.scenario(folder, Faults.none, step => steps.push(step))
            yield* check(folder, steps)
            const root = join(folder, "deep", "cache")
            for (const bytes of victim.everything) {
              assert.isTrue(fs.readFileSync(objectAt(root, sha256(bytes))).equals(bytes))
              assert.strictEqual(fs.statSync(objectAt(root, sha256(bytes))).mode & 0o777, 0o444)
            }
            assert.deepStrictEqual(fs.readdirSync(join(folder, "action")), [])
            const left = fs.readdirSync(join(root, "tmp")).length
            // Under the test's clock it is 1970; files of today count as old all the same.
            const swept = yield* make({ root, disk: nodeDisk }).sweep({ olderThanMs: -Date.now() - 60_000 })
            assert.strictEqual(swept.count, left, "the killed process's own files are recognised as such")
          }
        }),
      30_000
    )
  }
})

describe("fromEnvironment", () => {
  it.effect("does nothing without the variable, and refuses what it does not understand", () =>
    Effect.gen(function* () {
      yield* Faults.fromEnvironment({})("put.after-write")
      yield* Faults.fromEnvironment({ [Faults.variable]: "put.after-write:2" })("put.after-write")
      yield* Faults.fromEnvironment({ [Faults.variable]: "put.after-write" })("put.before-write")
      for (const text of ["put.after-write:0", "put after write", "a:1:2", ":1"]) {
        assert.throws(() => Faults.fromEnvironment({ [Faults.variable]: text }), /must be POINT/)
      }
    })
  )
})
