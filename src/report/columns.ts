/** The columns of the grid. */
import { count } from "../pipeline/units.ts"
import type { LikelihoodResult, TextQuality } from "../evaluation/results.ts"
import { type Budget, computeColumn, equalComputeColumns, readsOtherTokens } from "./budgets.ts"
import { absent, type Column, type Figure, noBound, noLikelihood, ofRuns, whyNoBound } from "./column.ts"
import { fixed, percent, significant } from "./format.ts"
import { everyNumber, generationAt, type GridRow, type Run, taskNames, timingAt } from "./rows.ts"
import { bootstrap, type Resampler, wilson } from "./statistics.ts"

export interface ColumnSettings {
  /** Numbers of denoising steps at which texts and speed are shown. */
  readonly textSteps: number
  readonly speedSteps: number
  readonly resampler: Resampler
  readonly baseline: GridRow
  /** Left out where rows cannot be compared at equal compute. */
  readonly budget?: Budget
}

export const gridColumns = (rows: ReadonlyArray<GridRow>, settings: ColumnSettings): ReadonlyArray<Column> => [
  ...training(settings.baseline),
  computeColumn,
  ...heldOut(rows, settings.resampler),
  ...equalComputeColumns(settings.budget),
  ...generated(rows, settings.textSteps),
  ...decoding(settings.speedSteps)
]

const trained =
  (value: (training: NonNullable<Run["model"]>["content"]["training"]) => number) =>
  (run: Run): Figure =>
    run.model === undefined ? absent("nothing was trained for this row") : { value: value(run.model.content.training) }

const training = (baseline: GridRow): ReadonlyArray<Column> => [
  {
    id: "trainedParameters",
    group: "training",
    label: "trained parameters",
    format: count,
    figure: ofRuns(trained(({ trainedParameters }) => trainedParameters))
  },
  {
    id: "parameters",
    group: "training",
    label: "of all",
    format: count,
    figure: ofRuns(trained(({ parameters }) => parameters))
  },
  { id: "steps", group: "training", label: "steps", format: count, figure: ofRuns(trained(({ step }) => step)) },
  {
    id: "tokens",
    group: "training",
    label: "tokens",
    format: count,
    figure: row => {
      const figure = ofRuns(trained(({ tokens }) => tokens))(row)
      return "absent" in figure || !readsOtherTokens(row, baseline)
        ? figure
        : { ...figure, note: `not at equal tokens: ${baseline.label} read another number` }
    }
  }
]

const measured =
  (value: (likelihood: LikelihoodResult) => Figure) =>
  (run: Run): Figure =>
    run.likelihood === undefined ? absent(noLikelihood) : value(run.likelihood.content)

const ofBound = (value: (bound: NonNullable<LikelihoodResult["bound"]>) => number) =>
  measured(({ bound }) => (bound === undefined ? absent(noBound) : { value: value(bound) }))

/** Shown where a row has an auto-encoder. */
const reconstructed = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Column> => {
  if (!rows.some(({ runs }) => runs.some(run => run.likelihood?.content.reconstruction !== undefined))) return []
  const column = (id: "loss" | "accuracy", label: string, format: Column["format"]): Column => ({
    id: `reconstruction.${id}`,
    group: "held-out text",
    label,
    format,
    figure: ofRuns(
      measured(({ reconstruction }) =>
        reconstruction === undefined ? absent("nothing is encoded and read back") : { value: reconstruction[id] }
      )
    )
  })
  return [column("loss", "reconstruction CE", fixed(3)), column("accuracy", "reconstructed", percent)]
}

const heldOut = (rows: ReadonlyArray<GridRow>, resampler: Resampler): ReadonlyArray<Column> => {
  const ratios = everyNumber(rows, run => Object.keys(run.likelihood?.content.lossAtRatio ?? {}).map(Number))
  return [
    {
      id: "bound",
      group: "held-out text",
      label: "bound, nats/token",
      format: fixed(3),
      figure: row => {
        const { runs } = row
        const parts = runs.flatMap(({ likelihood }) =>
          likelihood === undefined
            ? []
            : [likelihood.content.documents.map(({ nats, tokens }) => ({ sum: nats, weight: tokens }))]
        )
        if (parts.length < runs.length) return absent(noLikelihood)
        const documents = parts[0]!.length
        const why = whyNoBound(row)
        if (why !== undefined) return absent(why)
        if (documents === 0 || parts.some(run => run.length !== documents))
          return absent("the bound is not known document by document")
        const { high, low, value } = bootstrap(parts, resampler({ documents, runs: runs.length }))
        return { value, low, high }
      }
    },
    {
      id: "bitsPerByte",
      group: "held-out text",
      label: "bits/byte",
      format: fixed(3),
      figure: ofRuns(ofBound(({ bitsPerByte }) => bitsPerByte))
    },
    ...ratios.map((ratio): Column => ({
      id: `lossAtRatio.${ratio}`,
      group: "held-out text",
      label: `CE t=${ratio}`,
      format: fixed(3),
      figure: ofRuns(
        measured(({ bound, lossAtRatio }) => {
          if (bound === undefined) return absent(noBound)
          const value = lossAtRatio[String(ratio)]
          return value === undefined ? absent(`the loss at a share of ${ratio} masks was not measured`) : { value }
        })
      )
    })),
    {
      id: "autoregressiveLoss",
      group: "held-out text",
      label: "CE causal",
      format: fixed(3),
      figure: ofRuns(measured(({ autoregressiveLoss }) => ({ value: autoregressiveLoss })))
    },
    ...reconstructed(rows)
  ]
}

const generated = (rows: ReadonlyArray<GridRow>, steps: number): ReadonlyArray<Column> => {
  const quality = (id: keyof TextQuality, label: string, format: (value: number) => string): Column => ({
    id,
    group: "generated text",
    label,
    format,
    figure: ofRuns(run => {
      const generation = generationAt(run, steps)
      return generation === undefined ? absent(`no texts were made in ${steps} steps`) : { value: generation[id] }
    }),
    reference: reference => reference[id]
  })
  return [
    quality("teacherPerplexity", "perplexity: teacher", significant),
    quality("ngramPerplexity", "n-gram", significant),
    quality("distinct2", "distinct-2", fixed(3)),
    quality("repetition", "repetition", fixed(3)),
    quality("entropy", "entropy, nats", fixed(2)),
    ...solved(rows)
  ]
}

/** A column for each task that was asked. */
const solved = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Column> =>
  taskNames(rows).map(name => ({
    id: `exactMatch.${name}`,
    group: "generated text",
    label: `exact match, ${name}`,
    format: percent,
    figure: ofRuns(({ tasks }) => {
      const found = tasks.find(({ content }) => content.task === name)?.content
      return found === undefined
        ? absent("the task was not asked")
        : { value: found.exact / found.problems, ...wilson(found.exact, found.problems) }
    })
  }))

const decoding = (steps: number): ReadonlyArray<Column> => {
  const timed =
    (figure: (timing: NonNullable<ReturnType<typeof timingAt>>) => Figure) =>
    (run: Run): Figure => {
      const timing = timingAt(run, steps)
      return timing === undefined ? absent(`decoding in ${steps} steps was not timed`) : figure(timing)
    }
  return [
    {
      id: "tokensPerSecond",
      group: "decoding",
      label: "tok/s",
      format: significant,
      figure: ofRuns(timed(({ tokensPerSecond }) => ({ value: tokensPerSecond })))
    },
    {
      id: "usefulTokensPerSecond",
      group: "decoding",
      label: "useful tok/s",
      format: significant,
      figure: ofRuns(timed(({ usefulTokensPerSecond }) => ({ value: usefulTokensPerSecond })))
    },
    {
      id: "msPerForward",
      group: "decoding",
      label: "ms/forward",
      format: significant,
      figure: ofRuns(
        timed(({ forwards, msPerForward, p10, p90 }) => ({
          value: msPerForward,
          low: p10 / forwards,
          high: p90 / forwards
        }))
      )
    },
    {
      id: "tokensPerForward",
      group: "decoding",
      label: "tokens/forward",
      format: significant,
      figure: ofRuns(timed(({ tokensPerForward }) => ({ value: tokensPerForward })))
    },
    {
      id: "peakMiB",
      group: "decoding",
      label: "peak memory, MiB",
      format: value => count(Math.round(value)),
      figure: ofRuns(({ benchmark }) =>
        benchmark === undefined ? absent("the row was not timed") : { value: benchmark.content.peakMiB }
      )
    },
    {
      id: "shareOfPeak",
      group: "decoding",
      label: "of matmul peak",
      format: percent,
      figure: ofRuns(timed(({ shareOfPeak }) => ({ value: shareOfPeak })))
    }
  ]
}
