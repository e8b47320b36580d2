/** Lets a user's file import this package by name wherever the file lies: in the program, in an action's process, and in a thread that evaluates an identity. */
import { registerHooks } from "node:module"
import { entries, isEntry } from "./Entries.ts"

/** Of the sources, or of the build that this module is a part of. */
const isSource = import.meta.url.endsWith(".ts")

const urlOf = (entry: keyof typeof entries): string => {
  const { built, module } = entries[entry]
  return new URL(isSource ? `../../${module}` : `./${built}.js`, import.meta.url).href
}

export const resolveOurselves = (): void => {
  const format = isSource ? "module-typescript" : "module"
  registerHooks({
    resolve: (specifier, context, next) =>
      isEntry(specifier) ? { url: urlOf(specifier), shortCircuit: true, format } : next(specifier, context)
  })
}
