/** Packages below `node_modules`: by their locked version where a lock says what is installed, and by their content where that is small or no lock vouches for it. */
import { basename, dirname, join, relative, sep } from "node:path"
import { hasFew, type Sources, Trail } from "./Sources.ts"

export interface PackageFacts {
  readonly name: string
  /** The version, with a digest of the content where no lock vouches for it. */
  readonly version: string
  /** What else tells it from another of the same version: the lock's checksum, and the content of what is small enough to be looked at each time. */
  readonly checksum: string
  readonly looks: Trail
}

const folder = `${sep}node_modules${sep}`

/** The root of the package that a file belongs to; undefined outside of `node_modules`, as linked packages are. */
export const packageRootOf = (path: string): string | undefined => {
  const at = path.lastIndexOf(folder)
  if (at === -1) return undefined
  const [first, second] = path.slice(at + folder.length).split(sep)
  return join(path.slice(0, at), "node_modules", first!.startsWith("@") ? join(first!, second ?? "") : first!)
}

/** Directories whose `node_modules` holds a path, the innermost first. */
const owners = (path: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (let at = path.lastIndexOf(folder); at !== -1; at = at === 0 ? -1 : path.lastIndexOf(folder, at - 1))
    found.push(path.slice(0, at))
  return found
}

interface Wanted {
  readonly name: string
  readonly version: string
  /** Relative to the lock's directory, with forward slashes. */
  readonly location: string
}

const escape = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`)

/** What npm's locks say of a package: its checksum, or where it came from when that is not this disk. */
const npm = (text: string, { location, version }: Wanted): string | undefined => {
  const { packages } = JSON.parse(text) as {
    readonly packages?: Readonly<
      Record<string, { version?: string; integrity?: string; resolved?: string; link?: boolean }>
    >
  }
  const entry = packages?.[location]
  if (entry?.version !== version || entry.link === true) return undefined
  return entry.integrity ?? (/^(?:https?|git)\b/.test(entry.resolved ?? "") ? entry.resolved : undefined)
}

const pnpm = (text: string, { location, name, version }: Wanted): string | undefined => {
  const entry = new RegExp(
    String.raw`^ {2}'?/?${escape(name)}[@/]${escape(version)}(?:\([^\n]*\))?'?:\n {4}resolution: \{([^}]*)\}`,
    "m"
  ).exec(text)
  // The folder's name tells of patches and of the peers that it was installed with.
  return entry?.[1]?.includes("integrity") === true ? `${entry[1]} ${location}` : undefined
}

/** Both generations of yarn: blocks of lines, the version in one and the checksum in another. */
const yarn = (text: string, { name, version }: Wanted): string | undefined => {
  const head = new RegExp(String.raw`^"?(?:[^\n]*, ?"?)?${escape(name)}@`, "m")
  const blocks = text
    .split(/\n\n+/)
    .filter(
      block => head.test(block) && new RegExp(String.raw`^ {2}version:? "?${escape(version)}"?$`, "m").test(block)
    )
  // A patched one has the version of what it was made from: which of both lies here is not told.
  if (
    blocks.some(block => /^\S.*@(?:patch|file|link|portal):|resolution: ".*@(?:patch|file|link|portal):/m.test(block))
  )
    return undefined
  for (const block of blocks) {
    const checksum = /^ {2}(?:integrity|checksum:|resolved) "?([^\s"]+)/m.exec(block)?.[1]
    if (checksum !== undefined) return checksum
  }
  return undefined
}

const bun = (text: string, { name, version }: Wanted): string | undefined =>
  new RegExp(String.raw`\["${escape(name)}@${escape(version)}",[^\n]*"(sha\d+-[^"]+)"\]`).exec(text)?.[1]

/** Where locks lie relative to the directory that has `node_modules`; what was installed comes before what should be. */
const locks: ReadonlyArray<readonly [file: string, read: (text: string, wanted: Wanted) => string | undefined]> = [
  ["node_modules/.package-lock.json", npm],
  ["node_modules/.pnpm/lock.yaml", pnpm],
  ["package-lock.json", npm],
  ["npm-shrinkwrap.json", npm],
  ["pnpm-lock.yaml", pnpm],
  ["yarn.lock", yarn],
  ["bun.lock", bun]
]

/** Whether something says that packages are not what their archives held: then no lock vouches for any of them. */
const arePatched = (trail: Trail, directory: string): boolean => {
  const manifest = tolerant(() => trail.json(join(directory, "package.json")))
  if (/"patchedDependencies":|\bpatch-package\b/.test(JSON.stringify(manifest ?? {}))) return true
  const patches = join(directory, "patches")
  return trail.isDirectory(patches) && trail.entries(patches).some(name => name.endsWith(".patch"))
}

/** Files that yarn changes with every installation; their change is looked at, their content says nothing more. */
const marks = ["node_modules/.yarn-state.yml", "node_modules/.yarn-integrity", "node_modules/.modules.yaml"]

/** Files that say which packages there are, and are read to find them. */
export const isAboutPackages = (path: string): boolean =>
  basename(path) === "package.json" ||
  [...marks, ...locks.map(([file]) => file)].some(file => path.endsWith(`${sep}${file}`))

const checksumOf = (trail: Trail, root: string, name: string, version: string): string | undefined => {
  for (const directory of owners(root)) {
    for (const mark of marks) trail.file(join(directory, mark))
    if (arePatched(trail, directory)) return undefined
    for (const [file, read] of locks) {
      const lock = trail.file(join(directory, file))
      if (lock === undefined) continue
      const text = lock.bytes.toString("utf8")
      if (/"patchedDependencies"\s*:|^patchedDependencies:/m.test(text)) return undefined
      const location = relative(directory, root).split(sep).join("/")
      const checksum = tolerant(() => read(text, { name, version, location }))
      if (checksum !== undefined) return checksum
    }
  }
  return undefined
}

/** A lock that cannot be read covers nothing. */
const tolerant = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** A package with at most so many files is looked at each time as a whole: an edit by hand is seen even below a lock. */
const fewFiles = 300

export class Packages {
  readonly #sources: Sources
  /** The name of this program, which is counted otherwise wherever it is installed. */
  readonly #ours: string
  readonly #facts = new Map<string, PackageFacts>()
  readonly #closures = new Map<string, ReadonlyArray<string>>()

  constructor(sources: Sources, ours: string) {
    this.#sources = sources
    this.#ours = ours
  }

  facts(root: string): PackageFacts {
    let facts = this.#facts.get(root)
    if (facts === undefined) {
      const looks = new Trail(this.#sources)
      const manifest = looks.json(join(root, "package.json")) ?? {}
      const name = packageRootOf(root) === root ? nameOf(root) : String(manifest["name"] ?? nameOf(root))
      const version = String(manifest["version"] ?? "unknown")
      const locked = checksumOf(looks, root, String(manifest["name"] ?? name), version)
      const content = locked === undefined || hasFew(root, fewFiles) ? looks.tree(root) : ""
      facts = {
        name,
        version: locked === undefined ? `${version} (content ${content.slice(0, 12)})` : version,
        checksum: `${locked ?? ""} ${content}`.trim(),
        looks
      }
      this.#facts.set(root, facts)
    }
    return facts
  }

  /** A package and all that it depends on, as installed for it: dependencies, peers, and optional ones that are there. */
  closure(root: string): ReadonlyArray<string> {
    const known = this.#closures.get(root)
    if (known !== undefined) return known
    const found = new Set<string>()
    const pending = [root]
    while (pending.length > 0) {
      const next = pending.pop()!
      if (found.has(next)) continue
      found.add(next)
      const { looks } = this.facts(next)
      const manifest = looks.json(join(next, "package.json")) ?? {}
      const names = ["dependencies", "peerDependencies", "optionalDependencies"].flatMap(field =>
        Object.keys((manifest[field] as object | undefined) ?? {})
      )
      for (const name of names) {
        if (name === this.#ours) continue
        const installed = installedFor(looks, name, next)
        if (installed !== undefined) pending.push(installed)
      }
    }
    const roots = [...found].sort()
    this.#closures.set(root, roots)
    return roots
  }
}

const nameOf = (root: string): string =>
  root
    .slice(root.lastIndexOf(folder) + folder.length)
    .split(sep)
    .join("/")

/** Where Node would find a package from another: the nearest `node_modules` that has it, after all links. */
const installedFor = (looks: Trail, name: string, from: string): string | undefined => {
  for (let directory = from; ; directory = dirname(directory)) {
    if (!directory.endsWith(`${sep}node_modules`)) {
      const candidate = join(directory, "node_modules", name)
      if (looks.isDirectory(candidate)) return looks.real(candidate)
    }
    if (dirname(directory) === directory) return undefined
  }
}
