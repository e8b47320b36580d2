/** What the `package.json` of a project says of this program, so that npm finds it again where this installation is from. */
import { existsSync, readFileSync } from "node:fs"
import { join, relative, resolve, sep } from "node:path"

export interface Dependency {
  /** As npm reads it: an archive's path or address, or a version. */
  readonly specifier: string
  /** The checkout that has yet to pack the archive. */
  readonly unpacked?: string
}

/** Of the program that lies in `root`, for a project in `directory`. */
export const dependencyOf = (root: string, version: string, directory: string): Dependency => {
  const named = (archive: string) => `file:${relative(directory, archive)}`
  if (existsSync(join(root, "scripts", "build.ts"))) {
    const archive = join(root, `dllm-pipeline-${version}.tgz`)
    return { specifier: named(archive), ...(existsSync(archive) ? {} : { unpacked: root }) }
  }
  const resolved = resolvedBy(root)
  if (resolved === undefined) return { specifier: version }
  const { from, text } = resolved
  return { specifier: text.startsWith("file:") ? named(resolve(from, text.slice("file:".length))) : text }
}

/** Where npm has the package in `root` from, as its list of what it installed says; paths there are relative to `from`. */
const resolvedBy = (root: string): { readonly from: string; readonly text: string } | undefined => {
  const from = root.slice(0, root.indexOf(`${sep}node_modules${sep}`))
  const list = join(from, "node_modules", ".package-lock.json")
  if (from === root || !existsSync(list)) return undefined
  const { packages = {} } = JSON.parse(readFileSync(list, "utf8")) as {
    readonly packages?: { readonly [place: string]: { readonly resolved?: string } }
  }
  const text = packages[relative(from, root).split(sep).join("/")]?.resolved
  return text === undefined ? undefined : { from, text }
}
