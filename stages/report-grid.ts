/** Reports a grid of methods: the table with intervals, paired differences from a baseline, charts, samples, and where everything comes from. */
import { Effect, Schema } from "effect"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent } from "../src/pipeline/StageError.ts"
import { gridMarkdown } from "../src/report/gridMarkdown.ts"
import { gridJson, makeGridReport } from "../src/report/gridReport.ts"
import { readCached, readRun } from "../src/report/readRuns.ts"
import type { Cached, GridRow } from "../src/report/rows.ts"
import { Anchors, Benchmark, Evaluation, ModelFiles, Report, TokenSequences, TrainingLog } from "./kinds.ts"

const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

const Row = Schema.Struct({
  name: Schema.String,
  /** As it stands in tables. */
  label: Schema.String,
  /** What must be known to read the row's numbers. */
  note: Schema.optionalKey(Schema.String),
  /** Columns that do not exist for the row, by id (docs/report.md), and why: printed as n/a with a footnote. */
  notApplicable: orElse(Schema.Record(Schema.String, Schema.String), {}),
  /** Names of its trainings in the ports, in the order of seeds; by default the row's name alone. */
  runs: Schema.optionalKey(Schema.NonEmptyArray(Schema.String))
})

export const reportGrid = Stage.make("report-grid", {
  description: "Reports a grid of methods: table, paired differences, charts, samples, origins",
  inputs: {
    evaluations: Artifact.named(Evaluation),
    benchmarks: Artifact.named(Benchmark),
    models: Artifact.named(ModelFiles),
    logs: Artifact.named(TrainingLog),
    /** What was cached for the rows. */
    anchors: Artifact.named(Anchors),
    sequences: Artifact.named(TokenSequences)
  },
  parameters: Schema.Struct({
    title: Schema.String,
    /** The command that makes this report, as a user types it. */
    command: Schema.String,
    /** Paragraphs below the title. */
    remarks: orElse(Schema.Array(Schema.String), []),
    rows: Schema.NonEmptyArray(Row),
    /** Name of the row that the others are compared with. */
    baseline: Schema.String,
    /** Numbers of denoising steps whose texts and speed stand in the table. */
    textSteps: orElse(PositiveInt, 64),
    speedSteps: orElse(PositiveInt, 8),
    /** Of the bootstrap's draws. */
    seed: orElse(Schema.Int, 0)
  }),
  outputs: { report: Report },
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("report-grid")(function* ({ inputs, metric, outputs, parameters }) {
    const { baseline: baselineName, rows: declared, ...settings } = parameters
    const { anchors, sequences, ...sources } = inputs
    const names = new Set(declared.flatMap(({ name, runs }) => runs ?? [name]))
    for (const [port, given] of Object.entries(sources)) {
      const unnamed = Object.keys(given).filter(name => !names.has(name))
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
    const cached: ReadonlyArray<Cached> = [
      ...(yield* Effect.forEach(Object.entries(sequences), ([name, set]) => readCached(name, TokenSequences, set))),
      ...(yield* Effect.forEach(Object.entries(anchors), ([name, set]) => readCached(name, Anchors, set)))
    ]
    const found = makeGridReport(rows, baseline, cached, settings)
    for (const { difference, row } of found.comparisons) {
      if (difference === undefined) continue
      yield* metric(`${row.name}/bound_difference`, difference.value)
      yield* metric(`${row.name}/p_corrected`, difference.adjusted)
    }
    yield* metric("broken_ties", found.ties.filter(({ broken }) => broken).length)
    // The library of the charts is loaded when it is needed, not by everyone who plans.
    const { gridHtml } = yield* Effect.promise(() => import("../src/report/gridPage.ts"))
    const { report } = outputs
    yield* report.write("report.md", gridMarkdown(found))
    yield* report.write("report.html", gridHtml(found))
    yield* report.write("report.json", gridJson(found))
    yield* report.metadata({ title: settings.title })
  })
})
