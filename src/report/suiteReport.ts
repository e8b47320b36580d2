/** The report on benchmarks: scores, and what is left of them as tokens are decoded more at a time, before it is written as Markdown, as a page or as JSON. */
import type { ChoicesResult, Judged, SampleSettings, Share, SuiteResult } from "../evaluation/suiteFiles.ts"
import { count } from "../pipeline/units.ts"
import { type Measured, measured } from "./parallelism.ts"
import { onTask, type Tally } from "./resampledAnswers.ts"
import { makeResampler, resampleCount } from "./statistics.ts"

/** A way in which the problems of a benchmark were answered. */
export interface Decoded {
  /** Left out where there is one alone. */
  readonly name?: string
  /** Of the score, by which it can be traced. */
  readonly digest: string
  readonly result: SuiteResult
  /** All samples in order, with what came of them. */
  readonly judged: ReadonlyArray<Judged>
}

/** A benchmark that was asked. */
export interface SuiteEntry {
  readonly name: string
  /** What the model read, by the problem's id. */
  readonly prompts: ReadonlyMap<string, string>
  readonly decodings: ReadonlyArray<Decoded>
  /** What was not run, and why. */
  readonly notRun: ReadonlyArray<string>
}

/** A benchmark whose answers were chosen. */
export interface ChosenEntry {
  readonly name: string
  readonly digest: string
  readonly chosen: ChoicesResult
  readonly notRun: ReadonlyArray<string>
}

export interface SuiteReportSettings {
  readonly title: string
  /** As a user types it. */
  readonly command: string
  /** Of the bootstrap. */
  readonly seed: number
}

/** Right answers and tokens per forward pass of a decoding. */
export interface CurvePoint {
  readonly decoded: Decoded
  /** pass@1, with the interval of the score. */
  readonly share: Measured
  readonly rate: Measured
}

/** Decodings that differ in how many tokens a pass reveals, and in nothing else that decides what a pass computes. */
export interface Curve {
  readonly label: string
  readonly kind: "diffusion" | "token by token" | "drafts"
  readonly points: ReadonlyArray<CurvePoint>
  readonly aup: Measured
}

export interface SuiteReport {
  readonly settings: SuiteReportSettings
  readonly entries: ReadonlyArray<(SuiteEntry & { readonly curves: ReadonlyArray<Curve> }) | ChosenEntry>
}

/** What a decoding is a point of. Caches change what a pass computes: each kind of them has a curve of its own. */
export const curveOf = ({
  decoding: { cache },
  draftTokens,
  method
}: SampleSettings): Pick<Curve, "label" | "kind"> => {
  if (method === "autoregressive")
    return draftTokens === undefined
      ? { kind: "token by token", label: "token by token" }
      : { kind: "drafts", label: `token by token, ${draftTokens} drafted at a time` }
  const cached = typeof cache === "string" && cache !== "none" ? `, cache ${cache}` : ""
  return { kind: "diffusion", label: `diffusion${cached}` }
}

/** What came of the problems; undefined where nothing is known of tokens and passes. */
const tallyOf = ({ result }: Decoded, point: number): Tally<number> | undefined => {
  const { byProblem } = result
  const [tokens, forwards] = [byProblem.map(each => each.tokens), byProblem.map(each => each.forwards)]
  if (!isWhole(tokens) || !isWhole(forwards)) return undefined
  return {
    point,
    problems: JSON.stringify(byProblem.map(({ task_id: id }) => id)),
    right: byProblem.map(({ right, samples }) => right / samples),
    tokens,
    forwards
  }
}

const isWhole = (values: ReadonlyArray<number | undefined>): values is ReadonlyArray<number> =>
  !values.includes(undefined)

/** The share of right answers, without an interval where one problem alone was asked. */
const withEnds = ({ high, low, value }: Share): Measured => ({ value, low: low ?? value, high: high ?? value })

const pass1 = ({ passAtK }: SuiteResult): Share | undefined => passAtK.find(({ k }) => k === 1)

const curvesOf = ({ decodings, name }: SuiteEntry, seed: number): ReadonlyArray<Curve> => {
  const known = decodings.flatMap((decoded, i) => {
    const tally = tallyOf(decoded, i)
    const { settings } = decoded.result
    return tally === undefined || settings === undefined ? [] : [{ tally, ...curveOf(settings) }]
  })
  const groups = [...Map.groupBy(known, ({ label }) => label)]
  const found = onTask(
    name,
    groups.map(([, own]) => [own.map(({ tally }) => tally)]),
    makeResampler(seed)
  )
  return groups.flatMap(([label, [first]], g) => {
    const own = found[g]
    if (own === undefined) return []
    const points = own.points.map(({ point, rate, right }): CurvePoint => {
      const decoded = decodings[point]!
      const share = pass1(decoded.result)
      return { decoded, rate: measured(rate), share: share === undefined ? measured(right) : withEnds(share) }
    })
    return [{ label, kind: first!.kind, points, aup: measured(own.aup) }]
  })
}

export const makeSuiteReport = (
  entries: ReadonlyArray<SuiteEntry | ChosenEntry>,
  settings: SuiteReportSettings
): SuiteReport => ({
  settings,
  entries: entries.map(entry => ("chosen" in entry ? entry : { ...entry, curves: curvesOf(entry, settings.seed) }))
})

/** Those whose answers were written. */
export const written = ({ entries }: SuiteReport) => entries.flatMap(entry => ("chosen" in entry ? [] : [entry]))

/** Problems, and whether they are all that the benchmark has. */
export const problemsText = ({ of, partial, problems }: SuiteResult): string =>
  partial ? `${count(problems)} of ${count(of!)} problems, partial` : `${count(problems)} problems`

/** What the reader must know before any number: sets that are not the benchmark. */
export const remarks = (report: SuiteReport): ReadonlyArray<string> =>
  written(report).flatMap(({ decodings: [first], name }) =>
    first?.result.partial === true
      ? [
          `${name}: ${count(first.result.problems)} of the ${count(first.result.of!)} problems were asked. This is not the benchmark's score.`
        ]
      : []
  )

/** What was not run, and why. */
export const notRun = ({ entries }: SuiteReport): ReadonlyArray<string> =>
  entries.flatMap(entry => [
    ...entry.notRun.map(text => `${entry.name}, ${text}`),
    ...("chosen" in entry
      ? []
      : entry.decodings
          .slice(0, 1)
          .flatMap(({ result: { of, partial, problems } }) =>
            partial
              ? [
                  `${entry.name}, ${count(of! - problems)} of ${count(of!)} problems: the configuration asks fewer, or the data has fewer`
                ]
              : []
          ))
  ])

/** How the numbers were made, in sentences. */
export const method = (report: SuiteReport): ReadonlyArray<string> => [
  `pass@k is the unbiased estimate from all samples of a problem, mean over problems (Chen et al. 2021). Brackets: 95 %, percentile bootstrap over problems, ${count(resampleCount)} resamples; where all answers are right, or none, it sees nothing vary.`,
  ...(written(report).some(({ curves }) => curves.length > 0)
    ? [
        `Tokens per forward pass: tokens until the end of an answer, which is one of them, over the passes that they took, drafts included. Tokens per second are those of the samples' own making: what else the machine did counts.`,
        `AUP is the area under pass@1, per cent, by tokens per forward pass, weighted by how far it is below the best of the benchmark's decodings here, without points more than 5 below the slowest (d3LLM; alpha 3); one token a pass alone has its per cent right. Decodings of one kind are one curve; those with a cache have a curve of their own.`
      ]
    : [])
]

/** All numbers, not rounded. */
export const suiteJson = (report: SuiteReport): string => {
  const { entries, settings } = report
  const json = {
    ...settings,
    remarks: remarks(report),
    notRun: notRun(report),
    method: method(report),
    suites: entries.map(entry =>
      "chosen" in entry
        ? { name: entry.name, digest: entry.digest, ...entry.chosen }
        : {
            name: entry.name,
            decodings: entry.decodings.map(({ digest, name, result }) => ({ decoding: name, digest, ...result })),
            curves: entry.curves.map(({ points, ...curve }) => ({
              ...curve,
              points: points.map(({ decoded, ...figures }) => ({ decoding: decoded.name, ...figures }))
            }))
          }
    )
  }
  return `${JSON.stringify(json, null, 2)}\n`
}
