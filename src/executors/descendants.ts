/** Finds and ends what descends from actions, whatever it did to get away: new groups and sessions, parents that are gone. */
import { readdirSync } from "node:fs"
import { enclosed, release } from "./controlGroups.ts"
import { marksOf, type Stat, statOf } from "./mark.ts"

/** What is to be ended. */
export interface Wanted {
  readonly marked: (mark: string) => boolean
  /** Processes that lead groups and sessions of their own; what belongs to those is meant, too. */
  readonly leaders: ReadonlySet<number>
  /** Spares the leaders themselves. */
  readonly spareLeaders?: boolean
  /** Processes that existed before and cannot be meant; not looked at. */
  readonly known?: ReadonlySet<number>
}

/** Ids of all processes; none where the kernel does not tell. */
export const listProcesses = (): ReadonlyArray<number> => {
  if (process.platform !== "linux") return []
  try {
    return readdirSync("/proc").flatMap(name => {
      const code = name.charCodeAt(0)
      return code > 47 && code < 58 ? [Number(name)] : []
    })
  } catch {
    return []
  }
}

/**
 * Those that carry the mark, are in a control group of that name, belong to the group or session of a leader, or descend
 * from one of these; living ones only.
 */
export const find = (wanted: Wanted): ReadonlyArray<number> => {
  const stats: Array<Stat> = []
  for (const pid of listProcesses()) {
    if (wanted.known?.has(pid) === true || pid === process.pid) continue
    const stat = statOf(pid)
    if (stat !== undefined && stat.state !== "Z" && stat.state !== "X") stats.push(stat)
  }
  const found = new Set<number>()
  const meant = new Set([...wanted.leaders, ...enclosed(wanted.marked)])
  let rest = stats
  for (;;) {
    const others: Array<Stat> = []
    for (const stat of rest) {
      const { group, parent, pid, session } = stat
      const hit = meant.has(pid) || meant.has(parent) || meant.has(group) || meant.has(session)
      if (hit || (rest === stats && marksOf(pid).some(wanted.marked))) {
        found.add(pid)
        meant.add(pid)
      } else others.push(stat)
    }
    if (others.length === rest.length) break
    rest = others
  }
  if (wanted.spareLeaders === true) for (const leader of wanted.leaders) found.delete(leader)
  return [...found]
}

/** Kills what is found now; tells how many there were. Where the kernel does not list processes, the groups alone. */
export const killOnce = (wanted: Wanted): number => {
  const found = find(wanted)
  for (const pid of found) kill(pid)
  if (process.platform !== "linux" && wanted.spareLeaders !== true) for (const leader of wanted.leaders) kill(-leader)
  return found.length
}

/** A killed process may have started another just before: looks until none is left. Tells whether that was reached in time. */
export const killAll = async (wanted: Wanted, timeoutMs = 10_000): Promise<boolean> => {
  const until = Date.now() + timeoutMs
  // Those that were there before may have ended meanwhile, and their ids been given anew.
  for (let again = wanted; killOnce(again) > 0; again = { ...wanted, known: new Set() }) {
    if (Date.now() > until) return false
    await new Promise(resolve => setTimeout(resolve, 3))
  }
  release(wanted.marked)
  return true
}

const kill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // Gone already, or somebody else's.
  }
}
