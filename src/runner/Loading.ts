/** The loading of a stage in its action's process: exactly the modules that the key was made from, and the packages that it covers. */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { dirname, join, relative, sep } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { sha256 } from "../pipeline/Digest.ts"
import { isStage } from "../pipeline/Stage.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import type { LoadStage } from "./Child.ts"
import { packageRootOf } from "./code/Packages.ts"
import type { Request } from "./Request.ts"

/** Loads stages for one action. `root`: where this program lies, whose own modules nobody edits while it runs. */
export const makeLoad = (root: string): LoadStage => {
  let refused: StageError | undefined
  const load = async (stage: Request["stage"]) => {
    const { export: name, module } = stage
    if (stage.loadable !== undefined)
      watchLoads(new Cover(stage, root), error => {
        refused ??= error
      })
    const found = ((await import(pathToFileURL(module).href)) as Record<string, unknown>)[name]
    if (!isStage(found)) throw new Error(`its export ${name} is no stage`)
    return found
  }
  return Object.assign(load, { refused: () => refused })
}

const pathOf = (url: string | undefined): string | undefined =>
  url?.startsWith("file:") === true ? fileURLToPath(url) : undefined

/** Node reads a module once; what it read is compared before it runs, and handed on as it is. */
const watchLoads = (cover: Cover, onRefused: (error: StageError) => void): void => {
  const refuse = (error: StageError): never => {
    onRefused(error)
    throw error
  }
  registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context)
      const path = pathOf(found.url)
      if (path === undefined) return found
      const via = context.conditions.includes("require") ? "require" : "import"
      // A module that was loaded before is not loaded again: only here is it seen who else wants it.
      const error = cover.asked(path, pathOf(context.parentURL), via)
      return error === undefined ? found : refuse(error)
    },
    load: (url, context, next) => {
      const loaded = next(url, context)
      const path = pathOf(url)
      if (path === undefined) return loaded
      const expected = cover.contentOf(path)
      if (expected === undefined) {
        const error = cover.uncovered(path)
        return error === undefined ? loaded : refuse(error)
      }
      if (!isContent(path, loaded.source, expected))
        refuse(new StageError({ class: "stale", message: `${path} changed` }))
      return loaded
    }
  })
}

/** What the key of an action covers, and who asked for what. */
class Cover {
  readonly #stage: Request["stage"]
  readonly #known: ReadonlyMap<string, string>
  readonly #silent: ReadonlyMap<string, string>
  readonly #packages: ReadonlySet<string>
  /** This program's own modules. */
  readonly #ours: ReadonlyArray<string>
  /** Modules of packages that this program itself loads. */
  readonly #asOurs = new Set<string>()
  readonly #askers = new Map<string, string>()

  constructor(stage: Request["stage"], root: string) {
    this.#stage = stage
    this.#known = new Map(stage.loadable)
    this.#silent = new Map(stage.silent)
    this.#packages = new Set(stage.packages)
    this.#ours = ["dist", "src"].map(folder => join(root, folder) + sep)
  }

  contentOf(path: string): string | undefined {
    return this.#known.get(path) ?? (this.#isCounted(path) ? undefined : this.#silent.get(path))
  }

  /**
   * Notes who asks for a module. One of a package that does not count, because loading it does nothing, may be asked for only where that was proven:
   * by the `import` of a module, and of others like it. Whoever else wants it does so to use it.
   */
  asked(path: string, by: string | undefined, via: "import" | "require"): StageError | undefined {
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
  uncovered(path: string): StageError | undefined {
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

  #refusal(path: string, by: string | undefined): StageError {
    const root = packageRootOf(path)
    const whose = by === undefined || by === this.#stage.module ? "the stage" : by
    const declared = JSON.stringify(relative(dirname(this.#stage.module), root ?? path))
    const declare = `list ${declared} in \`files\` of the stage`
    const inside = by !== undefined && (packageRootOf(by) !== undefined || this.#isCounted(by))
    return permanent(
      `${whose} loaded ${path}, which its key does not cover`,
      inside
        ? `${root === undefined ? "" : "the package does not declare that it depends on it: "}${declare}`
        : `write the names of modules that are loaded as literals, or ${declare}`
    )
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
