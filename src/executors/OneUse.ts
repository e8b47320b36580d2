/** Processes that serve exactly one action each; while actions are short, some are started ahead of need. */
import { type ChildProcess, spawn } from "node:child_process"
import { appendFileSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs"
import type { Socket } from "node:net"
import { join } from "node:path"
import { descriptor } from "./channel.ts"
import { enclose } from "./controlGroups.ts"
import { listProcesses } from "./descendants.ts"
import type { Job } from "./Executor.ts"
import { newMark, statOf, variable } from "./mark.ts"

/** A process that has not been given its action yet, or works on it. */
export interface OneUse {
  readonly child: ChildProcess
  /** Our end of the line to it; undefined where it could not be started. */
  readonly socket: Socket | undefined
  readonly pid: number | undefined
  readonly mark: string
  /** When it was started, and the processes that were there before it. */
  readonly since: number
  readonly known: ReadonlySet<number>
  /** Whether it was started before its action was known. */
  readonly ahead: boolean
}

interface Spare extends OneUse {
  /** What it prints; becomes the log of its action. */
  readonly file: string
  readonly setting: string
}

export interface OneUseOptions {
  /** The module that a process starts with. */
  readonly worker: string
  /** Where processes print that have no action yet. */
  readonly folder: string
  /** Where Node keeps compiled modules between processes. */
  readonly compiled: string
  /** How many may wait; each holds some 50 MiB. */
  readonly most: number
  readonly onStart: (process: OneUse) => void
  readonly onExit: (process: OneUse) => void
}

/** Room for what a start allocates, in MiB: no collection of garbage before the action begins. */
const youngHeap = ["--min-semi-space-size=16"]

/** An action's environment: ours, with exactly the devices that it holds. */
const environmentOf = ({ slots }: Job): Record<string, string> => ({
  CUDA_VISIBLE_DEVICES: slots.gpus.join(","),
  PIPELINE_CPUS: String(slots.cpus)
})

export class OneUses {
  readonly #options: OneUseOptions
  readonly #spares: Array<Spare> = []
  #started = 0
  #closed = false

  constructor(options: OneUseOptions) {
    this.#options = options
  }

  /** A process for the job: one that waits, if the job's environment is the one that it was started with. */
  take(job: Job): OneUse {
    const setting = JSON.stringify(environmentOf(job))
    const place = this.#spares.findIndex(spare => spare.setting === setting)
    if (place >= 0 && job.log !== undefined) {
      const [spare] = this.#spares.splice(place, 1)
      if (becomes(spare!.file, job.log)) return spare!
      discard(spare!)
    }
    return this.#start(job, job.log, false)
  }

  /** A process for the job that nobody started before. */
  takeNew(job: Job): OneUse {
    return this.#start(job, job.log, false)
  }

  /** Starts what further jobs like this one will need. Devices are named to a process when it starts: those are not guessed. */
  prepare(job: Job): void {
    const setting = JSON.stringify(environmentOf(job))
    for (const other of this.#spares.filter(spare => spare.setting !== setting)) this.#end(other)
    if (job.slots.gpus.length > 0) return
    if (this.#started === 0) removeStale(this.#options.folder)
    while (!this.#closed && this.#spares.length < this.#options.most) {
      const file = join(this.#options.folder, `ahead.${process.pid}.${++this.#started}`)
      try {
        mkdirSync(this.#options.folder, { recursive: true })
        const spare: Spare = { ...this.#start(job, file, true), file, setting }
        if (spare.pid === undefined) throw new Error("it could not be started")
        this.#spares.push(spare)
        spare.child.once("exit", () => {
          if (this.#spares.includes(spare)) this.#end(spare)
        })
        spare.child.unref()
        spare.socket?.unref()
      } catch {
        // Nothing is lost: the next action starts its process itself, and says why that cannot be done.
        remove(file)
        return
      }
    }
  }

  /** Ends those that wait. */
  async close(): Promise<void> {
    this.#closed = true
    const ends = this.#spares.map(({ child }) => {
      child.ref()
      return new Promise(resolve => child.once("exit", resolve))
    })
    for (const spare of this.#spares.splice(0)) discard(spare)
    await Promise.all(ends)
  }

  #end(spare: Spare): void {
    const place = this.#spares.indexOf(spare)
    if (place >= 0) this.#spares.splice(place, 1)
    discard(spare)
  }

  #start(job: Job, log: string | undefined, ahead: boolean): OneUse {
    const { mark, value } = newMark()
    const since = Date.now()
    const known = new Set(listProcesses())
    const output = log === undefined ? undefined : openSync(log, "a")
    try {
      const flags = process.execArgv.filter(flag => !flag.startsWith("--inspect"))
      const child = spawn(process.execPath, [...flags, ...youngHeap, this.#options.worker], {
        // The last one is the line: src/executors/channel.ts.
        stdio: ["ignore", output ?? "ignore", output ?? "ignore", "pipe"],
        // A group and a session of its own: what it starts can be ended with it, and Ctrl-C is the runner's to pass on.
        detached: true,
        env: {
          NODE_COMPILE_CACHE: this.#options.compiled,
          ...process.env,
          ...environmentOf(job),
          [variable]: value
        }
      })
      // That it could not be started is said by an event, which would end us if nobody listened; whoever took the process listens, too.
      child.on("error", () => undefined)
      const socket = (child.stdio[descriptor] ?? undefined) as Socket | undefined
      socket?.on("error", () => undefined)
      const started: OneUse = { child, socket, pid: child.pid, mark, since, known, ahead }
      try {
        if (child.pid !== undefined) enclose(child.pid, mark)
        this.#options.onStart(started)
      } catch (cause) {
        // Nobody gets it, so nobody would end it.
        child.kill("SIGKILL")
        throw cause
      }
      child.once("exit", () => this.#options.onExit(started))
      return started
    } finally {
      if (output !== undefined) closeSync(output)
    }
  }
}

const discard = (spare: Spare): void => {
  spare.child.kill("SIGKILL")
  remove(spare.file)
}

/** What processes printed whose runner was killed before they had an action. */
const removeStale = (folder: string): void => {
  if (process.platform !== "linux") return
  try {
    for (const name of readdirSync(folder)) {
      const pid = /^ahead\.(\d+)\.\d+$/.exec(name)?.[1]
      if (pid !== undefined && statOf(Number(pid)) === undefined) remove(join(folder, name))
    }
  } catch {
    // There is no such folder yet.
  }
}

const remove = (file: string): void => {
  try {
    rmSync(file, { force: true })
  } catch {
    // Nothing depends on it.
  }
}

/** Puts a file into the place of a log, after what that one says already. */
const becomes = (file: string, log: string): boolean => {
  try {
    appendFileSync(file, readFileSync(log))
    renameSync(file, log)
    return true
  } catch {
    return false
  }
}
