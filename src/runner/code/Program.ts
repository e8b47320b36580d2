/** The modules of a stage as Node would load them: parsed once, resolved by its rules, and followed from a name to what it is. */
import { type Entry, isEntry } from "../Entries.ts"
import { dirname, extname, join, relative, sep } from "node:path"
import { isEffectName } from "./Libraries.ts"
import { type Binding, type Format, type Item, type Module, type Parse, parseModule } from "./Module.ts"
import { packageRootOf, Packages } from "./Packages.ts"
import { packageScope, resolve, type Resolved, type Via } from "./Resolve.ts"
import { type SourceFile, type Sources, Trail } from "./Sources.ts"

/** A module with its file, and every look at the disk that it took to understand it. */
export interface Loaded {
  readonly module: Module
  readonly file: SourceFile
  readonly looks: Trail
  readonly resolved: Map<string, Resolved>
}

/** What a name turns out to be after all re-exports. */
export type Origin =
  | { readonly _tag: "item"; readonly loaded: Loaded; readonly item: Item; readonly name: string }
  /** All exports of a module, as an object. */
  | { readonly _tag: "namespace"; readonly loaded: Loaded }
  /** Of a module that is not an ES module, which counts as a whole. */
  | { readonly _tag: "whole"; readonly loaded: Loaded; readonly name: string }
  | { readonly _tag: "package"; readonly root: string; readonly specifier: string; readonly name: string }
  /** Of this program: what declares stages, or what a user's stage imports of it, by the specifier. */
  | { readonly _tag: "ours"; readonly module: string; readonly entry?: Entry; readonly name: string }
  | { readonly _tag: "other"; readonly specifier: string; readonly name: string }

/** Where this program lies: its declarations compute nothing. */
export interface Ours {
  readonly root: string
  readonly packageName: string
}

/** Modules by their path, their format and the digest of their text, which is all that they depend on. */
export type Parsed = Map<string, Module>

export class Program {
  readonly sources: Sources
  readonly packages: Packages
  readonly ours: Ours
  readonly #parser: Parse
  readonly #loaded = new Map<string, Loaded>()
  readonly #declarations: string
  readonly #parsed: Parsed
  #effect: string | undefined

  constructor(sources: Sources, parse: Parse, ours: Ours, parsed: Parsed) {
    this.sources = sources
    this.packages = new Packages(sources, ours.packageName)
    this.ours = ours
    this.#parser = parse
    this.#parsed = parsed
    this.#declarations = join(ours.root, "src", "pipeline") + sep
  }

  isDeclaration(path: string): boolean {
    return path.startsWith(this.#declarations)
  }

  /** Whether a module is one that ships with this program. */
  isOurs(path: string): boolean {
    return ["src", "stages"].some(folder => path.startsWith(join(this.ours.root, folder) + sep))
  }

  load(path: string, instance = ""): Loaded {
    let loaded = this.#loaded.get(path + instance)
    if (loaded === undefined) {
      const looks = new Trail(this.sources)
      const file = looks.file(path)
      if (file === undefined) throw new Error(`${path}: there is no such file`)
      loaded = { module: this.#moduleOf(file, looks), file, looks, resolved: new Map() }
      this.#loaded.set(path + instance, loaded)
    }
    return loaded
  }

  #moduleOf(file: SourceFile, looks: Trail): Module {
    const { path } = file
    const plain = (format: "json" | "file"): Module => ({
      path,
      format,
      items: [],
      imports: new Map(),
      exports: new Map(),
      stars: [],
      requests: [],
      waits: false,
      acts: false,
      assigned: new Set(),
      line: () => 1
    })
    switch (extname(path)) {
      case ".mjs":
      case ".mts":
        return this.#parse(file, "esm")
      case ".cjs":
      case ".cts":
        return this.#parse(file, "commonjs")
      case ".js":
      case ".ts": {
        const type = packageScope(looks, path)?.manifest["type"]
        return this.#parse(file, type === "module" ? "esm" : type === "commonjs" ? "commonjs" : "detect")
      }
      case ".json":
        return plain("json")
      default:
        return plain("file")
    }
  }

  #parse(file: SourceFile, format: Format): Module {
    const key = `${format} ${file.digest} ${file.path}`
    let module = this.#parsed.get(key)
    if (module === undefined) {
      module = parseModule(this.#parser, file.path, file.bytes.toString("utf8"), format)
      this.#parsed.set(key, module)
    }
    return module
  }

  resolve(from: Loaded, specifier: string, via: Via): Resolved {
    const key = `${via} ${specifier}`
    let resolved = from.resolved.get(key)
    if (resolved === undefined) {
      resolved = resolve(from.looks, specifier, from.module.path, via)
      from.resolved.set(key, resolved)
    }
    return resolved
  }

  /** Whether a package is the effect that this program uses itself, and not another of that name. */
  isEffect({ root, specifier }: { readonly root: string; readonly specifier: string }): boolean {
    if (!isEffectName(specifier)) return false
    if (this.#effect === undefined) {
      const found = resolve(new Trail(this.sources), "effect", join(this.ours.root, "package.json"), "import")
      this.#effect = found._tag === "file" ? (packageRootOf(found.path) ?? "") : ""
    }
    return this.#effect === root
  }

  /** What stands at a specifier: a module to look into, or one that is only named. */
  at(from: Loaded, specifier: string, via: Via, name: string): Loaded | Exclude<Origin, { readonly loaded: Loaded }> {
    // Stages import this program by name wherever they lie.
    if (isEntry(specifier)) return { _tag: "ours", module: "", entry: specifier, name }
    const resolved = this.resolve(from, specifier, via)
    if (resolved._tag === "missing") return { _tag: "other", specifier: `${specifier} (${resolved._tag})`, name }
    if (resolved._tag !== "file") return { _tag: "other", specifier, name }
    const { path } = resolved
    if (this.isDeclaration(path)) return { _tag: "ours", module: relative(this.#declarations, path), name }
    const root = packageRootOf(path)
    return root === undefined ? this.load(path, resolved.instance) : { _tag: "package", root, specifier, name }
  }

  /** The module at a specifier, also one of a package; undefined for what is not ours to look into. */
  into(from: Loaded, specifier: string): Loaded | "ours" | undefined {
    if (isEntry(specifier)) return "ours"
    const resolved = this.resolve(from, specifier, "import")
    if (resolved._tag !== "file") return undefined
    return this.isDeclaration(resolved.path) ? "ours" : this.load(resolved.path, resolved.instance)
  }

  /** What a binding means: usually one thing; several where `export *` meets packages, whose names are not known. */
  origins(from: Loaded, { name, source }: Binding, seen: Set<string> = new Set()): ReadonlyArray<Origin> {
    const target = this.at(from, source, "import", name)
    if ("_tag" in target) return [target]
    if (target.module.format !== "esm") return [{ _tag: "whole", loaded: target, name }]
    return name === "*" ? [{ _tag: "namespace", loaded: target }] : this.exported(target, name, seen)
  }

  exported(loaded: Loaded, name: string, seen: Set<string> = new Set()): ReadonlyArray<Origin> {
    const { module } = loaded
    const mark = `${module.path}\0${name}`
    if (seen.has(mark)) return []
    seen.add(mark)
    const found = module.exports.get(name)
    if (found !== undefined)
      return "local" in found ? this.local(loaded, found.local, seen) : this.origins(loaded, found, seen)
    if (name === "default") return []
    return module.stars.flatMap(source => this.origins(loaded, { source, name }, seen))
  }

  /** What a name at the top level of a module is. */
  local(loaded: Loaded, name: string, seen: Set<string> = new Set()): ReadonlyArray<Origin> {
    const { imports, items } = loaded.module
    const imported = imports.get(name)
    if (imported !== undefined) return this.origins(loaded, imported, seen)
    return items.filter(item => item.names.includes(name)).map(item => ({ _tag: "item", loaded, item, name }) as const)
  }

  /** Every name that a module exports, its stars included. */
  exportedNames(loaded: Loaded, seen: Set<string> = new Set()): ReadonlyArray<string> {
    if (seen.has(loaded.module.path)) return []
    seen.add(loaded.module.path)
    const names = new Set(loaded.module.exports.keys())
    for (const source of loaded.module.stars) {
      const target = this.at(loaded, source, "import", "*")
      if ("_tag" in target) continue
      for (const name of this.exportedNames(target, seen)) if (name !== "default") names.add(name)
    }
    return [...names].sort()
  }

  /** What is behind the `export *` of a module, its own and those of others behind it, that is no module to look into. */
  starsOf(
    loaded: Loaded,
    seen: Set<Loaded> = new Set()
  ): ReadonlyArray<readonly [from: Loaded, specifier: string, target: Origin]> {
    if (seen.has(loaded)) return []
    seen.add(loaded)
    return loaded.module.stars.flatMap(specifier => {
      const target = this.at(loaded, specifier, "import", "*")
      if ("_tag" in target) return [[loaded, specifier, target] as const]
      if (target.module.format !== "esm")
        return [[loaded, specifier, { _tag: "whole", loaded: target, name: "*" }] as const]
      return this.starsOf(target, seen)
    })
  }

  /** A path as a fingerprint may hold it: relative to the package that holds the stage. */
  static place(root: string, path: string): string {
    return relative(root, path).split(sep).join("/")
  }

  /** The directory of the nearest package.json above a file. */
  rootOf(file: string): string {
    return packageScope(new Trail(this.sources), file)?.root ?? dirname(file)
  }
}
