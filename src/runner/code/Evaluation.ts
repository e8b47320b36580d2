/** What Node evaluates when it loads a module: which modules, in which order, and which packages do something then. */
import type { Loaded, Origin, Program } from "./Program.ts"
import { Purity } from "./Purity.ts"
import type { ReachOptions } from "./Reach.ts"
import type { Trail } from "./Sources.ts"

export class Evaluation {
  /** Modules that are evaluated, with what each loads first. */
  readonly modules = new Map<Loaded, ReadonlyArray<Loaded>>()
  /** Modules that import themselves by way of others: what one sees of another depends on who comes first. */
  readonly cyclic = new Set<Loaded>()
  /** Modules that are evaluated for another method only. */
  readonly others = new Set<Loaded>()
  /** What starts an evaluation: the entry, and each module that is loaded later; with the order of all, packages by name. */
  readonly roots: Array<readonly [root: Loaded, order: ReadonlyArray<Loaded | string>]> = []
  readonly #program: Program
  readonly #isCut: ReachOptions["isCut"]
  readonly #looks: Trail
  /** Told of packages that do something when they are loaded. */
  readonly #count: (root: string) => void
  readonly #silent = new Map<string, boolean>()
  /** Modules of packages that are loaded, and proven to do nothing then. */
  readonly silent = new Set<Loaded>()
  /** Roots of the packages that are loaded without counting. */
  readonly silentRoots = new Set<string>()

  constructor({ isCut, program }: ReachOptions, looks: Trail, count: (root: string) => void) {
    this.#program = program
    this.#isCut = isCut
    this.#looks = looks
    this.#count = count
  }

  /** Follows the imports that Node follows before anything runs, in its order; modules of one cycle are marked. */
  add(root: Loaded): void {
    const order: Array<Loaded | string> = []
    const index = new Map<Loaded, number>()
    const low = new Map<Loaded, number>()
    const stack: Array<Loaded> = []
    const visit = (loaded: Loaded) => {
      index.set(loaded, index.size)
      low.set(loaded, index.get(loaded)!)
      stack.push(loaded)
      const first: Array<Loaded> = []
      for (const specifier of loaded.module.requests) {
        const target = this.#program.at(loaded, specifier, "import", "*")
        if ("_tag" in target) {
          const mark = this.#evaluateOther(loaded, target)
          if (mark !== undefined && !order.includes(mark)) order.push(mark)
          continue
        }
        if (this.#isCut(loaded.module.path, target.module.path) && this.#isTable(loaded, specifier, target)) {
          for (const other of this.#below(target)) this.#passOver(other)
          continue
        }
        first.push(target)
        if (!index.has(target)) {
          visit(target)
          low.set(loaded, Math.min(low.get(loaded)!, low.get(target)!))
        } else if (stack.includes(target)) {
          low.set(loaded, Math.min(low.get(loaded)!, index.get(target)!))
        }
      }
      this.modules.set(loaded, first)
      order.push(loaded)
      if (low.get(loaded) === index.get(loaded)) {
        const members = stack.splice(stack.indexOf(loaded))
        if (members.length > 1 || first.includes(loaded)) for (const member of members) this.cyclic.add(member)
      }
    }
    if (this.roots.some(([known]) => known === root)) return
    visit(root)
    this.roots.push([root, order])
  }

  /** Whether an import of another method's module is there for its names: that it does something, nobody sees in its text. */
  #isTable({ module }: Loaded, specifier: string, target: Loaded): boolean {
    const bindings = [...module.imports.values(), ...module.exports.values()]
    const isNamed =
      module.stars.includes(specifier) || bindings.some(each => "source" in each && each.source === specifier)
    return isNamed && ![...this.#below(target)].some(other => other.module.acts)
  }

  /** Modules of another method are loaded, but count for nothing: that is what declaring them says. What they load of packages counts. */
  #passOver(loaded: Loaded): void {
    if (this.others.has(loaded)) return
    this.others.add(loaded)
    for (const specifier of loaded.module.requests) {
      const target = this.#program.at(loaded, specifier, "import", "*")
      if ("_tag" in target) this.#evaluateOther(loaded, target)
    }
  }

  /** A module, and all that it loads. */
  #below(loaded: Loaded, seen: Set<Loaded> = new Set()): ReadonlySet<Loaded> {
    if (seen.has(loaded)) return seen
    seen.add(loaded)
    for (const specifier of loaded.module.requests) {
      const target = this.#program.at(loaded, specifier, "import", "*")
      if (!("_tag" in target)) this.#below(target, seen)
    }
    return seen
  }

  /** Evaluating a package counts unless all of it is proven to do nothing; its name, where it counts. */
  #evaluateOther(from: Loaded, target: Exclude<Origin, { readonly loaded: Loaded }>): string | undefined {
    switch (target._tag) {
      case "package": {
        if (this.#isSilent(from, target.specifier)) {
          this.silentRoots.add(target.root)
          return undefined
        }
        this.#count(target.root)
        return `package ${target.specifier}`
      }
      case "other":
        return target.specifier.startsWith("data:") || target.specifier.endsWith("(missing)")
          ? target.specifier
          : undefined
      case "ours":
        return undefined
    }
  }

  /** Whether loading a package's module can have no effect. */
  #isSilent(from: Loaded, specifier: string): boolean {
    const entry = this.#program.into(from, specifier)
    if (entry === "ours") return true
    if (entry === undefined) return false
    const known = this.#silent.get(entry.module.path)
    if (known !== undefined) return known
    const purity = new Purity(this.#program, true)
    const seen = new Set<Loaded>()
    const look = (loaded: Loaded): boolean => {
      if (seen.has(loaded)) return true
      seen.add(loaded)
      if (loaded.module.format === "json") return true
      if (loaded.module.format !== "esm" || !purity.isPure(loaded)) return false
      return loaded.module.requests.every(request => {
        const next = this.#program.resolve(loaded, request, "import")
        if (next._tag === "builtin") return true
        const module = this.#program.into(loaded, request)
        return module === "ours" || (module !== undefined && look(module))
      })
    }
    const silent = look(entry)
    for (const loaded of seen) this.#looks.join(loaded.looks)
    if (silent) for (const loaded of seen) this.silent.add(loaded)
    this.#silent.set(entry.module.path, silent)
    return silent
  }
}
