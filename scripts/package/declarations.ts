/** Declarations of what users' files import, as `tsc` writes them: so a user's `tsc` reads no source of ours. */
import { spawnSync } from "node:child_process"
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join, resolve } from "node:path"
import { entries } from "../../src/runner/Entries.ts"

const require = createRequire(import.meta.url)

/** Where a declaration names a module: `from "…"` and `import("…")`. */
const named = /(?<=\bfrom |\bimport\()"([^"]+)"/g

/** Comments may show imports of files that are not there. */
const withoutComments = (text: string): string => text.replace(/\/\*[^]*?\*\//g, "")

/** The declaration that the source `path` becomes. */
export const declarationOf = (path: string): string => path.replace(/\.ts$/, ".d.ts")

/** Writes declarations below `directory`, which is empty: those of the entries, and those that they refer to. */
export const writeDeclarations = (root: string, directory: string): void => {
  const tsc = join(dirname(require.resolve("typescript/package.json")), "bin", "tsc")
  const project = join(root, "scripts", "package", "tsconfig.json")
  const done = spawnSync(process.execPath, [tsc, "--project", project, "--outDir", directory], { encoding: "utf8" })
  if (done.status !== 0) throw new Error(`tsc wrote no declarations:\n${done.stdout}${done.stderr}`)
  const reached = reachedFrom(Object.values(entries).map(({ module }) => join(directory, declarationOf(module))))
  for (const file of globSync("**/*.d.ts", { cwd: directory }).map(each => join(directory, each))) {
    const text = reached.get(file)
    if (text === undefined) rmSync(file)
    // In a package, `./x.ts` would mean the source: it is not there.
    else
      writeFileSync(
        file,
        text.replace(named, (_, name: string) => `"${name.replace(/^(\..*)\.ts$/, "$1.js")}"`)
      )
  }
}

/** Texts of all declarations that these lead to, by their file. */
const reachedFrom = (files: ReadonlyArray<string>): ReadonlyMap<string, string> => {
  const reached = new Map<string, string>()
  const pending = [...files]
  while (pending.length > 0) {
    const file = pending.pop()!
    if (reached.has(file)) continue
    const text = readFileSync(file, "utf8")
    reached.set(file, text)
    for (const [, name] of withoutComments(text).matchAll(named))
      if (name!.startsWith(".")) pending.push(resolve(dirname(file), declarationOf(name!)))
  }
  return reached
}
