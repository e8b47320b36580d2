/** What an action's key covers of the modules that its process wants to load, and the hook that refuses the others. Without effect: it is loaded in every thread. */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { dirname, join, relative, sep } from "node:path"
import { fileURLToPath } from "node:url"
import { sha256 } from "../pipeline/Digest.ts"
import { packageRootOf } from "./code/Packages.ts"

export interface Covered {
  /** The module that exports the stage. */
  readonly module: string
  /** The user's modules, and those of packages that do nothing when they are loaded, with the digests of their content. */
  readonly loadable: ReadonlyArray<readonly [path: string, digest: string]>
  readonly silent: ReadonlyArray<readonly [path: string, digest: string]>
  /** Directories of the packages that count. */
  readonly packages: ReadonlyArray<string>
  /** Where this program lies, whose own modules nobody edits while it runs. */
  readonly root: string
}

/** Why a module is not loaded: it is another one now (`stale`), or the key does not know it. */
export interface Refusal {
  readonly class: "permanent" | "stale"
  readonly message: string
  readonly advice?: string
}

const pathOf = (url: string | undefined): string | undefined =>
  url?.startsWith("file:") === true ? fileURLToPath(url) : undefined

/** Node reads a module once; what it read is compared before it runs, and handed on as it is. */
export const watchLoads = (covered: Covered, onRefused: (refusal: Refusal) => void): void => {
  const cover = new Cover(covered)
  const refuse = (refusal: Refusal): never => {
    onRefused(refusal)
    throw new Error(refusal.message)
  }
  registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context)
      const path = pathOf(found.url)
      if (path === undefined) return found
      const via = context.conditions.includes("require") ? "require" : "import"
      // A module that was loaded before is not loaded again: only here is it seen who else wants it.
      const refusal = cover.asked(path, pathOf(context.parentURL), via)
      return refusal === undefined ? found : refuse(refusal)
    },
    load: (url, context, next) => {
      const loaded = next(url, context)
      const path = pathOf(url)
      if (path === undefined) return loaded
      const expected = cover.contentOf(path)
      if (expected === undefined) {
        const refusal = cover.uncovered(path)
        return refusal === undefined ? loaded : refuse(refusal)
      }
      if (!isContent(path, loaded.source, expected)) refuse({ class: "stale", message: `${path} changed` })
      return loaded
    }
  })
}

/** What the key of an action covers, and who asked for what. */
class Cover {
  readonly #module: string
  readonly #known: ReadonlyMap<string, string>
  readonly #silent: ReadonlyMap<string, string>
  readonly #packages: ReadonlySet<string>
  /** This program's own modules. */
  readonly #ours: ReadonlyArray<string>
  /** Modules of packages that this program itself loads. */
  readonly #asOurs = new Set<string>()
  readonly #askers = new Map<string, string>()

  constructor({ loadable, module, packages, root, silent }: Covered) {
    this.#module = module
    this.#known = new Map(loadable)
    this.#silent = new Map(silent)
    this.#packages = new Set(packages)
    this.#ours = ["dist", "src"].map(folder => join(root, folder) + sep)
  }

  contentOf(path: string): string | undefined {
    return this.#known.get(path) ?? (this.#isCounted(path) ? undefined : this.#silent.get(path))
  }

  /**
   * Notes who asks for a module. One of a package that does not count, because loading it does nothing, may be asked for only where that was proven:
   * by the `import` of a module, and of others like it. Whoever else wants it does so to use it.
   */
  asked(path: string, by: string | undefined, via: "import" | "require"): Refusal | undefined {
    if (by === undefined) return undefined
    if (this.#isOurs(by) || this.#asOurs.has(by)) {
      if (packageRootOf(path) !== undefined && !this.#known.has(path)) this.#asOurs.add(path)
      return undefined
    }
    if (!this.#askers.has(path)) this.#askers.set(path, by)
    if (!this.#silent.has(path) || this.#known.has(path) || this.#isCounted(path)) return undefined
    const proven = via === "import" && (this.#known.has(by) || (this.#silent.has(by) && !this.#isCounted(by)))
    return proven ? undefined : this.#refusal(path, by)
  }

  /** Why a module that is none of the known may not be loaded; undefined where it may. */
  uncovered(path: string): Refusal | undefined {
    return this.#isOurs(path) || this.#asOurs.has(path) || this.#isCounted(path)
      ? undefined
      : this.#refusal(path, this.#askers.get(path))
  }

  #isOurs(path: string): boolean {
    return this.#ours.some(folder => path.startsWith(folder))
  }

  /** Whether a module belongs to a package that counts; one that lies below another is a package of its own. */
  #isCounted(path: string): boolean {
    const root = packageRootOf(path)
    if (root !== undefined) return this.#packages.has(root)
    for (let at = dirname(path); at !== dirname(at); at = dirname(at)) if (this.#packages.has(at)) return true
    return false
  }

  #refusal(path: string, by: string | undefined): Refusal {
    const root = packageRootOf(path)
    const whose = by === undefined || by === this.#module ? "the stage" : by
    const declared = JSON.stringify(relative(dirname(this.#module), root ?? path))
    const declare = `list ${declared} in \`files\` of the stage`
    const inside = by !== undefined && (packageRootOf(by) !== undefined || this.#isCounted(by))
    return {
      class: "permanent",
      message: `${whose} loaded ${path}, which its key does not cover`,
      advice: inside
        ? `${root === undefined ? "" : "the package does not declare that it depends on it: "}${declare}`
        : `write the names of modules that are loaded as literals, or ${declare}`
    }
  }
}

const isContent = (
  path: string,
  source: string | ArrayBuffer | NodeJS.TypedArray | null | undefined,
  expected: string
): boolean => {
  // Native code is read by the system.
  if (source === null || source === undefined) return sha256(readFileSync(path)) === expected
  if (typeof source !== "string") {
    const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source
    return sha256(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)) === expected
  }
  if (sha256(source) === expected) return true
  // A text that was decoded with replacements, or without its mark, is not what the digest was taken of.
  const bytes = readFileSync(path)
  return sha256(bytes) === expected && bytes.toString("utf8").replace(/^\uFEFF/, "") === source.replace(/^\uFEFF/, "")
}
