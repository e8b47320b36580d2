/** Threads of a stage load what its key covers, as the action's process does: each begins with the same hook, whatever it is started with. */
import { syncBuiltinESMExports } from "node:module"
import { fileURLToPath } from "node:url"
import type { WorkerOptions } from "node:worker_threads"
import { flagsForThreads } from "./code/Resolve.ts"
import type { Covered, Refusal } from "./Cover.ts"

/** What the threads of a process share: what is covered, and where the first refusal is told. */
export interface Watched {
  readonly covered: Covered
  readonly refuse: (refusal: Refusal) => void
  readonly refused: () => Refusal | undefined
}

/** The module itself, whose class is replaced. */
const threads = () => process.getBuiltinModule("node:worker_threads")

const name = "dllm-pipeline covered"
/** Bytes of a refusal, which has a few paths in it. */
const room = 1 << 18
const firstByte = 4

/** All threads that are started from now on are watched. */
export const watched = (covered: Covered): Watched => {
  const told = new SharedArrayBuffer(room)
  threads().setEnvironmentData(name, { covered, told })
  watchThreads()
  return shared(covered, told)
}

/** What the thread that started this one has said of it. */
export const inherited = (): Watched | undefined => {
  const given = threads().getEnvironmentData(name) as
    | { readonly covered: Covered; readonly told: SharedArrayBuffer }
    | undefined
  if (given === undefined) return undefined
  watchThreads()
  return shared(given.covered, given.told)
}

/** Shared memory: no message is late, and none is lost with the thread that sent it. */
const shared = (covered: Covered, told: SharedArrayBuffer): Watched => {
  const size = new Int32Array(told, 0, 1)
  return {
    covered,
    refuse: refusal => {
      const text = Buffer.from(JSON.stringify(refusal))
      // The first refusal is the one that is told; while it is written, nothing that it is about has run.
      if (Atomics.compareExchange(size, 0, 0, -1) !== 0) return
      Buffer.from(told, firstByte).set(text)
      Atomics.store(size, 0, text.length)
    },
    refused: () => {
      const length = Atomics.load(size, 0)
      return length <= 0 ? undefined : (JSON.parse(Buffer.from(told, firstByte, length).toString()) as Refusal)
    }
  }
}

const hook = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./threadHook.ts" : "./threadHook.js", import.meta.url)
)

/** Required, as threads whose code is a text import nothing first. */
const hooked = ["--require", hook]

let isWatching = false

/** Threads get the hook, whatever they are started with. One with arguments takes none over from here: those about heaps it would refuse. */
const watchThreads = (): void => {
  if (isWatching) return
  isWatching = true
  const module = threads()
  module.Worker = class Worker extends module.Worker {
    constructor(file: string | URL, options?: WorkerOptions) {
      super(file, { ...options, execArgv: [...(options?.execArgv ?? flagsForThreads()), ...hooked] })
    }
  }
  syncBuiltinESMExports()
}
