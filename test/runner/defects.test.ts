/** Whatever goes wrong in an action's fiber ends that action with its cause, and the run with exit code 1: nobody waits for it. */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Exit } from "effect"
import { assert, describe, it } from "vitest"
import type { Ports } from "../../src/runner/Ports.ts"
import { logPath } from "../../src/runner/Logs.ts"
import { newWorld, obey, play } from "./scripted.ts"
import { part, planOf } from "./simulatedStages.ts"
import { makeFixture } from "./smallFixture.ts"

const plan = planOf("chains", [part("source", 0), part("mix", 0, [0]), part("source", 1)], 3)

const throws = (error: Error) => (): never => {
  throw error
}

const oops = new Error("oops")

/** Ports of which one is defective as soon as `source` is worked on. */
const defects: { readonly [what: string]: (ports: Ports) => Partial<Ports> } = {
  "an executor that throws": ({ executor }) => ({
    executor: {
      ...executor,
      run: job => (job.label === "source" ? throws(oops)() : executor.run(job, () => undefined))
    }
  }),
  "a look that throws": ({ look }) => ({ look: node => (node.label === "source" ? throws(oops)() : look(node)) }),
  "a look that dies": ({ look }) => ({ look: node => (node.label === "source" ? Effect.die(oops) : look(node)) }),
  "a stage that is not found": ({ locate }) => ({
    locate: node => (node.stage.name === "source" ? throws(oops)() : locate(node))
  }),
  "slots that throw": ({ slots }) => ({
    slots: Object.assign(Object.create(slots) as typeof slots, { with: throws(oops), capacity: slots.capacity })
  }),
  "work that is cut off from within": ({ look }) => ({
    look: node => (node.label === "source" ? Effect.interrupt : look(node))
  })
}

describe("an action ends as failed, with its cause, and the run goes on", () => {
  for (const [what, defect] of Object.entries(defects))
    it(`after ${what}`, () => {
      const world = newWorld()
      const { events, process } = play(world, plan, obey, { ports: ports => ({ ...ports, ...defect(ports) }) })
      const failures = events.filter(event => event.type === "failed" && event.label === "source")
      assert.strictEqual(failures.length, 1)
      const [failure] = failures
      assert.match(
        failure?.type === "failed" ? failure.message : "",
        what.includes("cut off") ? /cut off from within/ : /unexpected error: oops/
      )
      const { exit, slots } = process
      assert.isTrue(Exit.isSuccess(exit!) && exit.value.status === "failed")
      assert.deepStrictEqual(slots.used, { cpus: 0, memoryMiB: 0, gpus: [] })
      assert.deepStrictEqual(world.database.all("SELECT * FROM lease"), [])
      assert.deepStrictEqual(world.database.all("SELECT * FROM execution WHERE status = 'running'"), [])
      const log = world.disk.files().get(`/cache/${logPath(1, "source", 1)}`)
      assert.match(
        Buffer.from(log ?? "").toString(),
        what.includes("cut off") ? /./ : /oops[^]*at .*\.ts/,
        "with its stack"
      )
    })

  it("after the executor could not be used for want of file descriptors, with what to do", () => {
    const error = Object.assign(new Error("spawn EMFILE"), { code: "EMFILE" })
    const { events } = play(newWorld(), plan, obey, {
      ports: ports => ({ ...ports, executor: { ...ports.executor, run: throws(error) } })
    })
    const [failure] = events.flatMap(event => (event.type === "failed" ? [event] : []))
    assert.match(failure!.message, /spawn EMFILE/)
    assert.match(failure!.advice ?? "", /ulimit -n/)
  })
})

describe("a display that fails", () => {
  it("ends nothing, whatever it is told", () => {
    for (const emit of [throws(oops), () => Effect.die(oops)]) {
      const { process } = play(newWorld(), plan, obey, { ports: ports => ({ ...ports, emit }) })
      assert.isTrue(Exit.isSuccess(process.exit!) && process.exit.value.status === "done")
    }
  })
})

describe("the log of an attempt", () => {
  it("has a name that file systems take, whatever the label, and another for another label", () => {
    const long = (last: string) => logPath(12, `${"a".repeat(300)}/${"b".repeat(300)}${last}`, 1_000_000)
    for (const part of long("x").split("/")) assert.isBelow(part.length, 256)
    assert.notStrictEqual(long("x"), long("y"))
    assert.strictEqual(logPath(1, "train/no_align", 2), "logs/1/train__no_align.2.log")
  })
})

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))

describe("the real program", () => {
  it("ends with code 1 when it has too few file descriptors to start a process", async () => {
    const fixture = makeFixture()
    assert.strictEqual((await fixture.run()).code, 0)
    // As many as the program itself has open, found by trying: from too few to open the ledger, to enough for all.
    const codes: Array<number | null> = []
    for (const limit of [28, 30, 31]) {
      const child = spawn(
        "sh",
        [
          "-c",
          `ulimit -n ${limit}; exec "$0" "$@"`,
          process.execPath,
          main,
          "run",
          "./pipeline.ts",
          "--set",
          `shout.marks=${limit}`
        ],
        {
          cwd: fixture.folder,
          env: { ...process.env, NODE_OPTIONS: "", PIPELINE_CACHE: join(fixture.folder, "cache") },
          stdio: "ignore"
        }
      )
      codes.push(await new Promise<number | null>(resolve => child.on("close", resolve)))
    }
    for (const code of codes) assert.include([0, 1, 2, 134], code)
    assert.include(codes, 1)
  })
})
