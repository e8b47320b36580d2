/** An action's process ends with its runner, also while its stage computes without a pause. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterEach, assert, it } from "vitest"
import { isAlive } from "../../src/runner/Machine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { notedPid, until } from "./processes.ts"

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))
const directory = temporaryDirectory()
let runner: ChildProcess | undefined

afterEach(() => {
  runner?.kill("SIGKILL")
  directory.remove()
})

/** Writes the id of its process, then never yields again. */
const pipeline = (note: string) => `
import { writeFileSync } from "node:fs"
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
const Text = Artifact.kind("text", { description: "", metadata: Schema.Struct({}) })
export const spin = Stage.make("spin", {
  inputs: {}, parameters: Schema.Struct({}), outputs: { text: Text },
  run: () => Effect.sync(() => { writeFileSync(${JSON.stringify(note)}, String(process.pid)); for (;;) {} })
})
export default Pipeline.make("spin", { description: "", profiles: { only: { description: "", needs: "", make: () => 0 } } }, () => spin({}))
`

it("a process that computes without a pause is gone soon after its runner was killed", async () => {
  mkdirSync(directory.path, { recursive: true })
  const note = join(directory.path, "pid")
  const file = join(directory.path, "spin.ts")
  writeFileSync(file, pipeline(note))
  runner = fork(main, ["run", file, "--cache", join(directory.path, "cache")], { stdio: "ignore" })
  const pid = await until(notedPid(note))
  assert.isTrue(isAlive(pid))
  const gone = once(runner, "exit")
  runner.kill("SIGKILL")
  await gone
  // The test's own time limit is the bound.
  while (isAlive(pid)) await pause(50)
})
