/** Runs actions as processes of this machine: each in one of its own, with which everything ends that it started. */
import { type ChildProcess, spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { Effect } from "effect"
import type { Progress } from "../pipeline/StageContext.ts"
import { type Channel, open } from "./channel.ts"
import { killAll, killOnce, type Wanted } from "./descendants.ts"
import type { Ended, Executor, Job, ToWorker } from "./Executor.ts"
import { isOrphaned, ours } from "./mark.ts"
import { messageFrom } from "./messages.ts"
import { type OneUse, OneUses } from "./OneUse.ts"

export interface LocalOptions {
  /** The worker's entry module. */
  readonly worker: string
  /** The entry module of the guard, which cleans up should this program be killed. */
  readonly guard: string
  /** Where processes print that have no action yet. */
  readonly logs: string
  /** Where Node keeps compiled modules between processes. */
  readonly compiled: string
  /** How many processes may be started ahead of need. */
  readonly ahead: number
  /** Milliseconds between asking a process to stop and killing it. */
  readonly graceMs?: number
}

/** An executor and the means to end the processes that it keeps. */
export interface LocalExecutor extends Executor {
  /** Kills every process at once, without grace: for the second Ctrl-C. */
  readonly killAll: () => void
  /** Ends the processes that wait for an action, and the guard. */
  readonly close: Effect.Effect<void>
}

/** The file in an attempt's directory that holds the mark of its process. */
const markFile = "mark"
/** After actions that took longer, the start of a process does not matter, in milliseconds. */
const shortMs = 2_000
/** A process that has said how its action ended gets so long to exit by itself, in milliseconds. */
const exitMs = 2_000
/** The line to a process that ends breaks a moment before; who lives longer without it has cut it. In milliseconds. */
const cutMs = 500

export const make = (options: LocalOptions): LocalExecutor => {
  const living = new Map<number, OneUse>()
  const graceMs = options.graceMs ?? 10_000
  let guard: ChildProcess | undefined
  let swept: Promise<unknown> | undefined

  const tellGuard = (sign: "+" | "-", pid: number): void => void guard?.stdin?.write(`${sign}${pid}\n`)
  const processes = new OneUses({
    worker: options.worker,
    folder: options.logs,
    compiled: options.compiled,
    most: options.ahead,
    onStart: started => {
      if (started.pid === undefined) return
      living.set(started.pid, started)
      if (guard?.pid === undefined) guard = startGuard(options.guard)
      tellGuard("+", started.pid)
    },
    onExit: ({ pid }) => {
      if (pid === undefined) return
      living.delete(pid)
      tellGuard("-", pid)
    }
  })

  /** What earlier runners left when they were killed, and what another attempt at the same action left. */
  const sweep = async (job: Job): Promise<void> => {
    await (swept ??= killAll({ marked: isOrphaned, leaders: new Set() }))
    for (const mark of earlierMarks(job.directory)) await killAll({ marked: each => each === mark, leaders: new Set() })
  }

  const runIn = (take: () => OneUse, job: Job, onProgress: (progress: Progress) => void): Effect.Effect<Attempted> =>
    Effect.callback<Attempted>(resume => {
      let use: OneUse
      try {
        use = take()
      } catch (cause) {
        return resume(Effect.succeed(unstartable(cause instanceof Error ? cause.message : String(cause))))
      }
      const { child } = use
      let begun = false
      let ended: Ended | undefined
      let channel: Channel | undefined
      const finish = (attempted: Attempted) => {
        child.removeAllListeners("error").removeListener("exit", died)
        child.on("error", () => undefined)
        channel?.close()
        resume(Effect.succeed(attempted))
      }
      const died = (code: number | null, signal: NodeJS.Signals | null) => {
        if (!begun && use.ahead) return finish("unborn")
        void killAll(left(use, false)).then(() => finish(ended ?? { _tag: "Died", reason: describeExit(code, signal) }))
      }
      const conclude = async (told: Ended) => {
        ended = told
        // While it lives, its descendants can be told by their parents, too.
        const gone = await killAll(left(use, true))
        if (!gone) ended = { _tag: "Died", reason: "processes that it started could not be killed" }
        channel?.close()
        setTimeout(() => child.kill("SIGKILL"), exitMs).unref()
      }
      const cut = async () => {
        if (ended !== undefined) return
        ended = {
          _tag: "Died",
          reason: "the process closed its line to the runner (descriptor 3) before its work was done"
        }
        await killAll(left(use, true))
        child.kill("SIGKILL")
      }
      child.ref()
      use.socket?.ref()
      child.on("exit", died)
      child.on("error", cause => {
        if (use.pid === undefined) finish(unstartable(cause.message))
      })
      writeMark(job.directory, use.mark)
      // Where it could not be started there is no line, and an event that says why.
      if (use.pid !== undefined && use.socket !== undefined) {
        const word = randomUUID()
        channel = open(use.socket, {
          message: text => {
            const message = messageFrom(text, word)
            if (message === undefined || ended !== undefined) return
            if (message.type === "begun") begun = true
            else if (message.type === "progress") onProgress(message.progress)
            else void conclude(message.ended)
          },
          lost: () => void setTimeout(() => void cut(), cutMs).unref()
        })
        channel.send({ type: "run", directory: job.directory, word } satisfies ToWorker)
      }
      return Effect.promise(() => stop(use, graceMs))
    })

  return {
    name: "local",
    run: (job, onProgress) =>
      Effect.gen(function* () {
        const started = Date.now()
        yield* Effect.promise(() => sweep(job))
        let attempted = yield* runIn(() => processes.take(job), job, onProgress)
        // One that waited may have been killed meanwhile; its action has not begun.
        if (attempted === "unborn") attempted = yield* runIn(() => processes.takeNew(job), job, onProgress)
        if (attempted === "unborn") return unstartable("it ended at once")
        if (Date.now() - started < shortMs) processes.prepare(job)
        return attempted
      }),
    killAll: () => {
      const wanted: Wanted = { marked: mark => mark.startsWith(ours), leaders: new Set(living.keys()) }
      for (let i = 0; i < 100 && killOnce(wanted) > 0; i++);
    },
    close: Effect.promise(async () => {
      await processes.close()
      if (guard === undefined) return
      const gone = new Promise(resolve => guard!.once("exit", resolve))
      guard.ref()
      if (guard.exitCode === null && guard.signalCode === null && guard.kill("SIGKILL")) await gone
      guard = undefined
    })
  }
}

/** How a process ended; `unborn` when it did so before it was given its action. */
type Attempted = Ended | "unborn"

const unstartable = (why: string): Ended => ({ _tag: "Died", reason: `the process could not be started: ${why}` })

/** What an action may have left. Ids are given anew in time: only for short actions, those of before need no look. */
const left = ({ known, mark, pid, since }: OneUse, spareLeaders: boolean): Wanted => ({
  marked: each => each === mark,
  leaders: new Set(pid === undefined ? [] : [pid]),
  spareLeaders,
  ...(Date.now() - since < shortMs ? { known } : {})
})

const startGuard = (module: string): ChildProcess => {
  const guard = spawn(process.execPath, [module, ours], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
    env: {}
  })
  guard.unref()
  guard.on("error", () => undefined)
  guard.stdin?.on("error", () => undefined)
  // It must not keep the runner from ending.
  ;(guard.stdin as unknown as { unref?: () => void } | undefined)?.unref?.()
  return guard
}

/** Where the directory cannot be written to, the action itself will say so. */
const writeMark = (directory: string, mark: string): void => {
  try {
    writeFileSync(join(directory, markFile), mark)
  } catch {
    return
  }
}

/** Marks of other attempts at the action: their directories are named after its key. */
const earlierMarks = (directory: string): ReadonlyArray<string> => {
  const own = basename(directory)
  const key = `${own.split(".")[0]!}.`
  const read = (name: string) => {
    try {
      return [readFileSync(join(dirname(directory), name, markFile), "utf8")]
    } catch {
      return []
    }
  }
  try {
    return readdirSync(dirname(directory))
      .filter(name => name.startsWith(key) && name !== own)
      .flatMap(read)
  } catch {
    return []
  }
}

/** Asks the process to stop (a stage may write a checkpoint), then kills it, and all that it started. */
const stop = async (use: OneUse, graceMs: number): Promise<void> => {
  const { child } = use
  const isGone = () => child.exitCode !== null || child.signalCode !== null || use.pid === undefined
  if (!isGone()) {
    const gone = new Promise<boolean>(resolve => child.once("exit", () => resolve(true)))
    const late = new Promise<boolean>(resolve => setTimeout(() => resolve(false), graceMs).unref())
    child.kill("SIGTERM")
    if (!(await Promise.race([gone, late]))) await killAll(left(use, true))
    child.kill("SIGKILL")
    await gone
  }
  await killAll(left(use, false))
}

const describeExit = (code: number | null, signal: NodeJS.Signals | null): string => {
  if (signal === "SIGKILL") return "the process was killed (SIGKILL); the system does this when memory runs out"
  if (signal !== null) return `the process was ended by ${signal}`
  if (code === 137) return "the process was killed (exit code 137); the system does this when memory runs out"
  return `the process ended with exit code ${code} before its work was done`
}
