/**
 * Whether hang-ups were to be ignored when the program was started, as `nohup` asks. Node sets every signal back to its
 * default before our first line runs, so bin/pipeline.mjs begins as a shell's script, which looks before. Where Node was
 * started first (`npx pipeline`, `node bin/pipeline.mjs`), this is told by the traces that `nohup` leaves, and by what the shell ignores.
 */
import { readFileSync, readlinkSync } from "node:fs"
import { basename } from "node:path"

let known: boolean | undefined

export const hangupIgnored = (): boolean =>
  (known ??= byLink() || (process.platform === "linux" && (byNohup() || byShell())))

/** The variable names the process that it is for: ourselves, or the launcher in an older Node, which started us. */
const byLink = (): boolean => {
  const named = process.env["PIPELINE_HANGUP"]
  delete process.env["PIPELINE_HANGUP"]
  return named === String(process.pid) || named === String(process.ppid)
}

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

/**
 * What ignores a signal starts its children so, up to Node, which forgets: npm, the shells that it starts, our launcher. Asked are those above us in
 * our session, up to the first that neither is Node nor was started by it.
 */
const byShell = (): boolean => {
  if (processOf(process.pid)?.leads === true) return false
  let shell = processOf(process.ppid)
  while (shell !== undefined && !shell.ignores && !shell.leads) {
    const above = processOf(shell.parent)
    if (!shell.isNode && above?.isNode !== true) return false
    shell = above
  }
  return shell?.ignores === true
}

const processOf = (pid: number) => {
  const status = orNothing(() => readFileSync(`/proc/${pid}/status`, "utf8"))
  const field = (name: string) => new RegExp(`^${name}:\\s*(\\w+)$`, "m").exec(status)?.[1]
  const ignored = field("SigIgn")
  if (ignored === undefined) return undefined
  return {
    parent: Number(field("PPid")),
    ignores: (Number.parseInt(ignored.slice(-1), 16) & 1) === 1,
    /** A session's first process has its terminal from whoever it is. */
    leads: field("NSsid") === String(pid),
    isNode: basename(orNothing(() => readlinkSync(`/proc/${pid}/exe`))).startsWith("node")
  }
}
