/**
 * A plugin for the bundler: chunks take from Node's modules by `process.getBuiltinModule` what they use. An import would
 * evaluate every name that a module has, `fs.promises` and with it streams and readline: some milliseconds of each start.
 */
import { isBuiltin } from "node:module"
import type { Plugin } from "rolldown"

/** Imports as the bundler writes them. */
const statement = /^import (?:(?:\* as )?([\w$]+)|\{([^}]*)\}) from "(node:[\w/]+)";$/gm
/** Imports for their effect, which Node's modules do not have. */
const bare = /^import "node:[\w/]+";$/gm

/** Modules that are large and seldom needed: libraries that take all of their names get them when they ask for one. */
const large = new Set([
  "child_process",
  "crypto",
  "http",
  "https",
  "net",
  "readline",
  "readline/promises",
  "tls",
  "worker_threads"
])
const lazily = (name: string, taken: string) =>
  `const ${name} = /* @__PURE__ */ new Proxy({}, { get: (_, key) => ${taken}[key] });`

/** Functions of large modules that are taken by name find their module when they are first called. */
const functions: Readonly<Record<string, ReadonlySet<string>>> = {
  crypto: new Set(["createHash", "hash", "randomBytes", "randomUUID"]),
  child_process: new Set(["fork", "spawn", "spawnSync"])
}
const lazyFunctions = (module: string, names: ReadonlyArray<string>): string | undefined => {
  const known = functions[module.slice("node:".length)]
  const pairs = names.map(each => each.trim().split(" as ") as [string, string?])
  if (known === undefined || !pairs.every(([name]) => known.has(name))) return undefined
  return pairs
    .map(
      ([name, local = name]) =>
        `let ${local} = (...all) => (${local} = process.getBuiltinModule(${JSON.stringify(module)}).${name})(...all);`
    )
    .join(" ")
}

/** Effect's command line makes one when it is loaded, which takes 5 ms; hardly a text needs it. */
const segmenter = /new Intl\.Segmenter\(([^()]*)\)/
const laterSegmenter = (made: string) => `(made => ({ segment: text => (made ??= ${made}).segment(text) }))(undefined)`

export const builtins: Plugin = {
  name: "builtins",
  transform: (code, id) => {
    if (!id.endsWith("/effect/dist/cli/CliOutput.js")) return null
    if (code.split("Intl.Segmenter").length !== 2 || !segmenter.test(code))
      throw new Error(`${id} makes no segmenter, or several`)
    return { code: code.replace(segmenter, laterSegmenter) }
  },
  renderChunk: code => ({
    code: code
      .replace(bare, "")
      .replace(statement, (whole, name: string | undefined, names: string | undefined, module: string) => {
        if (!isBuiltin(module)) return whole
        const taken = `process.getBuiltinModule(${JSON.stringify(module)})`
        const later = names === undefined ? undefined : lazyFunctions(module, names.split(","))
        if (later !== undefined) return later
        if (name !== undefined && large.has(module.slice("node:".length))) return lazily(name, taken)
        return `const ${name ?? `{${names!.replaceAll(" as ", ": ")}}`} = ${taken};`
      })
  })
}
