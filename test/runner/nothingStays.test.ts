/**
 * However an action ends, nothing lives any more that it started. Real processes, which try to get away.
 * `PIPELINE_CONTROL_GROUPS=off npx vitest run test/runner/nothingStays.test.ts` does without control groups.
 */
import { fork, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Fiber } from "effect"
import { assert, describe, it, onTestFinished } from "vitest"
import { make } from "../../src/executors/local.ts"
import { childrenOf, lives, until, ways, workerText } from "./processes.ts"

/** Starts a child in every way, waits until all of them write, and goes on with `then`. */
const worker = (then: string) => `
  import { spawn } from "node:child_process"
  import { existsSync, readFileSync } from "node:fs"
  ${workerText(`({ directory }) => {
    say({ type: "begun" })
    process.chdir(directory)
    for (const way of ways) spawn("sh", ["-c", way], { stdio: "ignore" })
    const all = setInterval(() => {
      if (!existsSync("pids") || readFileSync("pids", "utf8").split("\\n").length <= ${ways.length}) return
      clearInterval(all)
      ${then}
    }, 20)
  }`)}
  const ways = ${JSON.stringify(ways)}`

const setUp = (then: string) => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-stays-"))
  const directory = join(folder, "actions", `${"0".repeat(16)}.1`)
  mkdirSync(directory, { recursive: true })
  const file = join(folder, "worker.mjs")
  writeFileSync(file, worker(then))
  const pids = () => {
    const path = join(directory, "pids")
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : []
    return lines.length < ways.length ? undefined : lines.map(Number)
  }
  onTestFinished(() => {
    for (const pid of pids() ?? []) if (lives(pid)) process.kill(pid, "SIGKILL")
    rmSync(folder, { recursive: true, force: true })
  })
  const executor = make({
    worker: file,
    guard: fileURLToPath(new URL("../../src/executors/guard.ts", import.meta.url)),
    compiled: join(folder, "compiled"),
    logs: join(folder, "logs"),
    ahead: 0,
    graceMs: 200
  })
  onTestFinished(() => Effect.runPromise(executor.close))
  const job = (attempt: number) => {
    const own = directory.replace(/1$/, String(attempt))
    mkdirSync(own, { recursive: true })
    return { label: "job", directory: own, log: undefined, slots: { cpus: 1, memoryMiB: 1, gpus: [] } }
  }
  const run = (attempt = 1) => executor.run(job(attempt), () => undefined)
  return { directory, executor, file, folder, pids, run }
}

/** Nothing lives, and nothing is written any more. */
const assertGone = async (directory: string, pids: ReadonlyArray<number> | undefined) => {
  assert.strictEqual(pids?.length, ways.length)
  assert.deepStrictEqual(pids?.filter(lives), [])
  const written = readFileSync(join(directory, "written"), "utf8")
  await new Promise(resolve => setTimeout(resolve, 120))
  assert.strictEqual(readFileSync(join(directory, "written"), "utf8"), written)
}

describe.skipIf(process.platform !== "linux")("nothing that an action started", () => {
  it("lives when it ends well", async () => {
    const { directory, pids, run } = setUp(`say({ type: "ended", ended: { _tag: "Done" } })`)
    assert.deepStrictEqual(await Effect.runPromise(run()), { _tag: "Done" })
    await assertGone(directory, pids())
  })

  it("lives when its process crashes", async () => {
    const { directory, pids, run } = setUp(`process.kill(process.pid, "SIGKILL")`)
    assert.strictEqual((await Effect.runPromise(run()))._tag, "Died")
    await assertGone(directory, pids())
  })

  it("lives when it is interrupted, whether it listens or not", async () => {
    for (const then of ["process.on('SIGTERM', () => process.exit(143))", "process.on('SIGTERM', () => undefined)"]) {
      const { directory, pids, run } = setUp(then)
      const fiber = Effect.runFork(run())
      await until(pids)
      await Effect.runPromise(Fiber.interrupt(fiber))
      await assertGone(directory, pids())
    }
  })

  it("lives after the second Ctrl-C", async () => {
    const { directory, executor, pids, run } = setUp("")
    const fiber = Effect.runFork(run())
    await until(pids)
    executor.killAll()
    await until(() => (pids()!.some(lives) ? undefined : true))
    await assertGone(directory, pids())
    await Effect.runPromise(Fiber.interrupt(fiber))
  })

  const victim = (file: string, folder: string, directory: string) =>
    fork(fileURLToPath(new URL("executorVictim.ts", import.meta.url)), [file, join(folder, "logs"), directory], {
      stdio: "ignore"
    })

  it("lives soon after the runner was killed", async () => {
    const { directory, file, folder, pids } = setUp("for (;;);")
    const runner = victim(file, folder, directory)
    await until(pids)
    runner.kill("SIGKILL")
    await until(() => (pids()!.some(lives) ? undefined : true))
    await assertGone(directory, pids())
  })

  it("lives when the next attempt begins, though all that could clean up was killed", async () => {
    const { directory, folder, pids, run } = setUp(`say({ type: "ended", ended: { _tag: "Done" } })`)
    writeFileSync(join(folder, "first.mjs"), worker("for (;;);"))
    const runner = victim(join(folder, "first.mjs"), folder, directory)
    await until(pids)
    const before = pids()!
    const gone = once(runner, "exit")
    // First the guard and the action's process, then the runner, before it hears of it.
    const children = childrenOf(runner.pid!)
    process.kill(runner.pid!, "SIGSTOP")
    for (const pid of [...children, runner.pid!]) process.kill(pid, "SIGKILL")
    await gone
    assert.deepStrictEqual(
      before.filter(pid => !lives(pid)),
      [],
      "they got away"
    )
    assert.deepStrictEqual(await Effect.runPromise(run(2)), { _tag: "Done" })
    await assertGone(directory, before)
  })

  it("keeps a program that another container started, or another run that lives", () => {
    // What says so is the mark alone.
    const { stdout } = spawnSync(process.execPath, [
      "--input-type=module",
      "-e",
      `import { isOrphaned, ours } from ${JSON.stringify(new URL("../../src/executors/mark.ts", import.meta.url).href)}
       const [space, pid, start] = ours.split(".")
       console.log(JSON.stringify([ours + "1", space + "." + pid + ".1.1", "1." + pid + ".1.1", "x"].map(isOrphaned)))`
    ])
    assert.strictEqual(String(stdout).trim(), "[false,true,false,false]")
  })
})
