/** Looking at real processes from outside, by what the kernel says of them. */
import { readFileSync, readlinkSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { available } from "../../src/executors/controlGroups.ts"

const loop = "echo $$ >> pids; while :; do echo $$ >> written; sleep 0.05; done"
/** Ways of a child to outlive its parent, as scripts: it writes its id into `pids`, and goes on writing into `written`. */
export const ways = [
  `sh -c '${loop}' &`,
  `setsid sh -c '${loop}' &`,
  `(setsid setsid sh -c '${loop}' &) &`,
  `nohup sh -c '${loop}' >/dev/null 2>&1 &`,
  // Without the mark, and no descendant of anything that lives: only a control group knows it.
  ...(available ? [`(env -i setsid -f /bin/sh -c '${loop}') &`] : [])
]

/** Polls until something is there; the tests' time limit ends it. */
export const until = async <A>(look: () => A | undefined): Promise<A> => {
  for (;;) {
    const found = look()
    if (found !== undefined) return found
    await sleep(20)
  }
}

/** The id that a process wrote first into a file, once it stands there: a file that was made may be empty yet. */
export const notedPid = (path: string) => (): number | undefined => {
  try {
    const pid = /^\s*([1-9]\d*)\s/.exec(readFileSync(path, "utf8") + "\n")?.[1]
    return pid === undefined ? undefined : Number(pid)
  } catch {
    return undefined
  }
}

/** Processes whose parent is `pid`. */
export const childrenOf = (pid: number): ReadonlyArray<number> => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .trim()
      .split(" ")
      .filter(text => text !== "")
      .map(Number)
  } catch {
    return []
  }
}

/** A process that has ended but was not waited for counts as gone. */
export const lives = (pid: number): boolean => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}

/** Finds the process of an action that has one of its own: what it prints goes to its own log. */
export const printsTo = (label: string) => (pid: number) => {
  try {
    return readlinkSync(`/proc/${pid}/fd/1`).includes(`/${label}.`)
  } catch {
    return false
  }
}

const channelModule = new URL("../../src/executors/channel.ts", import.meta.url).href

/** The text of a worker's module that calls `onJob` with its job, and answers by `say`. */
export const workerText = (onJob: string): string => `
  import { Socket } from "node:net"
  import { descriptor, open } from ${JSON.stringify(channelModule)}
  let word
  const line = open(new Socket({ fd: descriptor }), {
    message: job => { word = job.word; onJob(job) },
    lost: () => process.exit(0)
  })
  const say = message => line.send({ ...message, word })
  const onJob = ${onJob}
`
