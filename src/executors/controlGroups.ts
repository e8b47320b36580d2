/** Control groups, where the kernel lets us make some: a process cannot leave one by changing its session, parent or environment. */
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const prefix = "pipeline-"

/** `off`: no groups are made. */
const variable = "PIPELINE_CONTROL_GROUPS"

/** The folder of the group that we belong to; undefined where we may not make groups in it. */
const home: string | undefined = (() => {
  if (process.platform !== "linux" || process.env[variable] === "off") return undefined
  try {
    const path = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1]
    const mount = /^\S+ \S+ \S+ \S+ (\S+) .*- cgroup2 /m.exec(readFileSync("/proc/self/mountinfo", "utf8"))?.[1]
    if (path === undefined || mount === undefined) return undefined
    const folder = join(mount, path)
    accessSync(join(folder, "cgroup.procs"), constants.W_OK)
    return folder
  } catch {
    return undefined
  }
})()

/** Whether there are control groups for us. */
export const available = home !== undefined

/** Puts a process into a group of its own, named by its mark. */
export const enclose = (pid: number, mark: string): void => {
  if (home === undefined) return
  const folder = join(home, prefix + mark)
  try {
    mkdirSync(folder)
    writeFileSync(join(folder, "cgroup.procs"), String(pid))
  } catch {
    // Without a group, marks and parents must do.
    remove(folder)
  }
}

const below = (folder: string): ReadonlyArray<string> => {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap(entry =>
      entry.isDirectory() ? [join(folder, entry.name)] : []
    )
  } catch {
    return []
  }
}

const foldersOf = (marked: (mark: string) => boolean): ReadonlyArray<string> => {
  if (home === undefined) return []
  const start = join(home, prefix)
  return below(home).filter(folder => folder.startsWith(start) && marked(folder.slice(start.length)))
}

const membersOf = (folder: string): ReadonlyArray<number> => {
  try {
    const own = readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n")
    return [...own.filter(line => line !== "").map(Number), ...below(folder).flatMap(membersOf)]
  } catch {
    return []
  }
}

/** Members of the groups with such marks. */
export const enclosed = (marked: (mark: string) => boolean): ReadonlyArray<number> =>
  foldersOf(marked).flatMap(membersOf)

/** Removes the groups with such marks; a group with members stays. */
export const release = (marked: (mark: string) => boolean): void => foldersOf(marked).forEach(remove)

const remove = (folder: string): void => {
  for (const inner of below(folder)) remove(inner)
  try {
    rmdirSync(folder)
  } catch {
    // Still in use, or gone: whoever starts next looks again.
  }
}
