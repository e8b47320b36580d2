/** What a reader must know before any number of a report on a grid: what was compared, on what, where and when it was timed, and what the figures are. */
import { count } from "../pipeline/units.ts"
import type { BenchmarkResult } from "../evaluation/results.ts"
import type { GridReport } from "./gridReport.ts"
import { type GridRow, taskNames } from "./rows.ts"

/** What columns are, by the beginnings of their ids, in a sentence. */
const meanings: { readonly [id: string]: readonly [name: string, meaning: string] } = {
  bound: [
    "bound",
    "how well the row predicts held-out text: an upper bound of its negative log-likelihood, in nats per token; lower is better, and the exact value of a model that reads token by token stands beside it"
  ],
  bitsPerByte: ["bits/byte", "the same per byte of text, comparable between tokenizers"],
  lossAtRatio: ["CE t", "loss on masked tokens where a share t of the text is masked; lower is better"],
  autoregressiveLoss: ["CE causal", "loss of the same weights as an autoregressive model: what is left of it"],
  teacherDistance: ["1 − cos", "how far the row's hidden states under masks are from the teacher's on the clean text"],
  reconstruction: ["reconstructed", "the share of tokens that an auto-encoder of latents brings back"],
  teacherPerplexity: [
    "perplexity",
    "of texts that the row wrote, under the teacher and under an n-gram model; low is good only where texts do not repeat themselves"
  ],
  distinct2: ["distinct-2, repetition, entropy", "how varied the texts are"],
  tokensPerForward: ["tokens/forward", "tokens that one pass of the model gives: what diffusion models are for"],
  usefulTokensPerSecond: ["tok/s", "tokens a second; useful ones are those before the end of a text"],
  compute: ["compute", "operations of the matrix products of the training"]
}

/** A word, and what it means. */
export type Meaning = readonly [name: string, meaning: string]

export interface Introduction {
  readonly paragraphs: ReadonlyArray<string>
  readonly meanings: ReadonlyArray<Meaning>
}

export const introduction = (report: GridReport): Introduction => {
  const { grid, parallelism, rows } = report
  const known = Object.entries(meanings).flatMap(([id, meaning]) =>
    grid.columns.some(column => column.id === id || column.id.startsWith(`${id}.`)) ? [meaning] : []
  )
  return {
    paragraphs: [
      `${rows.length === 1 ? "One way" : `${count(rows.length)} ways`} to make a diffusion language model of one autoregressive model, the teacher. A diffusion language model starts from a text of masks and reveals several tokens in each forward pass, in any order; what this page shows is how well each row predicts and writes text${parallelism === undefined ? "" : ", and how many of its answers stay right when it reveals more tokens at a time"}.`,
      ...measuredOn(rows),
      ...timedOn(rows.flatMap(({ runs }) => runs.flatMap(({ benchmark }) => benchmark?.content ?? []))),
      "Brackets are 95 % intervals, unless a footnote says otherwise. Where a row cannot have a number it says n/a, and why."
    ],
    meanings: [
      ...known,
      ...(parallelism === undefined
        ? []
        : ([
            [
              "AUP",
              "accuracy under parallelism: the area under right answers, in per cent, by tokens per forward pass; one token a pass alone gives it the per cent that are right"
            ]
          ] as const))
    ]
  }
}

/** What the rows were measured on. */
const measuredOn = (rows: ReadonlyArray<GridRow>): ReadonlyArray<string> => {
  const [run] = rows.flatMap(({ runs }) => runs)
  const held = run?.likelihood?.content.documents.length
  const problems = taskNames(rows).flatMap(name => {
    const [asked] = rows.flatMap(({ runs }) =>
      runs.flatMap(({ tasks }) => tasks.filter(({ content }) => content.task === name))
    )
    return asked === undefined ? [] : [`${count(asked.content.problems)} of ${name}`]
  })
  const parts = [
    ...(held === undefined ? [] : [`${count(held)} held-out documents`]),
    ...(problems.length === 0 ? [] : [`problems (${problems.join(", ")})`])
  ]
  return parts.length === 0 ? [] : [`All rows were measured on the same ${parts.join(" and the same ")}.`]
}

/** Where and when decoding was timed; undefined parts are left out. */
const timedOn = (results: ReadonlyArray<BenchmarkResult>): ReadonlyArray<string> => {
  const places = new Set(
    results.flatMap(({ engine, machine }) =>
      machine === undefined
        ? []
        : [
            `${machine.processor}, ${count(machine.processors)} processors, ${new Date(machine.at).toISOString().slice(0, 10)}, engine ${engine}`
          ]
    )
  )
  return places.size === 0 ? [] : [`Speed was measured on: ${[...places].join("; ")}.`]
}
