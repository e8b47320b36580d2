/** Node's rules of what a specifier means, with every place that was looked at kept on a trail. */
import { builtinModules } from "node:module"
import { dirname, join, resolve as resolvePath } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Trail } from "./Sources.ts"

export type Resolved =
  | { readonly _tag: "builtin" }
  /** A file, after all links. `instance`: the query behind it; Node makes a module of its own for each. */
  | { readonly _tag: "file"; readonly path: string; readonly instance?: string }
  /** `data:`: its code is its name. */
  | { readonly _tag: "data" }
  | { readonly _tag: "missing"; readonly why: string }

export type Via = "import" | "require"

const builtins = new Set(builtinModules)

const flagsWithValue = /^(?:-C|-r|--conditions|--require|--import|--(?:experimental-)?loader)(?:=|$)/
const otherFlags = /^--(?:preserve-symlinks|(?:no-)?experimental-|(?:no-)?strip-types|input-type)/

type Flags = ReadonlyArray<readonly [flag: string, value: string]>

/** Flags about the loading of modules, with their values. */
const flagsAmong = (given: ReadonlyArray<string>): Flags =>
  given.flatMap((word, i, words) => {
    if (otherFlags.test(word)) return [[word, ""] as const]
    if (!flagsWithValue.test(word)) return []
    const at = word.indexOf("=")
    return [at === -1 ? ([word, words[i + 1] ?? ""] as const) : ([word.slice(0, at), word.slice(at + 1)] as const)]
  })

/** What this process, and so the processes of actions, was told about loading modules. */
const flags = (): Flags => flagsAmong([...process.execArgv, ...(process.env["NODE_OPTIONS"] ?? "").split(/\s+/)])

/** The same for a thread, to which its environment comes by itself. */
export const flagsForThreads = (): ReadonlyArray<string> =>
  flagsAmong(process.execArgv)
    .filter(([flag]) => !flag.startsWith("--input-type"))
    .flat()
    .filter(word => word !== "")

export const loadingFlags = (): string =>
  flags()
    .map(each => each.join(" "))
    .join("\n")

const conditionsOf = (via: Via): ReadonlySet<string> => {
  const own = flags().flatMap(([flag, value]) => (/^(?:-C|--conditions)$/.test(flag) ? [value] : []))
  return new Set([via, "node", "node-addons", "module-sync", "default", ...own])
}

const missing = (why: string): Resolved => ({ _tag: "missing", why })

export const resolve = (trail: Trail, specifier: string, importer: string, via: Via): Resolved => {
  if (specifier.startsWith("node:") || builtins.has(specifier)) return { _tag: "builtin" }
  if (specifier.startsWith("data:")) return { _tag: "data" }
  if (/^(?:\.{0,2}\/|\.{1,2}$)/.test(specifier)) {
    return via === "import"
      ? atUrl(trail, new URL(specifier, pathToFileURL(importer)))
      : probe(trail, resolvePath(dirname(importer), specifier), namesDirectory(specifier))
  }
  if (specifier.startsWith("file:")) return atUrl(trail, new URL(specifier))
  if (specifier.startsWith("#")) return internal(trail, specifier, importer, via)
  if (/^[a-z][a-z0-9+.-]+:/i.test(specifier)) return missing("Node loads no such URL")
  return external(trail, specifier, importer, via)
}

const atUrl = (trail: Trail, url: URL): Resolved => {
  const found = exact(trail, fileURLToPath(url))
  const instance = url.search + url.hash
  return found._tag === "file" && instance !== "" ? { ...found, instance } : found
}

/** ES modules are named exactly. */
const exact = (trail: Trail, path: string): Resolved =>
  trail.isFile(path) ? { _tag: "file", path: trail.real(path) } : missing(`there is no file ${path}`)

/** CommonJS tries endings, and a directory's main file. */
const probe = (trail: Trail, path: string, isDirectory = false): Resolved => {
  const withEnding = (base: string) => [`${base}.js`, `${base}.json`, `${base}.node`]
  const found = (candidates: ReadonlyArray<string>) => candidates.find(candidate => trail.isFile(candidate))
  const file =
    (isDirectory ? undefined : found([path, ...withEnding(path)])) ??
    found(mainOf(trail, path).flatMap(main => [main, ...withEnding(main), ...withEnding(join(main, "index"))])) ??
    found(withEnding(join(path, "index")))
  return file === undefined ? missing(`there is no file ${path}`) : { _tag: "file", path: trail.real(file) }
}

const mainOf = (trail: Trail, path: string): ReadonlyArray<string> => {
  const main = trail.json(join(path, "package.json"))?.["main"]
  return typeof main === "string" ? [join(path, main)] : []
}

/** `.`, `./lib/`, `../lib/..`: what CommonJS takes for a directory, whatever file lies beside it. */
const namesDirectory = (specifier: string): boolean => /(?:^|\/)\.{0,2}$/.test(specifier)

/** The nearest package.json above a file, which may decide what its specifiers and its format mean. */
export const packageScope = (
  trail: Trail,
  file: string
): { readonly root: string; readonly manifest: Readonly<Record<string, unknown>> } | undefined => {
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    if (directory.endsWith("/node_modules")) return undefined
    const manifest = trail.json(join(directory, "package.json"))
    if (manifest !== undefined) return { root: directory, manifest }
    if (dirname(directory) === directory) return undefined
  }
}

const internal = (trail: Trail, specifier: string, importer: string, via: Via): Resolved => {
  const scope = packageScope(trail, importer)
  const imports = scope?.manifest["imports"]
  if (scope === undefined || typeof imports !== "object" || imports === null)
    return missing("the nearest package.json has no imports")
  return (
    fromMap(trail, specifier, imports as Record<string, unknown>, scope.root, via) ??
    missing("imports of the nearest package.json does not name it")
  )
}

export const packageNameOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/")

const external = (trail: Trail, specifier: string, importer: string, via: Via): Resolved => {
  const name = packageNameOf(specifier)
  const below = `.${specifier.slice(name.length)}`
  const scope = packageScope(trail, importer)
  if (scope?.manifest["name"] === name && scope.manifest["exports"] !== undefined && scope.manifest["exports"] !== null)
    return fromExports(trail, below, scope.manifest["exports"], scope.root, via)
  for (let directory = dirname(importer); ; directory = dirname(directory)) {
    if (!directory.endsWith("/node_modules")) {
      const root = join(directory, "node_modules", name)
      if (trail.isDirectory(root)) {
        // Looked at under its own name, too: a link may be turned elsewhere.
        trail.real(root)
        const manifest = trail.json(join(root, "package.json"))
        const exports = manifest?.["exports"]
        if (exports !== undefined && exports !== null) return fromExports(trail, below, exports, root, via)
        if (below !== ".")
          return via === "import"
            ? exact(trail, join(root, below))
            : probe(trail, resolvePath(root, below), namesDirectory(below))
        return probe(trail, root, true)
      }
      // CommonJS finds single files there, too.
      if (via === "require") {
        const found = probe(trail, join(directory, "node_modules", specifier), namesDirectory(specifier))
        if (found._tag === "file") return found
      }
    }
    if (dirname(directory) === directory) return missing(`no node_modules above ${importer} has ${name}`)
  }
}

const fromExports = (trail: Trail, below: string, exports: unknown, root: string, via: Via): Resolved => {
  const map =
    typeof exports === "object" &&
    !Array.isArray(exports) &&
    Object.keys(exports as object).every(key => key.startsWith("."))
      ? (exports as Record<string, unknown>)
      : { ".": exports }
  return fromMap(trail, below, map, root, via) ?? missing(`exports of ${root}/package.json do not have ${below}`)
}

/** The entry of `exports` or `imports` that fits: an exact one, else the pattern with the longest beginning. */
const fromMap = (
  trail: Trail,
  key: string,
  map: Readonly<Record<string, unknown>>,
  root: string,
  via: Via
): Resolved | undefined => {
  if (Object.hasOwn(map, key) && !key.includes("*")) return fromTarget(trail, map[key], undefined, root, via)
  let best: string | undefined
  for (const pattern of Object.keys(map)) {
    const [before, after, ...more] = pattern.split("*")
    if (after === undefined || more.length > 0 || !key.startsWith(before!) || key === before) continue
    if (key.length < pattern.length || !key.endsWith(after)) continue
    if (
      best === undefined ||
      before!.length > best.indexOf("*") ||
      (before!.length === best.indexOf("*") && pattern.length > best.length)
    )
      best = pattern
  }
  if (best === undefined) return undefined
  const star = best.indexOf("*")
  const matched = key.slice(star, key.length - (best.length - star - 1))
  return fromTarget(trail, map[best], matched, root, via)
}

const fromTarget = (
  trail: Trail,
  target: unknown,
  matched: string | undefined,
  root: string,
  via: Via
): Resolved | undefined => {
  if (typeof target === "string") {
    const filled = matched === undefined ? target : target.replaceAll("*", () => matched)
    if (filled.startsWith("./")) return exact(trail, join(root, filled))
    return resolve(trail, filled, join(root, "package.json"), via)
  }
  if (Array.isArray(target)) {
    for (const each of target) {
      const found = fromTarget(trail, each, matched, root, via)
      if (found !== undefined && found._tag !== "missing") return found
    }
    return undefined
  }
  if (typeof target !== "object" || target === null) return undefined
  const conditions = conditionsOf(via)
  for (const [condition, value] of Object.entries(target)) {
    if (!conditions.has(condition)) continue
    const found = fromTarget(trail, value, matched, root, via)
    if (found !== undefined) return found
  }
  return undefined
}
