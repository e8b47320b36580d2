/**
 * Loads a part of the built program that is one script (scripts/oneScript.ts), with what V8 compiled of it in an earlier process. Node's own cache
 * does the same for modules, in twice the time: it decodes and sums source and cache, and links each name.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { Script } from "node:vm"

/** What a script is as a value: called once, with its address and what `import()` does there, it gives what it exports. */
type Wrapper = (url: string, load: (specifier: string) => Promise<unknown>) => unknown

/** Of processes that do different things, each kind has what it needs compiled: programs by their name, and runs apart from other verbs. */
const kind = process.argv[2] === "run" ? "run" : basename(process.argv[1] ?? "").replace(/\.m?js$/, "")

/** No cache where Node would have none, either: coverage counts what is compiled anew. */
const isKept = process.env["NODE_DISABLE_COMPILE_CACHE"] === undefined && process.env["NODE_V8_COVERAGE"] === undefined

/** Loads `file`; what it exports. */
export const loadScript = (file: string, role = kind): unknown => {
  const place = `${keptFor(file)}.${role}.${process.version}.${process.arch}`
  const cachedData = isKept ? readKept(place) : undefined
  const script = new Script(readFileSync(file, "latin1"), { filename: file, cachedData })
  // By the end, what such a process calls is compiled; unless it failed, and called little.
  if (isKept && (cachedData === undefined || script.cachedDataRejected === true))
    process.once("exit", code => {
      if (code === 0) keep(place, script.createCachedData())
    })
  const { href } = pathToFileURL(file)
  const load = (specifier: string) => import(specifier.startsWith(".") ? new URL(specifier, href).href : specifier)
  return (script.runInThisContext() as Wrapper)(href, load)
}

/** Beside what Node keeps, in a folder of the build's name. */
const keptFor = (file: string): string => {
  const build = dirname(file)
  return join(build, "..", "..", "node_modules", ".cache", "pipeline", basename(build), basename(file))
}

const readKept = (place: string): Buffer | undefined => {
  try {
    return readFileSync(place)
  } catch {
    return undefined
  }
}

/** V8 believes what it is given: the file is there as a whole, after a power cut, too, or not at all. */
const keep = (place: string, data: Buffer): void => {
  const fresh = `${place}.${process.pid}`
  try {
    mkdirSync(dirname(place), { recursive: true })
    const file = openSync(fresh, "w")
    try {
      writeSync(file, data)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(fresh, place)
  } catch {
    // Where nothing may be written, or the disk is full, each process compiles anew.
  }
}
