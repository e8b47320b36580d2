/**
 * Whether hang-ups were to be ignored when the program was started, as `nohup` asks. Node sets every signal back to its
 * default before our first line runs, so this is told by the traces that `nohup` leaves, and by what the shell ignores.
 */
import { readFileSync, readlinkSync } from "node:fs"
import { basename } from "node:path"

let known: boolean | undefined

export const hangupIgnored = (): boolean => (known ??= process.platform === "linux" && (byNohup() || byShell()))

const orNothing = (read: () => string): string => {
  try {
    return read()
  } catch {
    return ""
  }
}

/** Shells put the command's path into `_`. Away from a terminal, nohup opens /dev/null only for writing as stdin, and nohup.out as output. */
const byNohup = (): boolean => {
  if (basename(process.env["_"] ?? "") === "nohup") return true
  const target = (descriptor: number) => orNothing(() => readlinkSync(`/proc/self/fd/${descriptor}`))
  if ([1, 2].some(descriptor => basename(target(descriptor)) === "nohup.out")) return true
  const flags = /^flags:\s*(\d+)$/m.exec(orNothing(() => readFileSync("/proc/self/fdinfo/0", "utf8")))?.[1]
  return target(0) === "/dev/null" && flags !== undefined && (Number.parseInt(flags, 8) & 3) === 1
}

/** What ignores a signal starts its children so. Between us and the shell may be npm and our launcher, which are Node and forget. */
const byShell = (): boolean => {
  let pid = process.ppid
  for (let depth = 0; depth < 8 && pid > 1; depth++) {
    const status = orNothing(() => readFileSync(`/proc/${pid}/status`, "utf8"))
    const ignored = /^SigIgn:\s*([0-9a-f]+)$/m.exec(status)?.[1]
    if (ignored === undefined) return false
    if (!basename(orNothing(() => readlinkSync(`/proc/${pid}/exe`))).startsWith("node"))
      return (Number.parseInt(ignored.slice(-1), 16) & 1) === 1
    pid = Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1] ?? 0)
  }
  return false
}
