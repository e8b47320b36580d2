/** The Python of this machine, and what of the file system it needs: all that a sandboxed program sees. */
import { execFile } from "node:child_process"
import { existsSync, lstatSync, readlinkSync, realpathSync } from "node:fs"
import { homedir } from "node:os"
import { delimiter, dirname, isAbsolute, join, resolve } from "node:path"
import { Effect, Option, Schema } from "effect"
import { permanent, type StageError } from "../pipeline/StageError.ts"

/** The variable that names the interpreter. */
export const interpreterVariable = "PIPELINE_SANDBOX_PYTHON"

export interface Interpreter {
  /** Absolute. */
  readonly path: string
  /** As in `3.11.7`. */
  readonly version: string
  /** Files and directories that are bound, read-only, in this order. */
  readonly binds: ReadonlyArray<string>
}

const Said = Schema.fromJsonString(
  Schema.Struct({
    version: Schema.String,
    executable: Schema.String,
    prefixes: Schema.Array(Schema.String)
  })
)

const question = `import json, sys
print(json.dumps({"version": sys.version.split()[0], "executable": sys.executable, "prefixes": [sys.prefix, sys.base_prefix, sys.exec_prefix]}))`

/** Of a whole system's tree only the libraries are bound: no shell, and no program but Python. */
const systemPrefixes = ["/usr", "/usr/local"]
const libraries = ["lib", "lib64", "lib32"]

/** Where the loader looks for shared libraries, and how it finds them. */
const loader = [
  "/lib",
  "/lib64",
  "/lib32",
  ...systemPrefixes.flatMap(prefix => libraries.map(name => join(prefix, name))),
  "/etc/ld.so.cache",
  // Where NixOS has all of them, and nothing that is secret.
  "/nix/store"
]

/** The file of a program, by the directories of PATH. */
export const programIn = (name: string, environment: NodeJS.ProcessEnv = process.env): string | undefined =>
  isAbsolute(name)
    ? [name].find(existsSync)
    : (environment["PATH"] ?? "")
        .split(delimiter)
        .filter(isAbsolute)
        .map(directory => join(directory, name))
        .find(existsSync)

/** A path, and where it leads, link by link. */
const hops = (path: string): ReadonlyArray<string> => {
  const found = [path]
  for (let at = path; lstatSync(at).isSymbolicLink() && found.length < 40;) {
    at = resolve(dirname(at), readlinkSync(at))
    found.push(at)
  }
  return [...found, realpathSync(path)]
}

/** Asks the interpreter that the environment names, or else the active virtual environment's, or `python3`. */
export const findInterpreter = (
  environment: NodeJS.ProcessEnv = process.env
): Effect.Effect<Interpreter, StageError> => {
  const virtual = environment["VIRTUAL_ENV"] || undefined
  const named = environment[interpreterVariable] || (virtual === undefined ? "python3" : join(virtual, "bin", "python"))
  const program = programIn(named, environment)
  const advice = `install python3, or name another interpreter by its path in ${interpreterVariable}`
  if (program === undefined)
    return Effect.fail(permanent(`the sandbox finds no Python to run programs with: ${named} is not there`, advice))
  return Effect.gen(function* () {
    const answer = yield* Effect.callback<string, StageError>(resume => {
      execFile(program, ["-I", "-c", question], { timeout: 30_000, env: environment }, (error, stdout) =>
        resume(error === null ? Effect.succeed(stdout) : Effect.fail(permanent(`${program}: ${error.message}`, advice)))
      )
    })
    const said = Schema.decodeUnknownOption(Said)(answer.trim())
    if (Option.isNone(said)) return yield* permanent(`${program} does not answer as Python does`, advice)
    const { executable, prefixes, version } = said.value
    const wide = prefixes.find(directory => [resolve(homedir()), "/"].includes(resolve(directory)))
    if (wide !== undefined)
      return yield* permanent(
        `${executable} wants to see all of ${wide}, which programs in the sandbox must not`,
        `name an interpreter in ${interpreterVariable} that lies in a directory of its own`
      )
    // Of `sys.path` only what lies in them: a package that is edited elsewhere would show a user's folder.
    const own = prefixes.filter(directory => !systemPrefixes.includes(resolve(directory)))
    const trees = [...new Set([...loader, ...own].filter(existsSync))]
    // What lies in a tree is there with it, links as links.
    const links = hops(executable).filter(path => !trees.some(tree => path.startsWith(`${tree}/`)))
    return { path: executable, version, binds: [...trees, ...new Set(links)] }
  })
}
