/** Runs actions as processes of this machine. */
import { type ChildProcess, fork } from "node:child_process"
import { closeSync, openSync } from "node:fs"
import { Effect } from "effect"
import type { Progress } from "../pipeline/StageContext.ts"
import type { Ended, Executor, FromWorker, Job, ToWorker } from "./Executor.ts"

export interface LocalOptions {
  /** The worker's entry module. */
  readonly worker: string
  /** Collects what kept processes print outside of any job. */
  readonly strayLog: string
  /** Milliseconds between asking a process to stop and killing it. */
  readonly graceMs?: number
}

/** An executor and the means to end the processes that it keeps. */
export interface LocalExecutor extends Executor {
  /** Kills every process at once, without grace: for the second Ctrl-C. */
  readonly killAll: () => void
  /** Ends the idle processes. */
  readonly close: Effect.Effect<void>
}

export const make = (options: LocalOptions): LocalExecutor => {
  const idle: Array<ChildProcess> = []
  const living = new Set<ChildProcess>()
  const graceMs = options.graceMs ?? 10_000

  const start = (job: Job): ChildProcess => {
    const log = openSync(job.process === "own" ? job.log : options.strayLog, "a")
    try {
      const child = fork(options.worker, [], {
        stdio: ["ignore", log, log, "ipc"],
        serialization: "json",
        execArgv: process.execArgv.filter(flag => !flag.startsWith("--inspect")),
        env: environment(job)
      })
      living.add(child)
      child.once("exit", () => {
        living.delete(child)
        const place = idle.indexOf(child)
        if (place >= 0) idle.splice(place, 1)
      })
      return child
    } finally {
      closeSync(log)
    }
  }

  /** A process for the job. A kept one serves only jobs without devices, as its environment is fixed. */
  const processFor = (job: Job): { readonly child: ChildProcess; readonly shared: boolean } => {
    const shared = job.process === "shared" && job.slots.gpus.length === 0
    return { child: (shared ? idle.pop() : undefined) ?? start(job), shared }
  }

  return {
    name: "local",
    run: (job, onProgress) =>
      Effect.callback<Ended>(resume => {
        const { child, shared } = processFor(job)
        let finished = false
        const finish = (ended: Ended) => {
          if (finished) return
          finished = true
          child.removeAllListeners("message").removeAllListeners("error")
          child.removeListener("exit", died)
          if (shared && ended._tag !== "Died" && child.connected) {
            child.unref()
            child.channel?.unref()
            idle.push(child)
          } else if (child.connected) {
            child.disconnect()
          }
          resume(Effect.succeed(ended))
        }
        const died = (code: number | null, signal: NodeJS.Signals | null) =>
          finish({ _tag: "Died", reason: describeExit(code, signal) })
        child.ref()
        child.channel?.ref()
        child.on("exit", died)
        child.on("error", cause =>
          finish({ _tag: "Died", reason: `the process could not be started: ${cause.message}` })
        )
        child.on("message", message => receive(message as FromWorker, onProgress, finish))
        send(child, { type: "run", directory: job.directory, log: shared ? job.log : undefined })
        return Effect.suspend(() => stop(child, graceMs))
      }),
    killAll: () => {
      for (const child of living) child.kill("SIGKILL")
    },
    close: Effect.sync(() => {
      for (const child of idle.splice(0)) child.disconnect()
    })
  }
}

const receive = (message: FromWorker, onProgress: (progress: Progress) => void, finish: (ended: Ended) => void) => {
  if (message.type === "progress") onProgress(message.progress)
  else if (message.type === "ended") finish(message.ended)
}

const send = (child: ChildProcess, message: ToWorker) => child.send(message, () => undefined)

/** Asks the process to stop (a stage may write a checkpoint), then kills it. */
const stop = (child: ChildProcess, graceMs: number): Effect.Effect<void> =>
  Effect.callback<void>(resume => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    const timer = setTimeout(() => child.kill("SIGKILL"), graceMs)
    child.once("exit", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
    child.kill("SIGTERM")
  })

const describeExit = (code: number | null, signal: NodeJS.Signals | null): string => {
  if (signal === "SIGKILL") return "the process was killed (SIGKILL); the system does this when memory runs out"
  if (signal !== null) return `the process was ended by ${signal}`
  if (code === 137) return "the process was killed (exit code 137); the system does this when memory runs out"
  return `the process ended with exit code ${code} before its work was done`
}

/** The environment of an action: ours, with exactly the devices that it holds. */
const environment = (job: Job): NodeJS.ProcessEnv => ({
  ...process.env,
  CUDA_VISIBLE_DEVICES: job.slots.gpus.join(","),
  PIPELINE_CPUS: String(job.slots.cpus)
})
