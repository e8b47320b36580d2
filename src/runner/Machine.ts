/** The machine that the program runs on: who we are on it, and what it offers. */
import { randomUUID } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { availableParallelism, hostname, totalmem, uptime } from "node:os"
import type { Owner } from "../ledger/Leases.ts"

/** A name that changes with every start of the machine, so that a process id of before is not taken for one of now. */
const bootId = (): string => {
  const file = "/proc/sys/kernel/random/boot_id"
  if (existsSync(file)) return readFileSync(file, "utf8").trim()
  // Elsewhere the time of the start, to the minute, serves.
  return `boot-${Math.round((Date.now() / 1000 - uptime()) / 60)}`
}

/** This machine since its start. */
export const here = (): Pick<Owner, "host" | "boot"> => ({ host: hostname(), boot: bootId() })

/** A new owner of leases: one for each run of the program. */
export const newOwner = (): Owner => ({ id: randomUUID(), ...here(), pid: process.pid })

export { isAlive } from "../store/StoreContext.ts"

export interface Capacity {
  readonly cpus: number
  readonly memoryMiB: number
  /** Names of GPUs. */
  readonly gpus: ReadonlyArray<string>
}

/** What this machine offers, unless the command line says otherwise. */
export const capacity = (
  options: { readonly jobs?: number | undefined; readonly gpus?: ReadonlyArray<string> | undefined } = {}
): Capacity => ({
  cpus: options.jobs ?? availableParallelism(),
  memoryMiB: Math.floor(totalmem() / 2 ** 20),
  gpus: options.gpus ?? detectGpus()
})

/** The devices that a list names, each once: a device is held by one action. */
export const namesIn = (list: string): ReadonlyArray<string> => [
  ...new Set(
    list
      .split(/[,\n]/)
      .map(name => name.trim())
      .filter(name => name !== "")
  )
]

/** CUDA_VISIBLE_DEVICES when set, else what the NVIDIA driver lists, else none. */
const detectGpus = (): ReadonlyArray<string> => {
  const visible = process.env["CUDA_VISIBLE_DEVICES"]
  if (visible !== undefined) return namesIn(visible)
  if (!existsSync("/proc/driver/nvidia/version")) return []
  // Not every start asks for GPUs.
  const { execFileSync } = process.getBuiltinModule("node:child_process")
  try {
    const listed = execFileSync("nvidia-smi", ["--query-gpu=index", "--format=csv,noheader"], {
      encoding: "utf8",
      timeout: 10_000,
      stdio: ["ignore", "pipe", "ignore"]
    })
    return namesIn(listed)
  } catch {
    return []
  }
}
