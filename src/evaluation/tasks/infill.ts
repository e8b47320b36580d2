/**
 * HumanEval-Infill (Bavarian et al. 2022, arXiv:2207.14255): a part of a right solution is taken out and to be filled in. Problems of one line and of several are made of HumanEval's own file, byte for byte
 * as published; random spans have a file of their own.
 */
import { Schema } from "effect"
import { HumanEvalRow } from "./humaneval.ts"
import { checkProgram, Identifier } from "./python.ts"
import type { Item, Protocol, ProtocolSettings, Suite } from "./Task.ts"

export const InfillRow = Schema.Struct({
  task_id: Schema.NonEmptyString,
  /** What stands before the gap. */
  prompt: Schema.String,
  suffix: Schema.String,
  canonical_solution: Schema.String,
  test: Schema.NonEmptyString,
  entry_point: Identifier
})
export type InfillRow = typeof InfillRow.Type

/**
 * The problems of one solution: a run of its lines from i to j, both of which have more than blanks in them, is the gap. Numbers of lines in the names count blank ones, too. A line break stands
 * before the gap even where it is the first line, as in the published files.
 */
const cut = (row: HumanEvalRow, several: boolean): ReadonlyArray<InfillRow> => {
  const lines = row.canonical_solution.split("\n")
  const written = [...lines.keys()].filter(i => lines[i]!.trim() !== "")
  const pairs = several
    ? written.flatMap(i => written.filter(j => j >= i).map(j => [i, j] as const))
    : written.map(i => [i, i] as const)
  return pairs.map(([i, j]) => ({
    task_id: several ? `MultiLineInfilling/${row.task_id}/L${i}_L${j}` : `SingleLineInfilling/${row.task_id}/L${i}`,
    prompt: `${row.prompt}${lines.slice(0, i).join("\n")}\n`,
    suffix: lines.slice(j + 1).join("\n"),
    canonical_solution: `${lines.slice(i, j + 1).join("\n")}\n`,
    test: row.test,
    entry_point: row.entry_point
  }))
}

/** A gap of one line at each line of the solutions. */
export const singleLine = (rows: ReadonlyArray<HumanEvalRow>): ReadonlyArray<InfillRow> =>
  rows.flatMap(row => cut(row, false))

/** A gap at each run of lines. */
export const multiLine = (rows: ReadonlyArray<HumanEvalRow>): ReadonlyArray<InfillRow> =>
  rows.flatMap(row => cut(row, true))

/** Of a response to a gap of one line, that line. */
const firstLine = (response: string): string => {
  const end = response.indexOf("\n")
  return end < 0 ? response : response.slice(0, end + 1)
}

/** Open-dLLM's settings for all infilling. */
const settings: Omit<ProtocolSettings, "newTokens"> = {
  samples: 1,
  ks: [1],
  steps: 64,
  decoding: { temperature: 0.6, topP: 0.95, alg: "p2" }
}

/** Where the length of what is missing is not told. */
const fixedTokens = 64

const fill =
  (completion: (response: string) => string, oracle: boolean) =>
  (row: InfillRow): Item => ({
    id: row.task_id,
    prompt: row.prompt,
    gap: { suffix: row.suffix, ...(oracle ? { lengthOf: row.canonical_solution } : {}) },
    answer: row.canonical_solution,
    completion,
    judge: found => ({ program: checkProgram(row.prompt + found + row.suffix, row) })
  })

const whole = (response: string): string => response

const protocolsOf = <Row>(
  problems: (rows: ReadonlyArray<Row>) => ReadonlyArray<InfillRow>,
  completion: (response: string) => string
): { readonly [name: string]: Protocol<Row> } => {
  const shared = "Open-dLLM's: one sample at temperature 0.6 and top_p 0.95, 64 steps by p2"
  return {
    fixed: {
      about: `${shared}; the gap has ${fixedTokens} tokens, whatever is missing`,
      settings: { ...settings, newTokens: fixedTokens },
      items: rows => problems(rows).map(fill(completion, false))
    },
    oracle: {
      about: `${shared}; the gap has as many tokens as the right answer, which tells the model its length`,
      settings: { ...settings, newTokens: fixedTokens },
      items: rows => problems(rows).map(fill(completion, true))
    }
  }
}

export const infillSingleLine: Suite<HumanEvalRow> = {
  name: "humaneval-infill-single-line",
  row: HumanEvalRow,
  unique: "task_id",
  runs: true,
  gaps: true,
  problems: 1033,
  protocols: protocolsOf(singleLine, firstLine)
}

export const infillMultiLine: Suite<HumanEvalRow> = {
  name: "humaneval-infill-multi-line",
  row: HumanEvalRow,
  unique: "task_id",
  runs: true,
  gaps: true,
  problems: 5815,
  protocols: protocolsOf(multiLine, whole)
}

const spans = protocolsOf<InfillRow>(rows => rows, whole)

export const infillRandomSpan: Suite<InfillRow> = {
  name: "humaneval-infill-random-span",
  row: InfillRow,
  unique: "task_id",
  runs: true,
  gaps: true,
  problems: 1640,
  protocols: spans
}

export const infillRandomSpanLight: Suite<InfillRow> = {
  name: "humaneval-infill-random-span-light",
  row: InfillRow,
  unique: "task_id",
  runs: true,
  gaps: true,
  problems: 164,
  protocols: spans
}

export const suites = {
  "humaneval-infill-single-line": infillSingleLine,
  "humaneval-infill-multi-line": infillMultiLine,
  "humaneval-infill-random-span": infillRandomSpan,
  "humaneval-infill-random-span-light": infillRandomSpanLight
} as const
