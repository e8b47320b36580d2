/** The suites that the pipeline `evaluate` may ask, with what it must know of them before anything is loaded: protocols, their settings, and whether programs are run. */
import type { AnySuite } from "../src/evaluation/tasks/Task.ts"
import type { SuiteName } from "../src/evaluation/tasks/suites.ts"
import { suites as gsm8k } from "../src/evaluation/tasks/gsm8k.ts"
import { suites as humaneval } from "../src/evaluation/tasks/humaneval.ts"
import { suites as infill } from "../src/evaluation/tasks/infill.ts"
import { suites as math500 } from "../src/evaluation/tasks/math500.ts"
import { suites as mbpp } from "../src/evaluation/tasks/mbpp.ts"
import { suites as own } from "../src/evaluation/tasks/ownSuites.ts"
import { suites as santaFim } from "../src/evaluation/tasks/santaFim.ts"

/** Those whose problems ship with the program. */
export const shipped: ReadonlySet<string> = new Set(Object.keys(own))

export const suites = {
  ...humaneval,
  ...mbpp,
  ...infill,
  ...santaFim,
  ...gsm8k,
  ...math500,
  ...own
} as unknown as { readonly [name in SuiteName]: AnySuite }
