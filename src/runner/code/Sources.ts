/**
 * Files as fingerprints see them: each read once, its stat taken before, and every look at the disk kept on a trail. In one piece, over 300 lines: nobody else knows the words in
 * which the state of a file is written down.
 */
import { createHash } from "node:crypto"
import { closeSync, openSync, readdirSync, readFileSync, readSync, realpathSync, statSync } from "node:fs"
import { join, relative } from "node:path"
import { type Digest, sha256 } from "../../pipeline/Digest.ts"

/**
 * What was seen at a path, so that it can be looked at again: a file's stat and digest, a directory's, that nothing was there, or where a link led.
 * While all that was looked at stands, a fingerprint is what it was.
 */
export type Seen = readonly [path: string, state: string, digest: string]

export interface SourceFile {
  readonly path: string
  readonly bytes: Buffer
  readonly digest: Digest
  readonly stat: string
}

const missing = "missing"
const directory = "directory"
const linkMark = "-> "
/** All files below a directory, looked at as one. */
const treeMark = "tree "

/** Changes whenever the file's content may have changed. */
export const statText = (path: string): string => {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? missing : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`
}

/** The clock of a file system is coarse: what changed this shortly before the look (milliseconds) may change again without another time. */
const coarseMs = 2500

/** A stat that a later edit could leave as it is: such a file is compared by its content. */
const unsettled = "unsettled "

const settled = (path: string): string => {
  const text = statText(path)
  return text !== missing && isRecent(text) ? `${unsettled}${text}` : text
}

const isRecent = (stat: string): boolean =>
  Number(BigInt(stat.slice(stat.lastIndexOf(":") + 1)) / 1_000_000n) > Date.now() - coarseMs

/** Files below a directory, with what stands for them; packages inside it are counted by themselves. Undefined where there are more than `limit`. */
const filesBelow = (root: string, limit = Number.POSITIVE_INFINITY): ReadonlyArray<string> | undefined => {
  const found: Array<string> = []
  const walk = (from: string): boolean =>
    readdirSync(from, { withFileTypes: true }).every(entry => {
      if (entry.name === "node_modules") return true
      const path = join(from, entry.name)
      if (entry.isDirectory()) return walk(path)
      found.push(path)
      return found.length <= limit
    })
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true) return [root]
  return walk(root) ? found.sort() : undefined
}

/** Whether a directory has at most so many files. */
export const hasFew = (root: string, limit: number): boolean => filesBelow(root, limit) !== undefined

const treeState = (root: string): { readonly text: string; readonly recent: boolean } => {
  try {
    const stats = (filesBelow(root) ?? []).map(path => [relative(root, path), statText(path)] as const)
    return {
      text: `${treeMark}${sha256(JSON.stringify(stats))}`,
      recent: stats.some(([, stat]) => stat !== missing && isRecent(stat))
    }
  } catch {
    // It is being removed meanwhile.
    return { text: `${treeMark}of nothing`, recent: true }
  }
}

const settledTree = (root: string): string => {
  const { recent, text } = treeState(root)
  return recent ? `${unsettled}${text}` : text
}

const treeDigest = (root: string): Digest =>
  sha256((filesBelow(root) ?? []).map(path => `${relative(root, path)} ${digestOf(path) ?? realPath(path)}`).join("\n"))

/** Whether a state is that of all files below a directory. */
export const isTree = (state: string): boolean =>
  state.startsWith(treeMark) || state.startsWith(`${unsettled}${treeMark}`)

/** Whether it is a file or a tree, which was read. */
export const isContent = ([, state, digest]: Seen): boolean =>
  digest !== "" && !state.startsWith(linkMark) && state !== directory && state !== missing

/** What is at a seen path now, in the words of its state. */
export const stateNow = ([path, state]: Seen): string => {
  if (state.startsWith(linkMark)) return `${linkMark}${realPath(path)}`
  if (state === directory) return isDirectory(path) ? directory : missing
  return isTree(state) ? treeState(path).text : statText(path)
}

/** Reads of one session of computing; what was read once is not read again. */
export class Sources {
  readonly #files = new Map<string, SourceFile | undefined>()
  readonly #data = new Map<string, Omit<SourceFile, "bytes">>()
  readonly #real = new Map<string, string>()
  readonly #json = new Map<SourceFile, Readonly<Record<string, unknown>>>()

  file(path: string): SourceFile | undefined {
    if (this.#files.has(path)) return this.#files.get(path)
    const stat = settled(path)
    // A pipe or a device would be waited for.
    const file = statSync(path, { throwIfNoEntry: false })?.isFile() === true ? this.#read(path, stat) : undefined
    this.#files.set(path, file)
    return file
  }

  #read(path: string, stat: string): SourceFile | undefined {
    try {
      const bytes = readFileSync(path)
      return { path, bytes, digest: sha256(bytes), stat }
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined
      throw cause
    }
  }

  /** All files that were read. */
  files(): ReadonlyArray<SourceFile> {
    return [...this.#files.values()].filter(file => file !== undefined)
  }

  /** Stat and digest of a file that is not kept: data may be large. */
  data(path: string): Omit<SourceFile, "bytes"> | undefined {
    const known = this.#files.get(path) ?? this.#data.get(path)
    if (known !== undefined) return known
    const stat = settled(path)
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return undefined
    const data = { path, stat, digest: digestOf(path)! }
    this.#data.set(path, data)
    return data
  }

  json(file: SourceFile): Readonly<Record<string, unknown>> {
    let value = this.#json.get(file)
    if (value === undefined) {
      value = parseJson(file)
      this.#json.set(file, value)
    }
    return value
  }

  real(path: string): string {
    let real = this.#real.get(path)
    if (real === undefined) {
      real = realPath(path)
      this.#real.set(path, real)
    }
    return real
  }
}

const parseJson = (file: SourceFile): Readonly<Record<string, unknown>> => {
  try {
    const value: unknown = JSON.parse(file.bytes.toString("utf8"))
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    throw new Error(`${file.path} is not JSON`)
  }
}

const realPath = (path: string): string => {
  try {
    return realpathSync.native(path)
  } catch {
    return path
  }
}

const isDirectory = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

const listing = (path: string): Digest | undefined => {
  try {
    return sha256(readdirSync(path).sort().join("\0"))
  } catch {
    return undefined
  }
}

/** One computation's looks at the disk. */
export class Trail {
  readonly seen = new Map<string, Seen>()
  readonly sources: Sources

  constructor(sources: Sources) {
    this.sources = sources
  }

  /** The file, or undefined where there is none. */
  file(path: string): SourceFile | undefined {
    const file = this.sources.file(path)
    if (file !== undefined) this.seen.set(path, [path, file.stat, file.digest])
    else if (!this.seen.has(path)) this.seen.set(path, this.#directoryOrNothing(path))
    return file
  }

  /** The digest of a file's content. */
  digest(path: string): Digest | undefined {
    const data = this.sources.data(path)
    if (data !== undefined) this.seen.set(path, [path, data.stat, data.digest])
    return data?.digest
  }

  /** Whether there is a file, without its content. */
  isFile(path: string): boolean {
    return this.file(path) !== undefined
  }

  /** Whether there is a directory; only that it is there counts. */
  isDirectory(path: string): boolean {
    const there = isDirectory(path)
    if (!this.seen.has(path)) this.seen.set(path, [path, there ? directory : missing, ""])
    return there
  }

  /** Names in a directory. */
  entries(path: string): ReadonlyArray<string> {
    const stat = settled(path)
    const names = readdirSync(path).sort()
    this.seen.set(path, [path, stat, sha256(names.join("\0"))])
    return names
  }

  /** The digest of all files below a directory; they are looked at again as one. */
  tree(root: string): Digest {
    const state = settledTree(root)
    const digest = treeDigest(root)
    this.seen.set(`${treeMark}${root}`, [root, state, digest])
    return digest
  }

  /** Where a path leads after all links; what is none may become one. */
  real(path: string): string {
    const real = this.sources.real(path)
    this.seen.set(`${linkMark}${path}`, [path, `${linkMark}${real}`, ""])
    return real
  }

  join(other: Trail): void {
    for (const [key, seen] of other.seen) this.seen.set(key, seen)
  }

  json(path: string): Readonly<Record<string, unknown>> | undefined {
    const file = this.file(path)
    return file === undefined ? undefined : this.sources.json(file)
  }

  #directoryOrNothing(path: string): Seen {
    return [path, isDirectory(path) ? directory : missing, ""]
  }
}

/** Whether nothing has changed since; a file with another stat, or one that cannot be trusted, is compared by its content. */
export const stands = (seen: Seen): boolean => {
  const [path, state, digest] = seen
  const now = stateNow(seen)
  if (now === state) return true
  if (state.startsWith(linkMark) || state === directory || state === missing || now === missing) return false
  return (isTree(state) ? tolerantTree(path) : (listing(path) ?? digestOf(path))) === digest
}

/** A tree that is being removed while it is read is another one. */
const tolerantTree = (root: string): Digest | undefined => {
  try {
    return treeDigest(root)
  } catch {
    return undefined
  }
}

const digestOf = (path: string): Digest | undefined => {
  try {
    const hash = createHash("sha256")
    const piece = Buffer.allocUnsafe(1 << 18)
    const file = openSync(path, "r")
    try {
      for (;;) {
        const size = readSync(file, piece)
        if (size === 0) return hash.digest("hex") as Digest
        hash.update(piece.subarray(0, size))
      }
    } finally {
      closeSync(file)
    }
  } catch {
    return undefined
  }
}

/** The same with the stats of now, where the content still is what it was; undefined when something changed. */
export const standing = (all: ReadonlyArray<Seen>): ReadonlyArray<Seen> | undefined => {
  if (!all.every(stands)) return undefined
  const moved = new Set(all.filter(seen => stateNow(seen) !== seen[1]))
  if (moved.size === 0) return all
  return all.map((seen): Seen => {
    if (!moved.has(seen)) return seen
    const [path, state, digest] = seen
    const fresh: Seen = [path, isTree(state) ? settledTree(path) : settled(path), digest]
    // Between the comparison and this stat the file may have changed once more: it must be the one that was compared.
    return stands([path, `${unsettled}${fresh[1].replace(unsettled, "")}`, digest]) ? fresh : seen
  })
}

/** Everything below a directory by its content, behind links as well; and the files, by where they really lie. */
export const contentOf = (
  trail: Trail,
  root: string
): { readonly digest: Digest; readonly files: ReadonlyArray<string> } => {
  const lines: Array<string> = []
  const files: Array<string> = []
  const walk = (directory: string, below: string, above: ReadonlyArray<string>) => {
    const real = trail.real(directory)
    lines.push(`${below} ${above.includes(real) ? "again" : ""}`)
    if (above.includes(real)) return
    for (const name of trail.entries(directory)) {
      const path = join(directory, name)
      const stat = statSync(path, { throwIfNoEntry: false })
      if (stat?.isDirectory() === true) walk(path, `${below}${name}/`, [...above, real])
      else if (stat?.isFile() === true) {
        lines.push(`${below}${name} ${trail.digest(path) ?? ""}`)
        files.push(trail.real(path))
      }
      // A link that leads nowhere may lead somewhere later.
      else if (stat === undefined) trail.file(path)
    }
  }
  walk(root, "", [])
  return { digest: sha256(lines.join("\n")), files }
}
