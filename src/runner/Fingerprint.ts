/** Code fingerprints: the digest of all that a stage can reach, and what was looked at to know it. docs/architecture.md says what is covered. */
import { statSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { Effect } from "effect"
import { canonical, type Digest, sha256 } from "../pipeline/Digest.ts"
import { append } from "../pipeline/lists.ts"
import type { AnyStage } from "../pipeline/Stage.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import { entries, type Entry } from "./Entries.ts"
import { isAboutPackages, packageRootOf } from "./code/Packages.ts"
import { loadingFlags } from "./code/Resolve.ts"
import { type Parsed, Program } from "./code/Program.ts"
import { type Loadable, Reach } from "./code/Reach.ts"
import { contentOf, isContent, type Seen, Sources, standing, stands, Trail } from "./code/Sources.ts"

export { isTree, stateNow } from "./code/Sources.ts"

/** A fingerprint, with enough about it to say later what changed. */
export interface Fingerprint {
  readonly digest: Digest
  /** Reachable code by module, and declared files, as digests; paths are relative to the package that holds the stage. */
  readonly modules: { readonly [path: string]: string }
  /** Versions of the packages that the code reaches, with all that those depend on. */
  readonly packages: { readonly [name: string]: string }
  /** What Node was told about loading. */
  readonly flags: string
  /** All that was looked at: while it stands, nothing is computed again. */
  readonly seen: ReadonlyArray<Seen>
  /** What an action reads whenever it likes, without anybody comparing what it read: declared files, small packages, workers. */
  readonly unhooked: ReadonlyArray<Seen>
  /** The modules that the stage's process may load, with their content. */
  readonly loadable: Loadable
  /** Modules of packages that do not count, as loading them does nothing. */
  readonly silent: Loadable
  /** Directories of the packages that count. */
  readonly roots: ReadonlyArray<string>
  /** Where something is loaded that the text does not name, as `file:line`. */
  readonly computed: ReadonlyArray<string>
}

export interface FingerprintTarget {
  /** Absolute path of the module that exports the stage. */
  readonly file: string
  /** Its name there; `*` for all that the module exports. */
  readonly export: string
  readonly methods?: AnyStage["methods"]
  /** The chosen method. */
  readonly method?: string | undefined
  /** Files that the stage says it reads, relative to its module. */
  readonly files?: ReadonlyArray<string>
}

/** The target for a stage and one of its methods. */
export const targetOf = (
  { files, methods }: Pick<AnyStage, "files" | "methods">,
  location: { readonly file: string; readonly export: string },
  method: string | undefined
): FingerprintTarget => ({ file: location.file, export: location.export, methods, files, method })

export const ownPackage = "dllm-pipeline"

/** Above `src/runner/`, and above `dist/<build>/`. */
export const ownRoot = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "")

/** Fingerprints of what this program exports, by the specifier. */
export type Built = { readonly [entry in Entry]?: Fingerprint | undefined }

/** Sources and programs that several fingerprints share: each module is read and parsed once. */
export class Session {
  readonly sources = new Sources()
  #program: Program | undefined
  readonly #ours = new Map<Entry, Promise<Fingerprint>>()

  /** What users' stages import of this program, when the build knows that. */
  readonly built: Built
  readonly #parsed: Parsed

  constructor(built: Built = {}, parsed: Parsed = new Map()) {
    this.built = built
    this.#parsed = parsed
  }

  /** A session that reads every file anew, and parses those alone that are other ones than before. */
  again(): Session {
    return new Session(this.built, this.#parsed)
  }

  /** The parser is loaded only here: a run whose fingerprints are remembered does without it. */
  async program(): Promise<Program> {
    if (this.#program === undefined) {
      const { parseSync } = await import("rolldown/utils")
      const ours = { root: ownRoot, packageName: ownPackage }
      this.#program ??= new Program(this.sources, parseSync, ours, this.#parsed)
    }
    return this.#program
  }

  ours(entry: Entry): Promise<Fingerprint> {
    const built = this.built[entry]
    const known =
      this.#ours.get(entry) ??
      (built === undefined
        ? analyse({ file: join(ownRoot, entries[entry].module), export: "*" }, this)
        : Promise.resolve(built))
    this.#ours.set(entry, known)
    return known
  }
}

/** Reads a stage's code and takes the digest. */
export const compute = (
  target: FingerprintTarget,
  session: Session = new Session()
): Effect.Effect<Fingerprint, StageError> =>
  Effect.tryPromise({
    try: () => analyse(target, session),
    catch: cause =>
      permanent(
        `${target.file}: the code of ${target.export} could not be read for its fingerprint: ${cause instanceof Error ? cause.message : String(cause)}`
      )
  })

const analyse = async (target: FingerprintTarget, session: Session): Promise<Fingerprint> => {
  const program = await session.program()
  const file = program.sources.real(target.file)
  const directory = dirname(file)
  const absolute = (path: string) => resolve(directory, path)
  const root = program.rootOf(file)
  const { chosen, dispatchers, others } = methodModules(target, absolute)
  const reach = new Reach({
    program,
    root,
    isCut: (from, to) => others.has(to) && (from === file || dispatchers.has(from))
  })
  if (target.export !== "*") {
    const origins = program.exported(program.load(file), target.export)
    if (origins.length === 0) throw new Error(`it has no export ${target.export}`)
    // The process of an action loads the module and takes the export: what was assigned later is another stage there.
    if (origins.some(origin => origin._tag === "item" && !/^(?:const|default)$/.test(origin.item.kind)))
      throw new Error("a stage must be exported as a constant: write `export const`")
  }
  reach.add(file, target.export)
  for (const module of chosen) reach.add(program.sources.real(module), "*")
  const declared = new Trail(program.sources)
  /** Files of declared directories. */
  const below: Array<string> = []
  for (const name of target.files ?? []) {
    const place = program.sources.real(absolute(name))
    if (packageRootOf(place) === place) {
      reach.addPackage(place)
      continue
    }
    // One that is a module may be loaded under a name that the code computes.
    if (/\.[cm]?[jt]s$/.test(name)) reach.add(program.sources.real(absolute(name)), "*")
    const { digest, files } = declaredContent(declared, absolute(name), name)
    append(below, files)
    reach.addFile(name, digest)
  }
  reach.looks.join(declared)
  reach.finish()
  if (reach.computed.size > 0) {
    for (const path of below) if (isModule(program, path)) reach.add(path, "*")
    reach.finish()
  }
  const { checksums, entries: reached, roots, versions } = reach.packages()
  const loadable = reach.loadable()
  const own = await Promise.all(reached.map(entry => session.ours(entry)))
  const ours = own.map(({ digest }) => digest).join(" ")
  const flags = loadingFlags()
  return {
    digest: withFlags(sha256(canonical({ code: reach.code(), packages: checksums, ...(ours === "" ? {} : { ours }) }))),
    flags,
    modules: reach.modules(),
    packages: Object.assign(
      {},
      versions,
      ...own.map((each, i) => ({ ...each.packages, [reached[i]!]: each.digest.slice(0, 12) }))
    ) as Fingerprint["packages"],
    seen: [...reach.looks.seen.values(), ...own.flatMap(({ seen }) => seen)],
    unhooked: [...new Set([...unhooked(reach, loadable), ...[...declared.seen.values()].filter(isContent)])],
    loadable,
    silent: reach.silent(),
    roots,
    computed: [...reach.computed]
  }
}

/** Of what was looked at: the content of files and packages that no hook compares when it is loaded. Locks and manifests are read by nobody else. */
const unhooked = (reach: Reach, loadable: Loadable): ReadonlyArray<Seen> => {
  const hooked = new Set([...(reach.elsewhere ? [] : loadable), ...reach.silent()].map(([path]) => path))
  return [...reach.looks.seen.values()].filter(
    seen => isContent(seen) && !hooked.has(reach.looks.sources.real(seen[0])) && !isAboutPackages(seen[0])
  )
}

/** The modules of the chosen method, those of the others alone, and where imports of those are left out beside the stage's own module. */
const methodModules = ({ method, methods }: FingerprintTarget, absolute: (path: string) => string) => {
  const chosen = methods === undefined || method === undefined ? [] : listOf(methods.modules[method]).map(absolute)
  const all = Object.values(methods?.modules ?? {})
    .flatMap(listOf)
    .map(absolute)
  return {
    chosen,
    others: new Set(all.filter(path => !chosen.includes(path))),
    dispatchers: new Set((methods?.dispatch ?? []).map(absolute))
  }
}

const listOf = (modules: string | ReadonlyArray<string> | undefined): ReadonlyArray<string> =>
  typeof modules === "string" ? [modules] : (modules ?? [])

/** A file of a declared directory that can be loaded; what is no code in spite of its ending is data. */
const isModule = (program: Program, path: string): boolean => {
  if (!/\.(?:[cm]?[jt]s|json)$/.test(path) || packageRootOf(path) !== undefined) return false
  try {
    program.load(path)
    return true
  } catch (cause) {
    if (cause instanceof SyntaxError) return false
    throw cause
  }
}

const declaredContent = (
  trail: Trail,
  path: string,
  name: string
): { readonly digest: string; readonly files: ReadonlyArray<string> } => {
  const digest = trail.digest(path)
  if (digest !== undefined) return { digest, files: [] }
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) throw new Error(`its files name ${name}, but there is no ${path}`)
  if (!stat.isDirectory()) throw new Error(`its files name ${name}, but ${path} is neither a file nor a directory`)
  return contentOf(trail, path)
}

/** What Node is told about loading decides what imports mean, also those of packages. */
export const withFlags = (digest: Digest): Digest => {
  const flags = loadingFlags()
  return flags === "" ? digest : sha256(canonical([digest, flags]))
}

export const isCurrent = (fingerprint: Fingerprint): boolean =>
  fingerprint.flags === loadingFlags() && fingerprint.seen.every(stands)

/** The fingerprint with what is seen now, if it still holds. */
export const renewed = (fingerprint: Fingerprint): Fingerprint | undefined => {
  const seen = fingerprint.flags === loadingFlags() ? standing(fingerprint.seen) : undefined
  return seen === undefined ? undefined : seen === fingerprint.seen ? fingerprint : { ...fingerprint, seen }
}

/** The method that an action's parameters choose. */
export const chosenMethod = (stage: AnyStage, parameters: unknown): string | undefined =>
  stage.methods === undefined ? undefined : String((parameters as Record<string, unknown>)[stage.methods.by])

/** File and export of a stage, by looking through the exports of the module that called `Stage.make`. */
export const locate = (
  stage: AnyStage
): Effect.Effect<{ readonly file: string; readonly export: string }, StageError> =>
  Effect.gen(function* () {
    const at = stage.definedAt
    if (at === undefined) return yield* permanent(`it is not known where stage ${stage.name} was declared`)
    const url = at.file.startsWith("file:") ? at.file : pathToFileURL(at.file).href
    const module = yield* Effect.promise(() => import(url) as Promise<Record<string, unknown>>)
    const name = Object.keys(module).find(key => module[key] === stage)
    if (name === undefined) {
      return yield* permanent(
        `${fileURLToPath(url)}:${at.line}: stage ${stage.name} is not exported`,
        "export it: an action runs in a process of its own, which loads the stage from this file"
      )
    }
    return { file: fileURLToPath(url), export: name }
  })
