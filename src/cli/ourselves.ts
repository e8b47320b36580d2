/** Lets a user's pipeline file import this package by name wherever the file lies. */
import { registerHooks } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { dist, root } from "./home.ts"

export const resolveOurselves = (): void => {
  const entry = pathToFileURL(dist === undefined ? join(root, "src", "index.ts") : join(dist, "index.js")).href
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "dllm-pipeline"
        ? { url: entry, shortCircuit: true, format: dist === undefined ? "module-typescript" : "module" }
        : next(specifier, context)
  })
}
