/** Licences of the packages whose code a build holds: whoever gets the build gets them, too. */
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs"
import { isBuiltin } from "node:module"
import { join } from "node:path"
import { external } from "../external.ts"

interface Manifest {
  readonly version: string
  readonly license?: string
  readonly dependencies?: { readonly [name: string]: string }
}

const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest

/** Packages that a source names: `from "a/b"`, `import("@a/b/c")`. */
const packagesIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/(?:^(?:import|export)\b.*? from |^\} from |\bimport\()"((?:@[\w.-]+\/)?[\w.-]+)[^"]*"/gm)].map(
    ([, name]) => name!
  )

/** Packages that our sources import, sorted. */
export const importedPackages = (root: string): ReadonlyArray<string> => {
  const files = globSync(["src/**/*.ts", "stages/**/*.ts", "pipelines/**/*.ts"], { cwd: root })
  const names = files.flatMap(file => packagesIn(readFileSync(join(root, file), "utf8")))
  return [...new Set(names)]
    .filter(name => !isBuiltin(name) && !name.startsWith(".") && !/^dllm-pipeline\b/.test(name))
    .sort()
}

/** The text of the file: every package that is bundled or that one of those depends on, with its licence. */
export const noticesOf = (root: string): string => {
  const outside = new Set(external.filter(name => typeof name === "string"))
  const pending = importedPackages(root).filter(name => !outside.has(name))
  const notices = new Map<string, string>()
  while (pending.length > 0) {
    const name = pending.pop()!
    const folder = join(root, "node_modules", name)
    if (notices.has(name) || !existsSync(folder)) continue
    const { dependencies = {}, license = "no licence named", version } = manifestOf(folder)
    const file = readdirSync(folder).find(each => /^licen[cs]e(\.|$)/i.test(each))
    const text = file === undefined ? "" : `\n${readFileSync(join(folder, file), "utf8").trim()}\n`
    notices.set(name, `${name} ${version}: ${license}\n${text}`)
    pending.push(...Object.keys(dependencies))
  }
  const sorted = [...notices].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, notice]) => notice)
  return `The build in this folder holds code of these packages.\n\n${sorted.join(`\n${"-".repeat(80)}\n\n`)}`
}
