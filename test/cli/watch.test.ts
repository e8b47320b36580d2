/** Following a run from another process: the real program beside itself. */
import { type ChildProcess, spawn } from "node:child_process"
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it, onTestFinished } from "vitest"
import { linesOf } from "../../src/cli/follow.ts"
import type { RunEvent } from "../../src/runner/Events.ts"
import { eventFile, eventLog, readLogged } from "../../src/runner/EventLog.ts"
import { until } from "../runner/processes.ts"
import { program } from "../support/program.ts"

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))

const folderOf = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-watch-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

/** Counts to 3; goes on from each number when a file of that name is there. */
const counting = `
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
import { existsSync } from "node:fs"
const Text = Artifact.kind("text", { description: "", metadata: Schema.Struct({}) })
export const count = Stage.make("count", {
  inputs: {}, parameters: Schema.Struct({}), outputs: { text: Text },
  run: Effect.fn("count")(function* ({ outputs, progress }) {
    for (let done = 1; done <= 3; done++) {
      console.log("counted to " + done)
      yield* progress({ done, total: 3, unit: "numbers", note: "loss " + (3 - done) })
      while (!existsSync(process.env.STEPS + "/" + done)) yield* Effect.sleep(20)
    }
    yield* outputs.text.write("text.txt", "3")
    yield* outputs.text.metadata({})
  })
})
export default Pipeline.make("counting", { description: "", profiles: { p: { description: "", needs: "", make: () => 0 } } }, () => count({}))
`

interface Started {
  readonly child: ChildProcess
  readonly out: () => string
  readonly ended: Promise<number | null>
}

const world = () => {
  const folder = folderOf()
  writeFileSync(join(folder, "counting.ts"), counting)
  const start = (...words: ReadonlyArray<string>): Started => {
    const child = spawn(process.execPath, [main, ...words], {
      cwd: folder,
      env: { ...process.env, NODE_OPTIONS: "", NO_COLOR: "1", STEPS: folder, PIPELINE_CACHE: join(folder, "cache") },
      stdio: ["ignore", "pipe", "pipe"]
    })
    onTestFinished(() => void child.kill("SIGKILL"))
    let out = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", data => (out += String(data)))
    return { child, out: () => out, ended: new Promise(resolve => child.on("close", resolve)) }
  }
  return { folder, start, step: (n: number) => writeFileSync(join(folder, String(n)), "") }
}

const says = (started: Started, pattern: RegExp) => until(() => (pattern.test(started.out()) ? true : undefined))

describe.skipIf(process.platform !== "linux")("pipeline watch", () => {
  it("shows what a run did and does, from its beginning, and ends with it", async () => {
    const { folder, start, step } = world()
    const run = start("run", "./counting.ts")
    await until(() => (existsSync(eventFile(join(folder, "cache", "logs"), 1)) ? true : undefined))
    const [plain, json] = [start("watch"), start("watch", "counting", "--json")]
    await says(plain, /▸ count/)
    await says(json, /"note":"loss 2"/)
    step(1)
    step(2)
    await says(json, /"note":"loss 0"/)
    step(3)
    assert.strictEqual(await run.ended, 0, run.out())
    for (const watched of [plain, json]) assert.strictEqual(await watched.ended, 0, watched.out())
    assert.match(plain.out(), /✓ count[^]*1 executed, 0 reused/)
    const events = json
      .out()
      .trim()
      .split("\n")
      .map(line => (JSON.parse(line) as RunEvent).type)
    assert.strictEqual(events[0], "run-started")
    assert.strictEqual(events.at(-1), "run-ended")
    // Afterwards it tells the same.
    const later = start("watch", "1")
    assert.strictEqual(await later.ended, 0)
    assert.match(later.out(), /✓ count[^]*1 executed/)
  })

  it("follows the log of an action until that ends", async () => {
    const { start, step } = world()
    const run = start("run", "./counting.ts")
    await says(run, /▸ count/)
    const log = start("show", "count", "--log", "--follow")
    await says(log, /counted to 1/)
    assert.notMatch(log.out(), /counted to 2/)
    for (const n of [1, 2, 3]) step(n)
    assert.strictEqual(await log.ended, 0, log.out())
    assert.match(log.out(), /counted to 1\ncounted to 2\ncounted to 3/)
    assert.strictEqual(await run.ended, 0)
  })

  it("says when the run's process is gone", async () => {
    const { start } = world()
    const run = start("run", "./counting.ts")
    await says(run, /▸ count/)
    const watched = start("watch")
    await says(watched, /▸ count/)
    run.child.kill("SIGKILL")
    assert.strictEqual(await watched.ended, 1)
    assert.match(watched.out(), /run 1 crashed: its process is gone/)
  })

  it("says what is there instead, of a run whose events are gone", async () => {
    const { folder, start, step } = world()
    for (const n of [1, 2, 3]) step(n)
    assert.strictEqual(await start("run", "./counting.ts").ended, 0)
    rmSync(join(folder, "cache", "logs"), { recursive: true })
    const { code, stderr } = await program(["watch"], { cwd: folder })
    assert.strictEqual(code, 2)
    assert.match(stderr, /not kept any more[^]*`pipeline show 1`/)
  })
})

describe("events in a file", () => {
  const progress = (done: number): RunEvent => ({ type: "progress", label: "a", progress: { done } })
  const begun: RunEvent = {
    type: "run-started",
    run: 7,
    pipeline: "p",
    profile: "q",
    nodes: 1,
    reused: 0,
    toRun: 1,
    unknown: 0,
    estimateMs: undefined
  }

  it("are read back as they were, with their times; of progress one a second", () => {
    const logs = folderOf()
    const log = eventLog(logs)
    log.add(begun, 1000)
    for (const at of [2000, 2500, 2999, 3000]) log.add(progress(at), at)
    log.close()
    const found = readFileSync(eventFile(logs, 7), "utf8").trim().split("\n").map(readLogged)
    assert.deepStrictEqual(
      found.map(logged => logged?.at),
      [1000, 2000, 3000]
    )
    assert.deepStrictEqual(found[1], { at: 2000, event: progress(2000) })
  })

  it("end nothing where they cannot be written, and skip a line that was cut off", () => {
    const folder = folderOf()
    writeFileSync(join(folder, "file"), "")
    const log = eventLog(join(folder, "file"))
    log.add(begun)
    log.close()
    for (const line of ["", "{", "null", "[]", '{"at":1}', '{"at":"1","event":{"type":"x"}}'])
      assert.isUndefined(readLogged(line), line)
  })

  it("come line by line, however they were appended, also within a letter", () => {
    const file = join(folderOf(), "events")
    const read = linesOf(file)
    assert.deepStrictEqual(read(), [])
    const bytes = Buffer.from("änne\nböse\nc")
    const found: Array<string> = []
    for (const byte of bytes) {
      appendFileSync(file, Buffer.of(byte))
      found.push(...read())
    }
    assert.deepStrictEqual(found, ["änne", "böse"])
  })
})
