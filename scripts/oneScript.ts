/**
 * Plugins for the bundler that turn chunks into scripts: what src/cli/script.ts loads with its kept compilation. A script is a function in
 * parentheses, in ASCII: read as bytes of Latin 1, it takes half the memory, and nothing is decoded.
 */
import { parseAst } from "rolldown/parseAst"
import type { OutputChunk, Plugin } from "rolldown"

const scriptOf = (file: string) => file.replace(/\.js$/, ".script.js")

const ascii = (code: string): string =>
  code.replace(/[^\x00-\x7f]/g, letter => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** The names of an import or export list: `a as b`, or `a`. */
const pairsOf = (list: string): ReadonlyArray<readonly [string, string]> =>
  list
    .split(",")
    .filter(each => each !== "")
    .map(each => each.split(" as ") as [string, string?])
    .map(([name, other = name]) => [name, other])

const lastList = /export\{([^}]*)\};?\s*$/
/** The bundler's helpers do nothing by being loaded. */
const bare = /import"\.\/rolldown-runtime[^"]*";/g
const firstImport = /^import\{(\w+) as (\w+)\}from"\.\/(rolldown-runtime[^"]*)";/

/** An importer gets values where a module gives bindings: those that are exported must not change. (Our lazy functions do, into themselves.) */
const refuseChanging = (code: string, names: ReadonlySet<string>): void => {
  for (const statement of parseAst(code).body)
    if (statement.type === "VariableDeclaration" && statement.kind === "let")
      for (const { id, init } of statement.declarations)
        if (id.type === "Identifier" && names.has(id.name) && init?.type !== "ArrowFunctionExpression")
          throw new Error(`${id.name} is exported by the script and may change`)
}

/** Imports of what stays outside: native packages, which are CommonJS. */
const packages = /(^|;)import ([\w$]+) from"([^".][^"]*)";/gm
const required = `process.getBuiltinModule("node:module").createRequire(url)`

/** Where `import(…)` begins in a piece of code. */
const dynamicImports = (node: unknown): ReadonlyArray<number> => {
  if (typeof node !== "object" || node === null) return []
  const here = "type" in node && node.type === "ImportExpression" && "start" in node ? [node.start as number] : []
  return [...here, ...Object.values(node).flatMap(dynamicImports)]
}

/** A script has an `import` of its own only with an experimental feature of Node, which warns of itself: it is given one. */
const importing = (code: string): string => {
  const starts = [...dynamicImports(parseAst(code))].sort((a, b) => a - b)
  const pieces = [0, ...starts.map(start => start + "import".length)].map((from, i) => code.slice(from, starts[i]))
  return pieces.join("$import")
}

/** The script of a module that imports no chunk. */
const wrapped = (module: string): string => {
  const code = importing(module)
  const result = pairsOf(lastList.exec(code)?.[1] ?? "").map(([name, other]) => `${other}:${name}`)
  const body = code
    .replace(lastList, "")
    .replace(
      packages,
      (_, before: string, name: string, from: string) => `${before}const ${name}=${required}(${JSON.stringify(from)});`
    )
    .replaceAll("import.meta.url", "url")
  return ascii(`(function(url,$import){"use strict";${body};return{${result.join(",")}}})`)
}

/** Makes a script of a build that is one chunk, which nothing imports. */
export const onlyScript: Plugin = {
  name: "onlyScript",
  generateBundle(_, bundle) {
    for (const [name, chunk] of Object.entries(bundle)) {
      if (chunk.type !== "chunk") throw new Error(`${name} is not wanted`)
      this.emitFile({ type: "asset", fileName: scriptOf(chunk.fileName), source: wrapped(chunk.code) })
      delete bundle[name]
    }
  }
}

/** Makes one chunk a script. In its place stays a module whose default export is what the script exports; importers take it from there. */
export const oneScript = (isIt: (chunk: OutputChunk) => boolean): Plugin => ({
  name: "oneScript",
  generateBundle(_, bundle) {
    const chunks = Object.values(bundle).filter(each => each.type === "chunk")
    const chunk = chunks.find(isIt)
    const loader = chunks.find(({ code, isEntry, name }) => !isEntry && name === "script" && lastList.test(code))
    if (chunk === undefined || loader === undefined) throw new Error("there is no such chunk")
    const place = chunk.fileName
    const exported = pairsOf(lastList.exec(chunk.code)?.[1] ?? "")
    refuseChanging(chunk.code, new Set(exported.map(([name]) => name)))
    const runtime = firstImport.exec(chunk.code)
    let code = chunk.code.replace(firstImport, "")
    if (runtime !== null) {
      const whole = (bundle[runtime[3]!] as OutputChunk).code
      const local = pairsOf(lastList.exec(whole)![1]!).find(([, name]) => name === runtime[1])![0]
      code = `${whole.replace(lastList, "")}${local === runtime[2] ? "" : `const ${runtime[2]}=${local};`}${code}`
    }
    this.emitFile({ type: "asset", fileName: scriptOf(place), source: wrapped(code) })
    // With the loader in it: each module that a process loads costs it about a millisecond.
    const file = `process.getBuiltinModule("node:url").fileURLToPath(new URL("./${scriptOf(place)}",import.meta.url))`
    const load = pairsOf(lastList.exec(loader.code)![1]!)[0]![0]
    chunk.code = `${loader.code.replace(bare, "").replace(lastList, "")};export default ${load}(${file});`
    const taken = new RegExp(`(import|export)\\{([^}]*)\\}from"\\./${place.replaceAll(".", "\\.")}";?`, "g")
    for (const other of chunks) {
      if (other === chunk) continue
      other.code = other.code.replace(bare, "")
      const locals: Array<string> = []
      other.code = other.code.replace(taken, (_, what: string, list: string) => {
        const pairs = pairsOf(list)
        const names = pairs.map(([name, local], i) => [name, what === "import" ? local : `$taken${i}`, local])
        const exports = names.map(([, local, name]) => `${local} as ${name}`)
        locals.push(`const{${names.map(([name, local]) => `${name}:${local}`).join(",")}}=$script;`)
        if (what === "export") locals.push(`export{${exports.join(",")}};`)
        return `import $script from"./${place}";`
      })
      // After all imports: what follows may use the names at once.
      const end = /^(?:import[^;]*;)*/.exec(other.code)![0].length
      other.code = other.code.slice(0, end) + locals.join("") + other.code.slice(end)
    }
  }
})
