/** SantaCoder's fill-in-the-middle task (Ben Allal et al. 2023, arXiv:2301.03988): one line of a function of HumanEval, in Python, Java or JavaScript, which must be the very same. */
import { Schema } from "effect"
import type { Protocol, Suite } from "./Task.ts"

export const SantaFimRow = Schema.Struct({
  prompt: Schema.String,
  suffix: Schema.String,
  canonical_solution: Schema.NonEmptyString,
  name: Schema.optionalKey(Schema.String),
  language: Schema.optionalKey(Schema.String)
})
export type SantaFimRow = typeof SantaFimRow.Type

/** Open-dLLM's reading of a response: its first line, or the second where the first is empty; blanks around it do not count. */
const line = (response: string): string => {
  const [first = "", second = ""] = response.split("\n")
  return (/^ ?\n/.test(response) ? second : first).trim()
}

/** Where the length of what is missing is not told. */
const fixedTokens = 64

const protocol = (oracle: boolean): Protocol<SantaFimRow> => ({
  about: `Open-dLLM's: one sample at temperature 0.6 and top_p 0.95, 64 steps by p2; exact match of the line; the gap has ${oracle ? "as many tokens as the right answer" : `${fixedTokens} tokens, whatever is missing`}`,
  settings: {
    samples: 1,
    ks: [1],
    newTokens: fixedTokens,
    steps: 64,
    decoding: { temperature: 0.6, topP: 0.95, alg: "p2" }
  },
  items: rows =>
    rows.map((row, i) => ({
      id: `${[row.language, row.name].filter(part => part !== undefined).join("/") || "SantaFIM"}/${i}`,
      prompt: `${row.prompt}\n`,
      gap: { suffix: row.suffix, ...(oracle ? { lengthOf: row.canonical_solution } : {}) },
      answer: row.canonical_solution,
      completion: response => response,
      judge: completion => {
        const found = line(completion)
        return { outcome: found === "" ? "missing" : found === row.canonical_solution.trim() ? "right" : "wrong" }
      }
    }))
})

export const santaFim: Suite<SantaFimRow> = {
  name: "santa-fim",
  row: SantaFimRow,
  runs: false,
  gaps: true,
  problems: 1043,
  protocols: { fixed: protocol(false), oracle: protocol(true) }
}

export const suites = { "santa-fim": santaFim } as const
