/** Lets a user's pipeline file import this package by name wherever the file lies. */
import { registerHooks } from "node:module"
import { ownPackage } from "./Fingerprint.ts"

const isSource = import.meta.url.endsWith(".ts")

const entry = new URL(isSource ? "../index.ts" : "./index.js", import.meta.url).href
const format = isSource ? "module-typescript" : "module"

export const resolveOurselves = (): void => {
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === ownPackage ? { url: entry, shortCircuit: true, format } : next(specifier, context)
  })
}
