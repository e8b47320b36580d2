/** The loading of a stage in its action's process: exactly the modules that the key was made from, byte by byte. */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { join, sep } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { sha256 } from "../pipeline/Digest.ts"
import { isStage } from "../pipeline/Stage.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import type { LoadStage } from "./Child.ts"
import type { Request } from "./Request.ts"

/** Loads stages for one action. `root`: where this program lies, whose own modules nobody edits while it runs. */
export const makeLoad = (root: string): LoadStage => {
  let refused: StageError | undefined
  const load = async ({ export: name, loadable, module }: Request["stage"]) => {
    if (loadable !== undefined) {
      const ours = ["dist", "src"].map(folder => join(root, folder) + sep)
      watchLoads(ours, new Map(loadable), error => {
        refused ??= error
      })
    }
    const stage = ((await import(pathToFileURL(module).href)) as Record<string, unknown>)[name]
    if (!isStage(stage)) throw new Error(`its export ${name} is no stage`)
    return stage
  }
  return Object.assign(load, { refused: () => refused })
}

/** Node reads a module once; what it read is compared before it runs, and handed on as it is. */
const watchLoads = (
  ours: ReadonlyArray<string>,
  known: ReadonlyMap<string, string>,
  onRefused: (error: StageError) => void
): void => {
  const refuse = (error: StageError): never => {
    onRefused(error)
    throw error
  }
  registerHooks({
    load: (url, context, next) => {
      const loaded = next(url, context)
      if (!url.startsWith("file:")) return loaded
      const path = fileURLToPath(url)
      const expected = known.get(path)
      if (expected === undefined) {
        if (ours.some(folder => path.startsWith(folder)) || path.includes(`${sep}node_modules${sep}`)) return loaded
        return refuse(
          permanent(
            `the stage loaded ${path}, which its key does not cover`,
            "write the names of modules that are loaded as literals, or list the module in `files` of the stage"
          )
        )
      }
      if (!isContent(path, loaded.source, expected))
        refuse(new StageError({ class: "stale", message: `${path} changed` }))
      return loaded
    }
  })
}

const isContent = (
  path: string,
  source: string | ArrayBuffer | NodeJS.TypedArray | null | undefined,
  expected: string
): boolean => {
  // Native code is read by the system.
  if (source === null || source === undefined) return sha256(readFileSync(path)) === expected
  if (typeof source !== "string") {
    const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source
    return sha256(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)) === expected
  }
  if (sha256(source) === expected) return true
  // A text that was decoded with replacements, or without its mark, is not what the digest was taken of.
  const bytes = readFileSync(path)
  return sha256(bytes) === expected && bytes.toString("utf8").replace(/^\uFEFF/, "") === source.replace(/^\uFEFF/, "")
}
