/** Reports a grid of methods: the table with intervals, paired differences from a baseline, charts, samples, and where everything comes from. */
import { Effect, Schema } from "effect"
import { PositiveInt, setting } from "../src/config/setting.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent } from "../src/pipeline/StageError.ts"
import { gridMarkdown } from "../src/report/gridMarkdown.ts"
import { gridJson, makeGridReport } from "../src/report/gridReport.ts"
import { headline } from "../src/report/headline.ts"
import { readCached, readReferences, readReferenceTexts, readRun, readScores, runOf } from "../src/report/readRuns.ts"
import type { Cached, GridRow } from "../src/report/rows.ts"
import {
  Anchors,
  Benchmark,
  JudgedTexts,
  Likelihood,
  ModelFiles,
  References,
  ReferenceTexts,
  Report,
  TaskScore,
  TokenSequences,
  TrainingLog,
  Trajectories
} from "../src/artifacts/kinds.ts"

const Row = Schema.Struct({
  name: Schema.String,
  /** As it stands in tables. */
  label: Schema.String,
  /** What must be known to read the row's numbers */
  note: Schema.optionalKey(Schema.String),
  /** Name of the row that it is compared with; by default the baseline */
  against: Schema.optionalKey(Schema.String),
  /** Columns that do not exist for the row, by id (docs/report.md), and why: printed as n/a with a footnote */
  notApplicable: setting(Schema.Record(Schema.String, Schema.String), {}),
  /** Names of its trainings in the ports, in the order of seeds; by default the row's name alone */
  runs: Schema.optionalKey(Schema.NonEmptyArray(Schema.String))
})

export const reportGrid = Stage.make("report-grid", {
  inputs: {
    likelihoods: Artifact.named(Likelihood),
    texts: Artifact.named(JudgedTexts),
    /** By the run and the task: `no_align/equations`. */
    tasks: Artifact.named(TaskScore),
    /** What the teacher answers, token by token. */
    teacher: Artifact.named(TaskScore),
    /** The held-out text under models that the rows are compared with. */
    references: Artifact.optional(References),
    /** What texts are read beside. */
    referenceTexts: Artifact.optional(ReferenceTexts),
    benchmarks: Artifact.named(Benchmark),
    models: Artifact.named(ModelFiles),
    logs: Artifact.named(TrainingLog),
    /** What was cached for the rows. */
    anchors: Artifact.named(Anchors),
    trajectories: Artifact.named(Trajectories),
    sequences: Artifact.named(TokenSequences)
  },
  parameters: Schema.Struct({
    title: Schema.String,
    /** The command that makes this report, as a user types it. */
    command: Schema.String,
    /** Paragraphs below the title */
    remarks: setting(Schema.Array(Schema.String), []),
    rows: Schema.NonEmptyArray(Row),
    /** Name of the row that the others are compared with. */
    baseline: Schema.String,
    /** Whether rows are compared: differences, intervals, verdicts */
    compare: setting(Schema.Boolean, true),
    /** Denoising steps of the texts, and of their speed, in the tables */
    steps: setting(PositiveInt, 8),
    /** Of the bootstrap's draws */
    seed: setting(Schema.Int, 0)
  }),
  outputs: { report: Report },
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("report-grid")(function* ({ inputs, metric, outputs, parameters }) {
    const { baseline: baselineName, rows: declared, ...settings } = parameters
    const { anchors, references, referenceTexts: texts, sequences, teacher, trajectories, ...sources } = inputs
    const names = new Set(declared.flatMap(({ name, runs }) => runs ?? [name]))
    for (const [port, given] of Object.entries(sources)) {
      const unnamed = Object.keys(given).filter(name => !names.has(runOf(name)))
      if (unnamed.length > 0) return yield* permanent(`${port} holds ${unnamed.join(", ")}, which no row names`)
    }
    const rows = yield* Effect.forEach(declared, ({ runs, ...row }) =>
      Effect.map(
        Effect.forEach(runs ?? [row.name], name => readRun(sources, name)),
        read => ({ ...row, runs: read }) satisfies GridRow
      )
    )
    const baseline = rows.find(({ name }) => name === baselineName)
    if (baseline === undefined)
      return yield* permanent(
        `the baseline is ${baselineName}, but there are only the rows ${rows.map(({ name }) => name).join(", ")}`
      )
    for (const { against, name, runs } of rows) {
      if (against !== undefined && !rows.some(row => row.name === against))
        return yield* permanent(`${name} is compared with ${against}, but there is no such row`)
      const weights = runs.flatMap(({ model }) => model?.digest ?? [])
      if (new Set(weights).size < weights.length)
        return yield* permanent(
          `${name} has ${runs.length} runs, but some have the same weights`,
          "runs of a row must be trainings with seeds of their own: is a seed set for one of them alone?"
        )
    }
    const cached: ReadonlyArray<Cached> = [
      ...(yield* Effect.forEach(Object.entries(sequences), ([name, set]) => readCached(name, TokenSequences, set))),
      ...(yield* Effect.forEach(Object.entries(anchors), ([name, set]) => readCached(name, Anchors, set))),
      ...(yield* Effect.forEach(Object.entries(trajectories), ([name, set]) => readCached(name, Trajectories, set)))
    ]
    const found = makeGridReport(rows, baseline, cached, settings, {
      teacher: yield* readScores(teacher),
      ...(references === undefined ? {} : { references: yield* readReferences(references) }),
      ...(texts === undefined ? {} : { referenceTexts: yield* readReferenceTexts(texts) })
    })
    const columns = found.grid.columns.map(({ id }) => id)
    for (const { name, notApplicable } of rows)
      for (const id of Object.keys(notApplicable))
        if (!columns.includes(id))
          return yield* permanent(`notApplicable of ${name} names the column ${id}; there are ${columns.join(", ")}`)
    for (const { difference, row } of found.comparisons) {
      if (difference === undefined) continue
      yield* metric(`${row.name}/bound_difference`, difference.value)
      yield* metric(`${row.name}/p_corrected`, difference.adjusted)
      yield* metric(`${row.name}/detectable_difference`, difference.detectable)
    }
    for (const { aup, row } of found.parallelism?.rows ?? [])
      if (row !== undefined && aup !== undefined) yield* metric(`${row.name}/aup`, aup.value)
    yield* metric("broken_ties", found.ties.filter(({ broken }) => broken).length)
    // The library of the charts is loaded when it is needed, not by everyone who plans.
    const { gridHtml } = yield* Effect.promise(() => import("../src/report/gridPage.ts"))
    const { report } = outputs
    yield* report.write("headline.md", headline(found))
    yield* report.write("report.md", gridMarkdown(found))
    yield* report.write("report.html", gridHtml(found))
    yield* report.write("report.json", gridJson(found))
    yield* report.metadata({ title: settings.title })
  })
})
