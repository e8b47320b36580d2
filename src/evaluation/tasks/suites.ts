/** The suites that the pipeline `evaluate` may ask, by name. Each file is loaded by itself, so that the keys of one benchmark hold no code of another. */
import type { AnySuite } from "./Task.ts"

/** The module beside this one that has each. */
export const suiteModules = {
  humaneval: "humaneval",
  "humaneval-plus": "humaneval",
  mbpp: "mbpp",
  "mbpp-plus": "mbpp",
  "humaneval-infill-single-line": "infill",
  "humaneval-infill-multi-line": "infill",
  "humaneval-infill-random-span": "infill",
  "humaneval-infill-random-span-light": "infill",
  "santa-fim": "santaFim",
  gsm8k: "gsm8k",
  "math-500": "math500",
  chain: "ownSuites",
  fill: "ownSuites",
  order: "ownSuites",
  solve: "ownSuites",
  sort: "ownSuites",
  sudoku: "ownSuites"
} as const

export type SuiteName = keyof typeof suiteModules
export const suiteNames = Object.keys(suiteModules) as ReadonlyArray<SuiteName>

const modules = {
  humaneval: () => import("./humaneval.ts"),
  mbpp: () => import("./mbpp.ts"),
  infill: () => import("./infill.ts"),
  santaFim: () => import("./santaFim.ts"),
  gsm8k: () => import("./gsm8k.ts"),
  math500: () => import("./math500.ts"),
  ownSuites: () => import("./ownSuites.ts")
} as const

export const loadSuite = async (name: SuiteName): Promise<AnySuite> => {
  const { suites } = await modules[suiteModules[name]]()
  return (suites as { readonly [name: string]: unknown })[name] as AnySuite
}
