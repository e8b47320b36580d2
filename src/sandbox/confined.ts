/**
 * One program in a process of its own under bubblewrap: in fresh namespaces of users, processes, network, mounts and IPC, with nothing of the file system but a read-only Python and an empty `/tmp`. The
 * parent measures the time. When it is over, the first process of the namespace is killed, and the kernel ends all others with it, whatever they did to get away.
 */
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import type { Readable, Writable } from "node:stream"
import { fileURLToPath } from "node:url"
import type { Interpreter } from "./interpreter.ts"

/** What a program may use. */
export interface Limits {
  /** From its first line on. */
  readonly seconds: number
  /** Address space. */
  readonly memoryMiB: number
}

export interface Confinement extends Limits {
  /** Path of bubblewrap. */
  readonly bubblewrap: string
  readonly interpreter: Interpreter
  /** Filter of system calls; without it, namespaces and limits alone hold. */
  readonly filter: Uint8Array | undefined
  /** Kills the program, and rejects. */
  readonly signal?: AbortSignal
}

export type Verdict = "passed" | "timed out" | `failed: ${string}`

/** The sandbox itself did not work: what bubblewrap said. */
export class NotStarted extends Error {}

/** Beside this file; a build has a copy. Read once. */
const harness = (() => {
  let text: string | undefined
  return () => (text ??= readFileSync(fileURLToPath(new URL("./harness.py", import.meta.url)), "utf8"))
})()

/** Bytes of `/tmp`, and of a file. */
const [temporary, file] = [64 * 2 ** 20, 16 * 2 ** 20]
/** Open files; and processes, where the filter does not refuse them already. */
const [files, processes] = [64, 64]
/** `nobody`. */
const user = "65534"
/** Starting may take this long, and ending after a kill. Longer, something is wrong with the machine. */
const [startSeconds, endSeconds] = [60, 30]
/** Of what comes back: a verdict has less. */
const mostBytes = 4096

const limitsOf = ({ memoryMiB, seconds }: Limits): ReadonlyArray<readonly [string, number]> => [
  ["RLIMIT_AS", memoryMiB * 2 ** 20],
  ["RLIMIT_CPU", Math.ceil(seconds) + 1],
  ["RLIMIT_FSIZE", file],
  ["RLIMIT_NOFILE", files],
  ["RLIMIT_NPROC", processes],
  ["RLIMIT_CORE", 0]
]

/** The descriptors that bubblewrap is started with; the harness knows those of the program and of the verdict. */
const [programFd, verdictFd, infoFd, filterFd] = [3, 4, 5, 6]

const argumentsOf = (confinement: Confinement): ReadonlyArray<string> => {
  const { filter, interpreter } = confinement
  const system = ["--unshare-all", "--unshare-user", "--uid", user, "--gid", user, "--hostname", "sandbox"]
  const session = ["--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv"]
  const environment = {
    HOME: "/tmp",
    PATH: "",
    LANG: "C.UTF-8",
    // One thread for each library: more would only take address space.
    OMP_NUM_THREADS: "1",
    OPENBLAS_NUM_THREADS: "1",
    MKL_NUM_THREADS: "1"
  }
  const temporaryFolder = ["--size", String(temporary), "--tmpfs", "/tmp", "--chdir", "/tmp"]
  // What bubblewrap made for mount points is memory, too.
  const closed = ["--remount-ro", "/"]
  const descriptors = ["--info-fd", String(infoFd), ...(filter === undefined ? [] : ["--seccomp", String(filterFd)])]
  const command = [interpreter.path, "-I", "-B", "-c", harness(), JSON.stringify(limitsOf(confinement))]
  return [
    ...system,
    ...session,
    ...Object.entries(environment).flatMap(([name, value]) => ["--setenv", name, value]),
    ...["null", "zero", "urandom", "random"].flatMap(name => ["--dev-bind", `/dev/${name}`, `/dev/${name}`]),
    // First, as an interpreter may lie below it.
    ...temporaryFolder,
    ...interpreter.binds.flatMap(path => ["--ro-bind", path, path]),
    ...closed,
    ...descriptors,
    "--",
    ...command
  ]
}

/** Runs a program. Rejects with NotStarted where there is no sandbox, and with the signal's reason. */
export const runConfined = async (program: string, confinement: Confinement): Promise<Verdict> => {
  const { bubblewrap, filter, seconds, signal } = confinement
  signal?.throwIfAborted()
  const token = randomBytes(32).toString("hex")
  // Nothing of our environment: the sandbox's first process would keep it in its memory.
  const child = spawn(bubblewrap, argumentsOf(confinement), {
    env: {},
    stdio: ["ignore", "ignore", "pipe", "pipe", "pipe", "pipe", ...(filter === undefined ? [] : (["pipe"] as const))]
  })
  const stream = (fd: number) => child.stdio[fd] as Readable & Writable
  for (const fd of [programFd, verdictFd, infoFd, ...(filter === undefined ? [] : [filterFd])])
    stream(fd).on("error", () => {})
  const said = { error: "", info: "", verdict: "" }
  let overflown = false
  let first: number | undefined
  /** Ends the namespace by its first process, or bubblewrap while there is none. */
  const end = (): void => {
    try {
      if (first === undefined) child.kill("SIGKILL")
      else process.kill(first, "SIGKILL")
    } catch {
      child.kill("SIGKILL")
    }
  }
  return new Promise<Verdict>((succeed, fail) => {
    let state: "starting" | "running" | "late" = "starting"
    let timer = setTimeout(() => {
      state = "late"
      end()
    }, startSeconds * 1000)
    let stuck: NodeJS.Timeout | undefined
    const expire = (): void => {
      state = "late"
      end()
      stuck = setTimeout(
        () => fail(new NotStarted(`a sandbox did not end within ${endSeconds} s after it was killed`)),
        endSeconds * 1000
      )
    }
    const abort = (): void => end()
    signal?.addEventListener("abort", abort, { once: true })
    const finish = (): void => {
      clearTimeout(timer)
      clearTimeout(stuck)
      signal?.removeEventListener("abort", abort)
    }

    const read = (fd: number, field: keyof typeof said, onText: () => void = () => {}): void => {
      stream(fd)
        .setEncoding("latin1")
        .on("data", (text: string) => {
          const room = mostBytes - said[field].length
          said[field] += text.slice(0, room)
          onText()
          if (text.length <= room || field !== "verdict") return
          overflown = true
          end()
        })
    }
    read(2, "error")
    read(infoFd, "info", () => {
      const pid = /"child-pid": *([1-9]\d*)\s*[,}]/.exec(said.info)?.[1]
      if (pid !== undefined) first = Number(pid)
    })
    read(verdictFd, "verdict", () => {
      if (state !== "starting" || !said.verdict.startsWith("ready\n")) return
      state = "running"
      clearTimeout(timer)
      timer = setTimeout(expire, seconds * 1000)
    })
    child.on("error", error => {
      finish()
      fail(new NotStarted(error.message))
    })
    child.on("close", (code, killedBy) => {
      finish()
      if (signal?.aborted === true) return fail(signal.reason as Error)
      if (state === "starting" || !said.verdict.startsWith("ready\n"))
        return fail(new NotStarted(said.error.trim() || `it ended with ${killedBy ?? `exit code ${code}`}`))
      succeed(verdictOf({ said: said.verdict.slice("ready\n".length), token, code, late: state === "late", overflown }))
    })
    stream(programFd).end(token + program)
    if (filter !== undefined) stream(filterFd).end(filter)
  })
}

interface Ended {
  /** What came behind `ready`. */
  readonly said: string
  readonly token: string
  /** 128 and the signal, where one ended the program; null where bubblewrap was killed. */
  readonly code: number | null
  readonly late: boolean
  readonly overflown: boolean
}

/** SIGXCPU: all of its time was spent computing. */
const cpuSignal = 24

const verdictOf = ({ code, late, overflown, said, token }: Ended): Verdict => {
  const text = Buffer.from(said, "latin1").toString("utf8")
  const [line = "", ...rest] = text.split("\n")
  if (line.startsWith(`${token} `) && rest.length === 1 && rest[0] === "") {
    const verdict = line.slice(token.length + 1)
    if (verdict === "passed" || verdict.startsWith("failed: ")) return verdict as Verdict
  }
  // Who does not know the token has no verdict to give.
  if (text !== "" || overflown) return "failed: it wrote where only the verdict belongs"
  if (late || code === 128 + cpuSignal) return "timed out"
  if (code === null || code > 128)
    return `failed: ended by ${code === null ? "a kill" : `signal ${code - 128}`} before its tests were through`
  return `failed: left with exit code ${code} before its tests were through`
}
