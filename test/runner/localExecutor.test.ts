/** The executor that runs actions as processes of this machine, with workers that do nothing but answer. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Fiber } from "effect"
import { assert, describe, it, onTestFinished } from "vitest"
import { listProcesses } from "../../src/executors/descendants.ts"
import type { Ended, Job } from "../../src/executors/Executor.ts"
import { make } from "../../src/executors/local.ts"
import { notedPid, until, workerText } from "./processes.ts"

const setUp = (worker: string, graceMs = 10_000) => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-local-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, "worker.mjs")
  writeFileSync(file, worker)
  const executor = make({
    worker: file,
    guard: fileURLToPath(new URL("../../src/executors/guard.ts", import.meta.url)),
    compiled: join(folder, "compiled"),
    logs: join(folder, "logs"),
    ahead: 2,
    graceMs
  })
  onTestFinished(() => Effect.runPromise(executor.close))
  let count = 0
  const job = (gpus: ReadonlyArray<string> = []): Job => {
    const directory = join(folder, "actions", `${"0".repeat(16)}.${++count}`)
    mkdirSync(directory, { recursive: true })
    const log = join(folder, `job.${count}.log`)
    writeFileSync(log, "# job\n")
    return { label: "job", directory, log, slots: { cpus: 1, memoryMiB: 1, gpus } }
  }
  const run = (job: Job) => Effect.runPromise(executor.run(job, () => undefined))
  return { executor, folder, job, run }
}

/** Answers with the text that an expression comes to. */
const answering = (expression: string) =>
  workerText(`message => {
    say({ type: "begun" })
    console.log("printed")
    say({ type: "ended", ended: { _tag: "Failed", class: "permanent", message: String(${expression}) } })
  }
  let seen = 0`)

const said = (ended: Ended) => (ended._tag === "Failed" ? ended.message : JSON.stringify(ended))

/** Whether a process prints to a file of those that have no action yet. */
const isWaiting = (pid: number, folder: string) => {
  try {
    return readlinkSync(`/proc/${pid}/fd/1`).startsWith(folder)
  } catch {
    return false
  }
}

describe("the local executor", () => {
  it("gives every job a process of its own, however many, without piling anything up", async () => {
    const warnings: Array<Error> = []
    const listen = (warning: Error) => void warnings.push(warning)
    process.on("warning", listen)
    onTestFinished(() => void process.off("warning", listen))
    const { job, run } = setUp(answering("`${process.pid} ${seen++}`"))
    const jobs = Array.from({ length: 14 }, () => job())
    const ends: Array<string> = []
    for (const each of jobs) ends.push(said(await run(each)))
    assert.strictEqual(new Set(ends).size, jobs.length, "some were started ahead of need, none was used twice")
    assert.deepStrictEqual([...new Set(ends.map(text => text.split(" ")[1]))], ["0"])
    for (const { log } of jobs) assert.strictEqual(readFileSync(log!, "utf8").replace("# job\n", ""), "printed\n")
    await new Promise(resolve => setImmediate(resolve))
    assert.deepStrictEqual(
      warnings.map(warning => warning.name),
      []
    )
  })

  it("replaces a process that died while it waited, and names its devices to each from its start", async () => {
    const { folder, job, run } = setUp(answering("`${process.pid} [${process.env.CUDA_VISIBLE_DEVICES}]`"))
    mkdirSync(join(folder, "logs"))
    writeFileSync(join(folder, "logs", "ahead.4194305.1"), "of a runner that was killed")
    await run(job())
    assert.isFalse(existsSync(join(folder, "logs", "ahead.4194305.1")))
    const waiting = await until(() => {
      const found = listProcesses().filter(pid => isWaiting(pid, join(folder, "logs")))
      return found.length === 2 ? found : undefined
    })
    for (const pid of waiting) process.kill(pid, "SIGKILL")
    const [after] = said(await run(job())).split(" ")
    assert.notInclude(waiting, Number(after))
    assert.match(said(await run(job(["3"]))), /^\d+ \[3\]$/)
    assert.match(said(await run(job())), /^\d+ \[\]$/)
  })

  it("says how a process ended that said nothing", async () => {
    for (const [code, expected] of [
      ['process.kill(process.pid, "SIGKILL")', /SIGKILL.*memory/],
      ["process.exit(3)", /exit code 3/],
      ["process.exit(137)", /137.*memory/]
    ] as const) {
      const { executor, job } = setUp(workerText(`() => { ${code} }`))
      const ended = await Effect.runPromise(executor.run(job(), () => undefined))
      assert.match(ended._tag === "Died" ? ended.reason : "", expected)
    }
  })

  it("kills a process that does not stop when asked, and is done only when it is gone", async () => {
    const { executor, job } = setUp(
      `import { writeFileSync } from "node:fs"
       process.on("SIGTERM", () => undefined)
       ${workerText('job => writeFileSync(job.directory + "/pid", String(process.pid))')}`,
      50
    )
    const stubborn = job()
    const pidFile = join(stubborn.directory, "pid")
    const fiber = Effect.runFork(executor.run(stubborn, () => undefined))
    const pid = await until(notedPid(pidFile))
    await Effect.runPromise(Fiber.interrupt(fiber))
    assert.throws(() => process.kill(pid, 0), /ESRCH/)
  })

  it.for([
    ["nothing at all", ""],
    ["no JSON", 'writeSync(3, "garbage\\n")'],
    ["a null", 'writeSync(3, "null\\n")'],
    ["a text", 'writeSync(3, "\\"ready\\"\\n")'],
    ["half a line", 'writeSync(3, "{")'],
    ["an end of its own", `writeSync(3, '{"type":"ended","ended":{"_tag":"Done"}}\\n')`],
    ["an end with another word", `writeSync(3, '{"type":"ended","word":"","ended":{"_tag":"Done"}}\\n')`],
    ["a message of Node's channel", 'if (process.send !== undefined) throw new Error("there is a channel of Node")']
  ])("does not hear what a stage says on the line: %s", async ([, code]) => {
    const { job, run } = setUp(
      `import { writeSync } from "node:fs"
       ${workerText(`() => {
         say({ type: "begun" })
         ${code}
         setTimeout(() => say({ type: "ended", ended: { _tag: "Failed", class: "permanent", message: "ours" } }), 20)
       }`)}`
    )
    assert.strictEqual(said(await run(job())), "ours")
  })

  it("takes a process that cut the line for crashed, and ends it", async () => {
    const { job, run } = setUp(
      `import { closeSync, writeFileSync } from "node:fs"
       process.on("exit", () => { for (;;); })
       ${workerText(`job => { say({ type: "begun" }); writeFileSync(job.directory + "/pid", String(process.pid)); closeSync(3); setInterval(() => {}, 1000) }`)}`
    )
    const cutting = job()
    const ended = await run(cutting)
    assert.match(ended._tag === "Died" ? ended.reason : "", /closed its line to the runner/)
    assert.throws(() => process.kill(notedPid(join(cutting.directory, "pid"))()!, 0), /ESRCH/)
  })

  it("calls an end that cannot be understood a failure", async () => {
    const { job, run } = setUp(workerText(`() => say({ type: "ended", ended: { _tag: "Done?" } })`))
    assert.match(said(await run(job())), /cannot be understood/)
  })
})
