/** The package for others, made from a copy of this checkout, so that other suites keep theirs as it is. */
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs"
import { createRequire } from "node:module"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const require = createRequire(import.meta.url)

/** The environment of a person's shell: npm tells what it starts about itself, and our `npm test` would be taken for theirs. */
export const shell: NodeJS.ProcessEnv = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_|^(INIT_CWD|FORCE_COLOR|NODE_ENV|VITEST.*|PIPELINE_.*)$/.test(name)
    )
  ),
  NO_COLOR: "1"
}

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command in a directory, to its end. */
export const command = (directory: string, program: string, ...words: ReadonlyArray<string>): Ended => {
  const { error, status, stderr, stdout } = spawnSync(program, words, {
    cwd: directory,
    encoding: "utf8",
    env: shell,
    maxBuffer: 2 ** 28
  })
  if (error !== undefined) throw error
  return { code: status, stdout, stderr }
}

/** As `command`; throws where it fails. */
export const must = (directory: string, program: string, ...words: ReadonlyArray<string>): Ended => {
  const ended = command(directory, program, ...words)
  if (ended.code !== 0)
    throw new Error(`${[program, ...words].join(" ")}: ${ended.code}\n${ended.stdout}${ended.stderr}`)
  return ended
}

/** TypeScript's compiler of this checkout, in another directory. */
export const tsc = (directory: string, ...words: ReadonlyArray<string>): Ended =>
  command(
    directory,
    process.execPath,
    join(dirname(require.resolve("typescript/package.json")), "bin", "tsc"),
    ...words
  )

/** A copy of all that a package is made from. */
export const copyCheckout = (to: string): void => {
  const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly files: ReadonlyArray<string>
  }
  const made = ["src", "stages", "pipelines", "scripts", "tsconfig.json", "package.json", "README.md"]
  for (const part of new Set([...files.filter(each => !each.startsWith("!") && each !== "dist"), ...made]))
    cpSync(join(root, part), join(to, part), { recursive: true })
  // Of the builds, the one that counts.
  const entry = readFileSync(join(root, "dist", "main.js"), "utf8")
  const build = /"\.\/([0-9a-f]+)\/main\.js"/.exec(entry)![1]!
  cpSync(join(root, "dist"), join(to, "dist"), {
    recursive: true,
    filter: path => !/^[0-9a-f]{16}$/.test(basename(path)) || basename(path) === build
  })
  symlinkSync(join(root, "node_modules"), join(to, "node_modules"))
}

/** Packs the checkout `from` into the folder `to`; the archive's path, and what it holds. */
export const pack = (from: string, to: string, ...flags: ReadonlyArray<string>) => {
  const { stdout } = must(from, "npm", "pack", "--json", "--pack-destination", to, ...flags)
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf("["))) as ReadonlyArray<{
    readonly filename: string
    readonly size: number
    readonly unpackedSize: number
    readonly files: ReadonlyArray<{ readonly path: string }>
  }>
  return { ...packed!, archive: join(to, packed!.filename) }
}

/** Links packages of this checkout, and all that they need, into a `node_modules`. */
export const link = (names: ReadonlyArray<string>, modules: string): void => {
  const pending = [...names]
  while (pending.length > 0) {
    const name = pending.pop()!
    const from = join(root, "node_modules", name)
    const to = join(modules, name)
    // An optional one may be for another machine.
    if (existsSync(to) || !existsSync(from)) continue
    mkdirSync(dirname(to), { recursive: true })
    symlinkSync(from, to)
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      readFileSync(join(from, "package.json"), "utf8")
    ) as { readonly [field: string]: { readonly [name: string]: string } }
    pending.push(...Object.keys(dependencies), ...Object.keys(optionalDependencies))
  }
}
