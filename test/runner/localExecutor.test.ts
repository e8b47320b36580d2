/** The executor that runs actions as processes of this machine, with workers that do nothing but answer. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Fiber } from "effect"
import { assert, describe, it, onTestFinished } from "vitest"
import type { Job } from "../../src/executors/Executor.ts"
import { make } from "../../src/executors/local.ts"

const setUp = (worker: string, graceMs = 10_000) => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-local-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, "worker.mjs")
  writeFileSync(file, worker)
  const executor = make({ worker: file, strayLog: join(folder, "stray.log"), graceMs })
  const job = (process: Job["process"]): Job => ({
    label: "job",
    directory: folder,
    log: join(folder, "job.log"),
    process,
    slots: { cpus: 1, memoryMiB: 1, gpus: [] }
  })
  return { executor, folder, job }
}

const answering = `
  process.on("message", () => process.send({ type: "ended", ended: { _tag: "Failed", class: "permanent", message: String(process.pid) } }))
  process.on("disconnect", () => process.exit(0))`

describe("the local executor", () => {
  it("keeps a shared process for the next jobs, however many, without piling anything up", async () => {
    const warnings: Array<Error> = []
    const listen = (warning: Error) => void warnings.push(warning)
    process.on("warning", listen)
    onTestFinished(() => void process.off("warning", listen))
    const { executor, job } = setUp(answering)
    const ends = await Effect.runPromise(
      Effect.forEach(Array.from({ length: 40 }), () => executor.run(job("shared"), () => undefined))
    )
    await Effect.runPromise(executor.close)
    assert.strictEqual(new Set(ends.map(end => (end._tag === "Failed" ? end.message : ""))).size, 1)
    await new Promise(resolve => setImmediate(resolve))
    assert.deepStrictEqual(
      warnings.map(warning => warning.name),
      []
    )
  })

  it("gives every other job a process of its own", async () => {
    const { executor, job } = setUp(answering)
    const ends = await Effect.runPromise(
      Effect.forEach([1, 2, 3], () => executor.run(job("own"), () => undefined), { concurrency: 2 })
    )
    assert.strictEqual(new Set(ends.map(end => (end._tag === "Failed" ? end.message : ""))).size, 3)
  })

  it("says how a process ended that said nothing", async () => {
    for (const [code, expected] of [
      ['process.kill(process.pid, "SIGKILL")', /SIGKILL.*memory/],
      ["process.exit(3)", /exit code 3/],
      ["process.exit(137)", /137.*memory/]
    ] as const) {
      const { executor, job } = setUp(`process.on("message", () => { ${code} })`)
      const ended = await Effect.runPromise(executor.run(job("own"), () => undefined))
      assert.match(ended._tag === "Died" ? ended.reason : "", expected)
    }
  })

  it("kills a process that does not stop when asked, and is done only when it is gone", async () => {
    const { executor, folder, job } = setUp(
      `import { writeFileSync } from "node:fs"
       process.on("SIGTERM", () => undefined)
       process.on("message", message => writeFileSync(message.directory + "/pid", String(process.pid)))`,
      50
    )
    const fiber = Effect.runFork(executor.run(job("own"), () => undefined))
    while (!existsSync(join(folder, "pid"))) await new Promise(resolve => setTimeout(resolve, 20))
    await Effect.runPromise(Fiber.interrupt(fiber))
    const pid = Number(readFileSync(join(folder, "pid"), "utf8"))
    assert.throws(() => process.kill(pid, 0), /ESRCH/)
  })
})
