/** The comparison grid: one teacher, the same documents in the same order, the same masks; each row trained, evaluated and timed on its own weights. */
import { Array as Arr } from "effect"
import type { Methods } from "../src/config/byMethod.ts"
import { ProfileConfig } from "../src/config/profile.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { quantisationFields } from "../src/config/quantisation.ts"
import { snakeCase } from "../src/config/snakeKeys.ts"
import { refusing } from "../src/config/refusing.ts"
import { RowConfig } from "../src/methods/configuration.ts"
import { type Needs, needsOf } from "../src/methods/shared/needs.ts"
import { unsupportedTrain } from "../src/methods/unsupported.ts"
import { benchmark, benchmarkMethods } from "../stages/benchmark.ts"
import { downloadAdapter } from "../stages/download-adapter.ts"
import { downloadModel } from "../stages/download.ts"
import { evaluateLikelihood, likelihoodMethods } from "../stages/evaluate-likelihood.ts"
import { evaluateReferences } from "../stages/evaluate-references.ts"
import { evaluateTexts, textsMethods } from "../stages/evaluate-texts.ts"
import { referenceTexts, settingsBeside } from "../stages/reference-texts.ts"
import { exportPeft } from "../stages/export-peft.ts"
import { quantize } from "../stages/quantize.ts"
import { reportGrid } from "../stages/report-grid.ts"
import { config, readRow } from "./config.ts"
import { dataOf } from "./data.ts"
import { follows } from "./follows.ts"
import { given } from "./given.ts"
import { gridTask, type Measuring } from "./gridTasks.ts"
import { makeTeaching, mustBeUntaught, untaught } from "./teaching.ts"
import { sweptRows } from "./sweep.ts"
import {
  configOf,
  decodedBy,
  type GridRow,
  inCommon,
  meantFor,
  quickly,
  runsOf,
  type Settings,
  type Trained,
  trainingOf
} from "./grid.ts"

/** A profile with all that a file says laid on it. */
const laidOn = (profile: ProfileConfig, name: string) => Origin.overlay(profile, readRow(name)) as ProfileConfig

/** The profiles of every comparison. */
export const profiles: Pipeline.PipelineOptions<ProfileConfig>["profiles"] = {
  embedded: {
    description: "a teacher of 3.6 M parameters, 50 public-domain documents; all that ships with the program",
    needs: "nothing; about 6 minutes on two cores",
    make: () => config(ProfileConfig, "embedded")
  },
  "embedded-long": {
    description: "the same at ten times the budget, three trainings of each row, all tasks",
    needs: "nothing; about two hours on two cores",
    make: () => laidOn(config(ProfileConfig, "embedded"), "embedded-long")
  },
  "qwen3-1.7b": {
    description: "Qwen3-1.7B and 50 documents of FineWeb",
    needs: "the hub (about 4 GB), a GPU with 40 GB and --engine torch",
    make: () => config(ProfileConfig, "qwen3-1.7b")
  },
  code: {
    description: "the same, and HumanEval at several tokens a step; other models by --set (docs/convert.md)",
    needs: "HumanEval.jsonl.gz, bubblewrap, Python, --allow-code-execution, and what qwen3-1.7b needs",
    make: () =>
      Origin.overlay(laidOn(config(ProfileConfig, "qwen3-1.7b"), "code"), readRow("code-rows")) as ProfileConfig
  }
}

export interface Comparison {
  readonly description: string
  /** The row that the others are compared with, if they name no other, is the first. */
  readonly rows: Arr.NonEmptyReadonlyArray<GridRow>
  /** Further rows, with --controls and with --ablations. */
  readonly controls?: ReadonlyArray<GridRow>
  readonly ablations?: ReadonlyArray<GridRow>
  /** By default those of compare-50x. */
  readonly profiles?: typeof profiles
}

/** `train` by the schema that says why it refuses a field. */
export const explainTrain = { train: RowConfig.fields.train } as const

/** The pipeline that trains rows on the same documents, measures each on its own weights, and compares them. */
export const comparison = (name: string, options: Comparison): Pipeline.Pipeline => {
  const further = (["controls", "ablations"] as const).filter(flag => options[flag] !== undefined)
  const own = [...options.rows, ...further.flatMap(flag => options[flag]!)].flatMap(row => row.trainedBy?.stage ?? [])
  return Pipeline.make(
    name,
    {
      description: options.description,
      variants: ["quick", ...further, "seeds", "sweep"],
      explain: {
        ...explainTrain,
        ...Object.fromEntries(own.map(stage => [stage.name, refusing(stage.parameters, unsupportedTrain)]))
      },
      profiles: options.profiles ?? profiles
    },
    compared(name, options)
  )
}

/** What a comparison does under a profile. */
export const compared =
  (title: string, { ablations = [], controls = [], rows }: Comparison) =>
  ({ command, profile: whole, profileName, variant }: Pipeline.BuildContext<ProfileConfig>): Pipeline.Targets => {
    const profile = variant.quick === true ? quickly(whole, profileName) : whole
    const grid = Arr.appendAll(rows, [
      ...(variant.controls === true ? controls : []),
      ...(variant.ablations === true ? ablations : [])
    ])
    const configured = sweptRows(grid, variant.sweep ?? [], (row, name) => {
      const said = (train: Settings) => trainingOf(row).written(Origin.overlay(train, { name }))
      return configOf(row, profile, said)
    })
    const { data, model } = inCommon(configured)
    if (data.eval_path !== undefined && data.eval_path !== profile.data.heldOut.source)
      throw new ConfigError({
        at: "data.eval_path",
        message: "the rows of a grid are evaluated on the documents of its profile (data.heldOut)",
        advice: "leave the field out, or use `pipeline run convert`"
      })

    const { asked, corpus, examples, heldOut } = dataOf(profile.data, data)
    const tasks = asked.map(task => gridTask(task, profile.evaluate?.tasks?.[task.name]))

    const source = modelSource(model.model_path)
    const dense = downloadModel({ source })
    const qlora = qloraOf(model)
    const teacher = qlora === undefined ? dense : quantize(Origin.overlay(qlora.quantisation, { model: dense }))
    const adapted =
      model.adapter_path === undefined
        ? undefined
        : downloadAdapter({ base: teacher, source: modelSource(model.adapter_path) })
    const teaching = makeTeaching({
      base: teacher,
      corpus,
      ...given({ examples }),
      profile,
      modelOf: (reference, name) => downloadModel({ name, source: modelSource(reference) })
    })

    const trained = Arr.map(configured, ([row, { train: settings }]) => {
      const runs = Arr.map(runsOf(row.name, variant.seeds ?? profile.seeds), ({ name, over }) => {
        const own = Origin.overlay(
          qlora?.adapter === undefined ? settings : Origin.overlay({ adapter: qlora.adapter }, settings),
          { name, ...over }
        )
        const train = trainingOf(row)
        // What it is wired to follows from what --set makes of its settings.
        const wanted = train.settings(own)
        const method = decodedBy(row, wanted)
        const taught = (settings: Settings, needs: Needs): Trained =>
          train(
            Origin.overlay(settings, {
              base: adapted ?? teacher,
              heldOut,
              ...teaching.of(needs, {
                name,
                untaught: () => {
                  const first = untaught(own, `${name}-teacher`)
                  return taught(first, mustBeUntaught(first.name, needsOf(train.settings(first)))).model
                }
              })
            })
          )
        const { log, model: student } = taught(own, needsOf(wanted))
        /** What the profile says of a measurement; the method is the training's. */
        const measuring = (stage: Measuring, methods: Methods, said: Settings = {}) => {
          const settings = Origin.overlay(meantFor(methods, method, said), { name, method })
          follows(`${stage.name}/${name}.method`, stage.settings(settings).method, method, "method")
          return settings
        }
        const { evaluate = {} } = profile
        const ofLikelihood = measuring(evaluateLikelihood, likelihoodMethods, evaluate.likelihood)
        const ofTexts = measuring(evaluateTexts, textsMethods, evaluate.texts)
        const likelihood = evaluateLikelihood(Origin.overlay(ofLikelihood, { model: student, teacher, heldOut }))
        const texts = evaluateTexts(Origin.overlay(ofTexts, { model: student, teacher, heldOut, corpus }))
        const asking = { name, method, model: student, measuring }
        const scores = tasks.map(task => [task.name, task.ofRow(asking)] as const)
        const { documents, rows: ofPass, sequencesPerDocument } = evaluateLikelihood.settings(ofLikelihood)
        return {
          name,
          student,
          log,
          measured: { documents, rows: ofPass, sequencesPerDocument },
          likelihood,
          texts,
          scores: scores.map(([task, score]) => [`${name}/${task}`, score] as const),
          adapter:
            adapted !== undefined || adapts(wanted)
              ? exportPeft({
                  name,
                  model: student,
                  base: dense,
                  likelihood,
                  tasks: Object.fromEntries(scores),
                  source,
                  command
                })
              : undefined,
          speed: benchmark(
            Origin.overlay(measuring(benchmark, benchmarkMethods, profile.benchmark), { model: student })
          )
        }
      })
      return { ...row, runs }
    })
    const all = trained.flatMap(({ runs }) => runs)

    const made = teaching.made()
    const { teacher: examined } = profile
    const answered = (examined === undefined ? [] : tasks).flatMap(({ name: task, ofTeacher }) => {
      if (ofTeacher === undefined) return []
      const asking = (settings: Settings, of: string, drafter?: typeof teacher) =>
        [of, ofTeacher(settings, { label: `teacher-${of}`, model: teacher, ...given({ drafter }) })] as const
      return [
        asking(Origin.without(examined!, ["draftTokens"]), task),
        ...("draftTokens" in examined! ? [asking(examined, `${task}-drafted`, trained[0].runs[0].student)] : [])
      ]
    })
    const named = <T>(of: (run: (typeof all)[number]) => T) => Object.fromEntries(all.map(run => [run.name, of(run)]))
    return {
      ...named(({ adapter, log, student }) => ({ model: student, log, ...given({ adapter }) })),
      report: reportGrid({
        title: variant.quick === true ? `${title}, a first look` : title,
        command,
        compare: variant.quick !== true,
        remarks: variant.quick === true ? [firstLook] : [],
        rows: Arr.map(trained, ({ against, label, name, note, runs }) => ({
          name,
          label,
          ...given({ note, against }),
          runs: Arr.map(runs, run => run.name)
        })),
        baseline: trained[0].name,
        likelihoods: named(({ likelihood }) => likelihood),
        // On the text of the first row, also where --set says which.
        references: evaluateReferences({ ...trained[0].runs[0].measured, teacher, corpus, heldOut }),
        texts: named(({ texts }) => texts),
        tasks: Object.fromEntries(all.flatMap(({ scores }) => scores)),
        teacher: Object.fromEntries(answered),
        referenceTexts: referenceTexts(
          Origin.overlay(settingsBeside(profile.evaluate?.texts), { teacher, heldOut, corpus })
        ),
        benchmarks: named(({ speed }) => speed),
        models: named(({ student }) => student),
        logs: named(({ log }) => log),
        anchors: made.anchors,
        trajectories: made.trajectories,
        sequences: { corpus, ...given({ examples }), "held-out": heldOut, ...made.responses }
      })
    }
  }
const firstLook =
  "A first look (--quick): shorter trainings on less data, and fewer measurements. It shows that everything works and what a report looks like; its numbers compare nothing."

/** Whether a training makes an adapter. */
const adapts = ({ adapter }: Settings): boolean => adapter !== undefined

/** What a configuration says of QLoRA: how the base is quantised, and the adapter of each training. */
const qloraOf = ({ adapter_path: path, enable_qlorafy: enabled, qlorafy_config: fields = {} }: Settings) => {
  if (enabled !== true) return undefined
  const all = fields as Settings
  const ofQuantisation = Object.keys(quantisationFields).map(snakeCase)
  const others = Object.keys(all).filter(field => !ofQuantisation.includes(field))
  if (path !== undefined && others.length > 0)
    throw new ConfigError({
      at: `model.qlorafy_config.${others[0]}`,
      message: "says what a new adapter is like, but model.adapter_path names one",
      advice: "leave one of them out"
    })
  return {
    quantisation: Origin.without(all, others),
    adapter: path === undefined ? Origin.without(all, ofQuantisation) : undefined
  }
}

/** `org/name` means that model on the hub. */
export const modelSource = (path: string): string =>
  /^[\w.-]+\/[\w.-]+$/.test(path) ? `hf://models/${path}@main` : path
