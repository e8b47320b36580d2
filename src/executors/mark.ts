/** The mark of an action: a variable in the environment of its process, which everything that descends from it inherits. */
import { readFileSync, readlinkSync } from "node:fs"

export const variable = "PIPELINE_ACTION"

/** Between the marks of an action and of those of a run that it started itself: they end with it. */
const within = "/"

/** When a process was started, in ticks since the machine was: with its id, a name that no later process gets. */
export const startOf = (pid: number): string | undefined => statOf(pid)?.start

/** The kernel's record of a process; undefined when there is none. */
export interface Stat {
  readonly pid: number
  readonly state: string
  readonly parent: number
  readonly group: number
  readonly session: number
  readonly start: string
}

export const statOf = (pid: number): Stat | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1")
    // The name in parentheses may hold blanks and parentheses.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
    return {
      pid,
      state: fields[0]!,
      parent: Number(fields[1]),
      group: Number(fields[2]),
      session: Number(fields[3]),
      start: fields[19]!
    }
  } catch {
    return undefined
  }
}

/** Containers number their processes anew: what another one calls 17 is none of our business. */
const namespace = (() => {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "0"
  } catch {
    return "0"
  }
})()

/** What all marks of this program begin with. */
export const ours = `${namespace}.${process.pid}.${startOf(process.pid) ?? "0"}.`

let count = 0

/** A mark for one process, and the value of the variable that carries it. */
export const newMark = (): { readonly mark: string; readonly value: string } => {
  const mark = `${ours}${++count}`
  const outer = process.env[variable]
  return { mark, value: outer === undefined ? mark : `${outer}${within}${mark}` }
}

/** The marks in a process's environment as it was when it started; none where we may not look. */
export const marksOf = (pid: number): ReadonlyArray<string> => {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`)
    const name = `${variable}=`
    let at = environment.indexOf(name)
    while (at > 0 && environment[at - 1] !== 0) at = environment.indexOf(name, at + 1)
    if (at < 0) return []
    const end = environment.indexOf(0, at)
    return environment.toString("latin1", at + name.length, end < 0 ? undefined : end).split(within)
  } catch {
    return []
  }
}

/** Whether the program that gave this mark is gone. Of marks from other containers nothing is known. */
export const isOrphaned = (mark: string): boolean => {
  const [space, pid, start] = mark.split(".")
  return space === namespace && start !== undefined && startOf(Number(pid)) !== start
}
