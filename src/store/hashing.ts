/**
 * Hashing large files on threads of their own, so that nobody waits: a training loads its weights while they are checked.
 * WebCrypto, which hashes beside us too, takes whole buffers and copies them; this reads into one small buffer.
 */
import { availableParallelism } from "node:os"
import type { Worker } from "node:worker_threads"

export interface Hashed {
  /** 64 hexadecimal digits. */
  readonly sha256: string
  /** Bytes that were really there. */
  readonly size: number
}

type Done = (error: NodeJS.ErrnoException | null, hashed?: Hashed) => void

interface Task {
  readonly descriptor: number
  readonly done: Done
}

interface Answer {
  readonly hashed?: Hashed
  readonly code?: string
  readonly message?: string
}

/** As text, so that it needs no file of its own beside the built program. File descriptors belong to the process, not to a thread. */
const body = `
const { createHash } = require("node:crypto")
const { readSync } = require("node:fs")
const { parentPort } = require("node:worker_threads")
const buffer = Buffer.allocUnsafeSlow(1024 * 1024)
parentPort.on("message", descriptor => {
  try {
    const hasher = createHash("sha256")
    let size = 0
    for (;;) {
      const count = readSync(descriptor, buffer, 0, buffer.length, size)
      if (count === 0) break
      hasher.update(buffer.subarray(0, count))
      size += count
    }
    parentPort.postMessage({ hashed: { sha256: hasher.digest("hex"), size } })
  } catch (error) {
    parentPort.postMessage({ code: error.code, message: error.message })
  }
})`

/** A thread, and what it works on. */
interface Thread {
  readonly worker: Worker
  task: Task | undefined
}

const most = availableParallelism()
const idle: Array<Thread> = []
const waiting: Array<Task> = []
let threads = 0

/** Hashes an open file from its first byte to its end. The descriptor must stay open until then. */
export const hashBeside = (descriptor: number, done: Done): void => {
  const task = { descriptor, done }
  const thread = idle.pop() ?? (threads < most ? start() : undefined)
  if (thread === undefined) waiting.push(task)
  else assign(thread, task)
}

const assign = (thread: Thread, task: Task): void => {
  thread.task = task
  thread.worker.ref()
  thread.worker.postMessage(task.descriptor, [])
}

const start = (): Thread => {
  threads++
  // Not every start hashes beside its work.
  const worker = new (process.getBuiltinModule("node:worker_threads").Worker)(body, { eval: true, execArgv: [] })
  const thread: Thread = { worker, task: undefined }
  worker.on("message", ({ code, hashed, message }: Answer) => {
    const { task } = thread
    const next = waiting.shift()
    if (next !== undefined) assign(thread, next)
    else {
      thread.task = undefined
      // An idle thread keeps no process alive.
      worker.unref()
      idle.push(thread)
    }
    task?.done(hashed === undefined ? Object.assign(new Error(message), { code }) : null, hashed)
  })
  // It could not be started, or ran out of memory: whoever asked is told, and the next one gets a new thread.
  let lost = false
  const end = (error: unknown) => {
    if (lost) return
    lost = true
    threads--
    const place = idle.indexOf(thread)
    if (place >= 0) idle.splice(place, 1)
    thread.task?.done(error instanceof Error ? error : new Error("the thread that hashes ended"))
    const next = waiting.shift()
    if (next !== undefined) hashBeside(next.descriptor, next.done)
  }
  worker.on("error", end)
  worker.on("exit", end)
  return thread
}
