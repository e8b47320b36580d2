/** ONNX Runtime as a package brings it: its JavaScript, and its libraries for Linux. docs/decisions/055-the-package-brings-its-runtime.md says why. */
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** Folders of each package that are needed to run it. */
const needed = {
  "onnxruntime-node": ["dist", "bin/napi-v6/linux/x64", "bin/napi-v6/linux/arm64"],
  "onnxruntime-common": ["dist/cjs"]
} as const

/** What Node and the license ask of a `package.json`; scripts, and what is needed for those alone, are left out. */
const kept = ["name", "version", "license", "author", "repository", "main"] as const

/** Copies the packages below `directory`, which is Node's name for it, `node_modules`. */
export const copyRuntime = (root: string, directory: string): void => {
  for (const [name, folders] of Object.entries(needed)) {
    const from = join(root, "node_modules", name)
    const to = join(directory, name)
    for (const folder of folders) {
      if (!existsSync(join(from, folder)))
        throw new Error(
          `${join(from, folder)} is not there: has ${name} another layout than 1.30? see ${import.meta.filename}`
        )
      mkdirSync(join(to, folder), { recursive: true })
      cpSync(join(from, folder), join(to, folder), { recursive: true, filter: path => !/\.(d\.ts|map)$/.test(path) })
    }
    const manifest = JSON.parse(readFileSync(join(from, "package.json"), "utf8")) as {
      readonly [field: string]: unknown
    }
    const own = Object.fromEntries(kept.map(field => [field, manifest[field]]))
    writeFileSync(join(to, "package.json"), `${JSON.stringify(own, undefined, 2)}\n`)
    copyFileSync(join(import.meta.dirname, "licences", "onnxruntime.txt"), join(to, "LICENSE"))
  }
}
