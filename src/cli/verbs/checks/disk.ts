/** The disk that holds the cache: room, permissions, and whether its file system keeps its promises. */
import {
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { statfs } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { Effect } from "effect"
import { bytes } from "../../../pipeline/units.ts"
import { type Check, type Finding, ok, problem, warning } from "./Check.ts"

/** Below this nothing can be done; the second leaves room for the embedded profiles. */
const leastFree = 100e6
const comfortableFree = 2e9

/** File systems that other machines may write to at the same time. */
const network =
  /^(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|beegfs|gpfs|pvfs2|orangefs|ocfs2|gfs2|fuse\.(?!fuse-overlayfs).*|virtiofs|vboxsf|drvfs)$/

export interface Mount {
  readonly point: string
  readonly type: string
}

/** The mount that a path lies on, from the text of /proc/mounts. */
export const mountOf = (mounts: string, path: string): Mount | undefined => {
  let best: Mount | undefined
  for (const line of mounts.split("\n")) {
    const [, escaped, type] = line.split(" ")
    if (escaped === undefined || type === undefined) continue
    // Spaces and the like are written as octal numbers.
    const point = escaped.replace(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8))
    )
    const holds = path === point || path.startsWith(point.endsWith("/") ? point : `${point}/`)
    // Of equal ones the later covers the earlier.
    if (holds && point.length >= (best?.point.length ?? 0)) best = { point, type }
  }
  return best
}

export const isNetwork = (type: string): boolean => network.test(type)

/** Bytes that we may still write at a path; undefined where the file system does not say. */
export const freeBytes = (path: string): Effect.Effect<number | undefined> =>
  Effect.promise(() =>
    statfs(existing(path)).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => undefined
    )
  )

/** The nearest directory that exists: the cache may not have been made yet. */
const existing = (path: string): string => {
  let at = resolve(path)
  while (!existsSync(at)) at = dirname(at)
  return at
}

export const disk: Check = {
  name: "disk",
  run: ({ location }) =>
    Effect.gen(function* () {
      const directory = existing(location.root)
      const findings: Array<Finding> = []
      const mounts = existsSync("/proc/mounts") ? readFileSync("/proc/mounts", "utf8") : ""
      const mount = mountOf(mounts, directory)
      const where = mount === undefined ? "" : ` (${mount.type} at ${mount.point})`
      const free = yield* freeBytes(directory)
      if (free !== undefined) {
        const text = `${bytes(free)} free for the cache${where}`
        const advice = "make room with `pipeline gc`, or put the cache elsewhere with --cache or PIPELINE_CACHE"
        findings.push(
          free < leastFree
            ? problem("disk", text, advice)
            : free < comfortableFree
              ? warning("disk", text, advice)
              : ok("disk", text)
        )
      }
      if (mount !== undefined && isNetwork(mount.type)) {
        findings.push(
          warning(
            "file system",
            `${mount.type} may be a network file system, on which SQLite can lose data`,
            "put the cache on a local disk with --cache or PIPELINE_CACHE; action processes on other hosts may still read it"
          )
        )
      }
      findings.push(probe(directory))
      return findings
    })
}

/** Tries what the store relies on, in a folder that is removed again. */
const probe = (directory: string): Finding => {
  let folder: string
  try {
    folder = mkdtempSync(join(directory, ".pipeline-doctor-"))
  } catch (cause) {
    return problem(
      "cache",
      `${directory} cannot be written (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`,
      "check its owner and mode, or put the cache elsewhere with --cache or PIPELINE_CACHE"
    )
  }
  try {
    const [from, to] = [join(folder, "a"), join(folder, "b")]
    writeFileSync(from, "probe")
    const handle = openSync(from, "r+")
    try {
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    let reflink = true
    try {
      copyFileSync(from, to, constants.COPYFILE_FICLONE_FORCE)
    } catch {
      reflink = false
    }
    return ok(
      "cache",
      `writable, syncs; ${reflink ? "shares blocks of copies (reflink)" : "copies are full copies (no reflink)"}`
    )
  } catch (cause) {
    return problem(
      "cache",
      `${directory} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      "put the cache elsewhere with --cache or PIPELINE_CACHE"
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
