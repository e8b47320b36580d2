/** What a stage can reach, item by item, and the digest of that. In one class, over 300 lines, because every rule adds to the same sets of what was reached. */
import type { Entry } from "../Entries.ts"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { canonical, type Digest, sha256 } from "../../pipeline/Digest.ts"
import type { Item, Rendition } from "./Module.ts"
import { type Loaded, type Origin, Program } from "./Program.ts"
import { Evaluation } from "./Evaluation.ts"
import { Purity } from "./Purity.ts"
import { Trail } from "./Sources.ts"
import type { Load } from "./Text.ts"

export interface ReachOptions {
  readonly program: Program
  /** The package that holds the stage: paths in a fingerprint are relative to it. */
  readonly root: string
  /** Whether an import written in one module is of a method that was not chosen. */
  readonly isCut: (from: string, to: string) => boolean
}

/** Modules with the digest of their content. */
export type Loadable = ReadonlyArray<readonly [path: string, digest: Digest]>

/** What a name of a module means: something of a module, or of what is only named. */
type Meaning = readonly [of: Loaded | undefined, name: string]

export class Reach {
  /** Every look at the disk on the way. */
  readonly looks: Trail
  readonly #program: Program
  readonly #options: ReachOptions
  /** In the order in which they are reached: their place is their name in the digest. */
  readonly #kept = new Map<Loaded, Map<Item, Rendition>>()
  readonly #links = new Map<Loaded, Map<string, ReadonlyArray<Meaning>>>()
  readonly #evaluation: Evaluation
  readonly #packages = new Set<string>()
  readonly #pending: Array<() => void> = []
  readonly #numbers = new Map<Loaded, number>()
  readonly #files = new Map<string, string>()
  /** Modules that are kept with all that they import and export. */
  readonly #complete = new Set<Loaded>()
  /** Where something is loaded that the text does not name. */
  readonly computed = new Set<string>()
  /** Whether a module is named that may be loaded by another thread or program. */
  elsewhere = false
  readonly #entries = new Set<Entry>()
  #purity: Purity

  constructor(options: ReachOptions) {
    this.#options = options
    this.#program = options.program
    this.looks = new Trail(options.program.sources)
    this.#evaluation = new Evaluation(options, this.looks, root => this.#packages.add(root))
    this.#purity = new Purity(options.program, false)
  }

  /** An export of a module, or with `*` all of them. */
  add(path: string, name: string): void {
    const loaded = this.#program.load(path)
    this.#evaluation.add(loaded)
    this.#later(() => (name === "*" ? this.#keepAllExports(loaded) : this.#keepExport(loaded, name)))
  }

  /** A package that counts although no code names it. */
  addPackage(root: string): void {
    this.#packages.add(root)
  }

  /** A file that counts by its content, or a directory by all that is in it. */
  addFile(name: string, digest: string): void {
    this.#files.set(name, digest)
  }

  #later(work: () => void): void {
    this.#pending.push(work)
  }

  // ——— What is reached ———

  /** Keeps all that is reached; afterwards `digest` and the rest can be asked. */
  finish(): void {
    for (;;) {
      // Modules with effects first, in the order in which they run: it counts, too.
      if (this.#keepEffects()) continue
      const work = this.#pending.shift()
      if (work !== undefined) {
        work()
        continue
      }
      // What is loaded under a name that nobody knows may be any of the modules that are known.
      if (this.computed.size === 0 || !this.#keepEverything()) break
    }
    for (const loaded of [...this.#evaluation.modules.keys(), ...this.#evaluation.others]) this.looks.join(loaded.looks)
    for (const loaded of this.#kept.keys()) this.looks.join(loaded.looks)
  }

  /** Items that do something when their module is loaded: of a module of a cycle, where what is there yet depends on who comes first, all. */
  #acting(loaded: Loaded): ReadonlyArray<Item> {
    const { items } = loaded.module
    return this.#evaluation.cyclic.has(loaded) ? items : items.filter(item => !this.#purity.isPureItem(loaded, item))
  }

  #keepEffects(): boolean {
    const all = [...this.#evaluation.modules.keys()]
    if (all.some(loaded => this.#isEffect(loaded))) this.#purity = this.#strict()
    let changed = false
    for (const loaded of all.filter(each => this.#isEffect(each))) {
      const kept = this.#touch(loaded)
      for (const item of this.#acting(loaded)) {
        if (kept.has(item)) continue
        changed = true
        this.#keep(loaded, item)
      }
    }
    return changed
  }

  #strictPurity: Purity | undefined

  #strict(): Purity {
    return (this.#strictPurity ??= new Purity(this.#program, true))
  }

  #keepEverything(): boolean {
    const { silentRoots } = this.#evaluation
    let changed = [...silentRoots].some(root => !this.#packages.has(root))
    for (const root of silentRoots) this.#packages.add(root)
    for (const loaded of this.#evaluation.modules.keys()) {
      if (this.#complete.has(loaded)) continue
      this.#complete.add(loaded)
      changed = true
      this.#keepWhole(loaded)
      this.#keepAllExports(loaded)
      // `eval` sees names that no text uses.
      for (const name of loaded.module.imports.keys()) this.#keepImport(loaded, name, "whole")
    }
    return changed
  }

  #keepWhole(loaded: Loaded): void {
    this.#touch(loaded)
    for (const item of loaded.module.items) this.#keep(loaded, item)
  }

  #touch(loaded: Loaded): Map<Item, Rendition> {
    let items = this.#kept.get(loaded)
    if (items === undefined) {
      items = new Map()
      this.#kept.set(loaded, items)
      this.#numbers.set(loaded, this.#numbers.size)
    }
    return items
  }

  #keepExport(loaded: Loaded, name: string): void {
    if (loaded.module.format !== "esm") return this.#keepWhole(loaded)
    this.#link(loaded, `export ${name}`, this.#program.exported(loaded, name))
  }

  /** Whoever has a module as an object has all its names, also those that nobody knows: of packages behind `export *`. */
  #keepAllExports(loaded: Loaded): void {
    if (loaded.module.format !== "esm") return this.#keepWhole(loaded)
    for (const name of this.#program.exportedNames(loaded)) this.#keepExport(loaded, name)
    for (const [from, specifier, target] of this.#program.starsOf(loaded))
      this.#link(from, `export * ${specifier}`, [target])
  }

  #keep(loaded: Loaded, item: Item): void {
    const items = this.#touch(loaded)
    if (items.has(item)) return
    const rendition = this.#strict().renditionOf(loaded, item)
    items.set(item, rendition)
    const { computed, loads, names } = rendition.references
    const { module } = loaded
    for (const [name, members] of names) {
      if (module.imports.has(name)) this.#keepImport(loaded, name, members)
      else for (const other of module.items) if (other.names.includes(name)) this.#keep(loaded, other)
    }
    for (const load of loads) this.#load(loaded, load)
    // Our own loads of this kind are looked at by people.
    if (!this.#program.isOurs(module.path))
      for (const at of computed) this.computed.add(`${module.path}:${module.line(at)}`)
  }

  #keepImport(loaded: Loaded, name: string, members: ReadonlySet<string> | "whole"): void {
    const { module } = loaded
    const imported = module.imports.get(name)!
    const target = this.#program.at(loaded, imported.source, "import", imported.name)
    if (!("_tag" in target) && this.#options.isCut(module.path, target.module.path))
      return this.#note(loaded, name, [[undefined, "another method"]])
    const origins = this.#program.origins(loaded, imported)
    const [origin] = origins
    if (origin?._tag !== "namespace" || origins.length > 1 || members === "whole")
      return this.#link(loaded, name, origins)
    for (const member of members) this.#link(loaded, `${name}.${member}`, this.#program.exported(origin.loaded, member))
  }

  /** A module that the code loads while it runs. */
  #load(loaded: Loaded, { kind, specifier }: Load): void {
    const via = kind === "require" ? "require" : "import"
    const mark = `${kind} ${specifier}`
    if (kind === "file" && /\.(?:[cm]?[jt]s|wasm|node)$/.test(specifier)) this.elsewhere = true
    if (kind === "file") return this.#loadFile(loaded, mark, join(dirname(loaded.module.path), specifier))
    const resolved = this.#program.resolve(loaded, specifier, via)
    if (resolved._tag === "file" && this.#options.isCut(loaded.module.path, resolved.path))
      return this.#note(loaded, mark, [[undefined, "another method"]])
    const target = this.#program.at(loaded, specifier, via, "*")
    if ("_tag" in target) return this.#link(loaded, mark, [target])
    this.#evaluation.add(target)
    this.#link(loaded, mark, [{ _tag: "namespace", loaded: target }])
  }

  /** A file that the code names, for whatever it does with it: a module counts with what it loads, anything else by its content. */
  #loadFile(loaded: Loaded, mark: string, path: string): void {
    if (this.#options.isCut(loaded.module.path, this.#program.sources.real(path)))
      return this.#note(loaded, mark, [[undefined, "another method"]])
    const digest = this.looks.digest(path)
    if (digest === undefined) return void this.looks.file(path)
    const isModule = /\.(?:[cm]?[jt]s|json|wasm|node)$/.test(path)
    const target = isModule ? this.#program.at(loaded, pathToFileURL(path).href, "import", "*") : undefined
    if (target === undefined) return this.#note(loaded, mark, [[undefined, digest]])
    if ("_tag" in target)
      return this.#link(loaded, mark, [target._tag === "package" ? { ...target, specifier: mark } : target])
    this.#evaluation.add(target)
    this.#link(loaded, mark, [{ _tag: "namespace", loaded: target }])
  }

  /** Notes what a name of a module means, and keeps that. */
  #link(loaded: Loaded, name: string, origins: ReadonlyArray<Origin>): void {
    this.#touch(loaded)
    if (this.#links.get(loaded)?.has(name) === true) return
    this.#note(loaded, name, [])
    this.#note(
      loaded,
      name,
      origins.map(origin => this.#reach(origin))
    )
  }

  #note(loaded: Loaded, name: string, meanings: ReadonlyArray<Meaning>): void {
    this.#touch(loaded)
    let links = this.#links.get(loaded)
    if (links === undefined) this.#links.set(loaded, (links = new Map()))
    links.set(name, meanings)
  }

  #reach(origin: Origin): Meaning {
    switch (origin._tag) {
      case "item":
        this.#keep(origin.loaded, origin.item)
        return [origin.loaded, origin.name]
      case "namespace": {
        this.#keepAllExports(origin.loaded)
        return [origin.loaded, "*"]
      }
      case "whole":
        this.#keepWhole(origin.loaded)
        return [origin.loaded, origin.name]
      case "package":
        this.#packages.add(origin.root)
        return [undefined, `${origin.specifier}#${origin.name}`]
      case "ours":
        if (origin.entry !== undefined) this.#entries.add(origin.entry)
        return [
          undefined,
          `ours ${origin.module || (origin.entry === "dllm-pipeline" ? "" : origin.entry)}#${origin.name}`
        ]
      case "other":
        return [undefined, `${origin.specifier}#${origin.name}`]
    }
  }

  // ——— What came of it ———

  /** Packages that are reached, with all that they depend on, by name. */
  packages(): {
    readonly versions: { readonly [name: string]: string }
    readonly checksums: ReadonlyArray<string>
    readonly roots: ReadonlyArray<string>
    readonly entries: ReadonlyArray<Entry>
  } {
    const { packages } = this.#program
    const roots = new Set<string>()
    for (const root of this.#packages) for (const each of packages.closure(root)) roots.add(each)
    const versions = new Map<string, Set<string>>()
    const checksums: Array<string> = []
    for (const root of roots) {
      const { checksum, looks, name, version } = packages.facts(root)
      this.looks.join(looks)
      versions.set(name, (versions.get(name) ?? new Set()).add(version))
      checksums.push(`${name} ${version} ${checksum}`)
    }
    return {
      versions: Object.fromEntries(
        [...versions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, found]) => [name, [...found].sort().join(", ")])
      ),
      checksums: [...new Set(checksums)].sort(),
      roots: [...roots].sort(),
      entries: [...this.#entries].sort()
    }
  }

  /** The code of each module that is reached. */
  modules(): { readonly [path: string]: string } {
    const found: Record<string, string> = {}
    for (const loaded of this.#kept.keys()) {
      const code = this.#codeOf(loaded)
      const links = this.#linksOf(loaded, this.#place)
      if (code !== "") found[this.#place(loaded)] = sha256(canonical([code, links]))
    }
    for (const [name, digest] of this.#files) found[name] = digest
    return found
  }

  #place = (loaded: Loaded): string => Program.place(this.#options.root, loaded.module.path)

  #codeOf(loaded: Loaded): string {
    const { module } = loaded
    if (module.format === "json" || module.format === "file") return loaded.file.digest
    const items = [...(this.#kept.get(loaded) ?? [])].sort(([a], [b]) => a.index - b.index)
    return items.map(([, { text }]) => text).join("\n")
  }

  /** What the names of a module mean, the modules named in one way or another. */
  #linksOf(loaded: Loaded, nameOf: (of: Loaded) => string | number): ReadonlyArray<ReadonlyArray<string>> {
    return [...(this.#links.get(loaded) ?? [])]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, to]) => [name, ...to.map(([of, each]) => (of === undefined ? each : `${nameOf(of)}#${each}`))])
  }

  /** The digest of all code that is reached, and of how it is connected. Modules are numbered as they are reached: a renamed file is the same. */
  code(): Digest {
    const numberOf = (loaded: Loaded): number => this.#numbers.get(loaded)!
    const modules = [...this.#numbers.keys()].map(loaded => {
      const usesPlace = [...(this.#kept.get(loaded)?.values() ?? [])].some(({ references }) => references.usesPlace)
      return {
        code: this.#codeOf(loaded),
        links: this.#linksOf(loaded, numberOf),
        // One that knows where it lies may say so.
        ...(usesPlace ? { place: this.#place(loaded) } : {})
      }
    })
    const order = this.#evaluation.roots.map(([root, modulesInOrder]) => [
      this.#numbers.get(root) ?? "",
      ...modulesInOrder
        .filter(each => typeof each === "string" || this.#isEffect(each))
        .map(each => (typeof each === "string" ? each : numberOf(each)))
    ])
    // Where a module waits, others run meanwhile: which ones is decided by all imports.
    const waits = [...this.#evaluation.modules.keys()].some(({ module }) => module.waits)
    const graph = waits
      ? [...this.#evaluation.modules].map(([loaded, first]) => [loaded, ...first].map(this.#place))
      : undefined
    return sha256(canonical({ modules, order, graph, files: Object.fromEntries(this.#files) }))
  }

  #isEffect(loaded: Loaded): boolean {
    return !isInert(loaded) && (this.#evaluation.cyclic.has(loaded) || !this.#purity.isPure(loaded))
  }

  /** Modules that the stage's process may load, with what they held. */
  loadable(): Loadable {
    const all = new Set([...this.#evaluation.modules.keys(), ...this.#kept.keys(), ...this.#evaluation.others])
    return [...all].map(({ file, module }) => [module.path, file.digest] as const)
  }

  /** Modules of packages that do not count, because loading them does nothing: with what they held when that was proven. */
  silent(): Loadable {
    return [...this.#evaluation.silent].map(({ file, module }) => [module.path, file.digest] as const)
  }
}

/** Data: loading it does nothing. */
const isInert = ({ module }: Loaded): boolean => module.format === "json" || module.format === "file"
