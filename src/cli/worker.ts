/** The process of an action: waits for a job, runs it, says how it ended; ends with its parent. */
import { openSync, writeSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import { Effect, Fiber } from "effect"
import type { FromWorker, ToWorker } from "../executors/Executor.ts"
import { isStage } from "../pipeline/Stage.ts"
import { execute, type LoadStage } from "../runner/Child.ts"
import { resolveOurselves } from "./ourselves.ts"

const say = (message: FromWorker) => process.send?.(message, undefined, undefined, () => undefined)

const load: LoadStage = async ({ export: name, module }) => {
  const loaded = (await import(pathToFileURL(module).href)) as Record<string, unknown>
  const stage = loaded[name]
  if (!isStage(stage)) throw new Error(`its export ${name} is no stage`)
  return stage
}

/** A kept process serves several jobs; what it prints belongs to the log of the current one. */
const redirectTo = (log: string): void => {
  const file = openSync(log, "a")
  for (const stream of [process.stdout, process.stderr]) {
    stream.write = ((chunk: string | Uint8Array) => {
      if (typeof chunk === "string") writeSync(file, chunk)
      else writeSync(file, chunk)
      return true
    }) as typeof stream.write
  }
}

let current: Fiber.Fiber<unknown> | undefined

resolveOurselves()
process.on("message", (message: ToWorker) => {
  if (message.log !== undefined) redirectTo(message.log)
  const fiber = Effect.runFork(execute(message.directory, load, progress => say({ type: "progress", progress })))
  current = fiber
  fiber.addObserver(exit => {
    current = undefined
    if (exit._tag === "Success") say({ type: "ended", ended: exit.value })
  })
})

// The runner is gone: nobody would publish the result.
process.on("disconnect", () => process.exit(0))
// A stage that computes without a pause hears no event; a thread of its own looks for the runner then.
new Worker(
  `const runner = process.ppid
   setInterval(() => { if (process.ppid !== runner) process.kill(process.pid, "SIGKILL") }, 1000)`,
  { eval: true, stdout: false, stderr: false }
).unref()
// Ctrl-C reaches the whole process group; the runner decides what becomes of us.
process.on("SIGINT", () => undefined)
process.on("SIGTERM", () => {
  if (current === undefined) process.exit(143)
  Effect.runFork(
    Effect.ensuring(
      Fiber.interrupt(current),
      Effect.sync(() => process.exit(143))
    )
  )
})
