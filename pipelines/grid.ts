/** Rows of a comparison: what a row is, and its configuration under a profile. */
import { Array as Arr, Schema } from "effect"
import { foreignIn, type Methods } from "../src/config/byMethod.ts"
import { decodeAssembled } from "../src/config/configFile.ts"
import type { ProfileConfig } from "../src/config/profile.ts"
import type { Anchors, ModelFiles, TokenSequences, TrainingLog, Trajectories } from "../src/artifacts/kinds.ts"
import type { Ref } from "../src/pipeline/Artifact.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import { canonical } from "../src/pipeline/Digest.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import type { AnyStage } from "../src/pipeline/Stage.ts"
import type { MethodName } from "../src/methods/Method.ts"
import { RowConfig } from "../src/methods/configuration.ts"
import { settings } from "../src/methods/settings.ts"
import { train } from "../stages/train.ts"
import { pathOf, readRow } from "./config.ts"

export type Settings = { readonly [field: string]: unknown }

export interface GridRow {
  readonly name: string
  /** As it stands in tables. */
  readonly label: string
  /** `configs/NAME.yaml` of this program, or a file of one's own: `new URL("./row.yaml", import.meta.url)`. */
  readonly config: string | URL
  /** What must be known to read its numbers. */
  readonly note?: string
  /** The row that it varies: it has its sizes, and is compared with it. By default it is compared with the first. */
  readonly against?: string
  /** Laid on the configuration. */
  readonly over?: { readonly train: Settings }
  /** Whether it is trained without trajectories, whatever its configuration says of them. */
  readonly untaught?: boolean
  /** A stage of one's own that trains it. By default `train`, by the method that the configuration names. */
  readonly trainedBy?: OwnTraining
}

/** A training of one's own. */
export interface OwnTraining {
  /** With the ports of `train` (`trainInputs`, `trainOutputs`); its parameters are the group `train` of the configuration. */
  readonly stage: AnyStage & {
    readonly settings: (args: never) => object
    readonly written: (args: never) => object
  }
  /** The method that its models are decoded and measured by. */
  readonly decodedBy: MethodName
}

/** What a training is given, and what comes of it. */
export interface Trained {
  readonly model: Ref<typeof ModelFiles>
  readonly log: Ref<typeof TrainingLog>
}
interface Given extends Settings {
  readonly name?: string
  readonly base?: Ref<typeof ModelFiles>
  readonly sequences?: Ref<typeof TokenSequences>
  readonly heldOut?: Ref<typeof TokenSequences>
  readonly anchors?: Ref<typeof Anchors>
  readonly trajectories?: Ref<typeof Trajectories>
}

/** How a row is trained: a stage whose parameters are known when the plan is made. */
interface TrainingStage {
  (args: Given): Trained
  readonly settings: (args: Given) => Settings
  readonly written: (args: Given) => Settings
}
export const trainingOf = ({ trainedBy }: GridRow): TrainingStage =>
  (trainedBy?.stage ?? train) as unknown as TrainingStage

/** The method that a row's models are decoded by, given the settings of its training. */
export const decodedBy = ({ trainedBy }: GridRow, { method }: Settings): MethodName =>
  trainedBy?.decodedBy ?? (method as MethodName)

/** Decoded as far as the rows must agree; the group `train` is decoded by the stage that takes it, `--set` laid on it. */
const Written = Schema.Struct({ ...RowConfig.fields, train: Schema.Record(Schema.String, Schema.Unknown) })

/**
 * The configuration of a row under a profile, as it is written. What the profile lays on all rows is meant for those whose method has the field; `said` tells what `--set`
 * makes of the group `train`, by which the method may be another.
 */
export const configOf = (
  { against, config, name, over = { train: {} }, trainedBy, untaught = false }: GridRow,
  { row: single = {}, rows: all }: ProfileConfig,
  said: (train: Settings) => Settings = train => train
): (typeof Written)["Encoded"] => {
  const file = readRow(config)
  /** The file, with what the profile says of all rows laid on it, of the row that this one varies, of this one, and what makes it what it is. */
  const laidOn = (shared: object): { readonly train?: Settings } =>
    [shared, against === undefined ? {} : (single[against] ?? {}), single[name] ?? {}, over].reduce<object>(
      (value, each) => Origin.overlay(value, each),
      file
    )
  const { train: fields = {} } = laidOn(all)
  const { method = "masked" } = said(fields)
  const [methods, chosen] = methodsOf({ name, ...(trainedBy === undefined ? {} : { trainedBy }) }, method)
  const shared = all.train === undefined ? all : { ...all, train: meantFor(methods, chosen, all.train) }
  const whole = laidOn(shared)
  const value = untaught ? Origin.overlay(whole, { train: noTrajectories(whole.train ?? {}) }) : whole
  decodeAssembled(Written, value, pathOf(config))
  return value as unknown as (typeof Written)["Encoded"]
}

/** The methods that a field of a row may belong to, and which is the row's. */
export const methodsOf = (
  { name, trainedBy }: Pick<GridRow, "name" | "trainedBy">,
  method: unknown
): readonly [methods: Methods, chosen: string] =>
  trainedBy === undefined
    ? [settings, String(method)]
    : [{ ...settings, [name]: () => trainedBy.stage.parameters as ReturnType<Methods[string]> }, name]

/** Laid on settings of a training, takes from them what is said of trajectories. */
export const noTrajectories = (settings: Settings): { readonly [field: string]: null } =>
  Object.fromEntries(
    Object.keys(settings)
      .filter(field => field.startsWith("trajectory_"))
      .map(field => [field, null])
  )

/** What a profile lays on every row, without the fields that only other methods have. Of a method that is not known, which is refused where it is decoded, all. */
export const meantFor = (methods: Methods, method: string, fields: Settings): Settings =>
  !Object.hasOwn(methods, method)
    ? fields
    : foreignIn(methods, method, fields).reduce<Settings>(
        (rest, { path }) =>
          Origin.overlay(rest, path.reduceRight<unknown>((below, field) => ({ [field]: below }), null) as Settings),
        fields
      )

/** The profile for a first look. */
export const quickly = ({ quick, ...profile }: ProfileConfig, name: string): ProfileConfig => {
  if (quick === undefined)
    throw new ConfigError({
      at: "--quick",
      message: `the profile ${name} has none`,
      advice: "use another, or do without"
    })
  // What is laid on a corpus is a part of one.
  return Origin.overlay(profile, quick) as ProfileConfig
}

/** The trainings of a row, one for each seed: what they are called, and what is laid on its settings. Other rows have the same seeds; the first is the row's own. */
export const runsOf = (
  name: string,
  seeds = 1
): Arr.NonEmptyReadonlyArray<{ readonly name: string; readonly over: { readonly seed_offset?: number } }> =>
  Arr.makeBy(seeds, i => (i === 0 ? { name, over: {} } : { name: `${name}-${i + 1}`, over: { seed_offset: i } }))

type Config = ReturnType<typeof configOf>

/** Rows are compared on the same model and the same data, or not at all: returns what all of them say. */
export const inCommon = (
  configs: Arr.NonEmptyReadonlyArray<readonly [GridRow, Config]>
): Pick<Config, "model" | "data"> => {
  const [[, first], ...others] = configs
  for (const [{ config }, other] of others)
    for (const group of ["model", "data"] as const)
      for (const field of new Set([...Object.keys(first[group]), ...Object.keys(other[group])])) {
        const [here, there] = [first, other].map(({ [group]: fields }) => (fields as Record<string, unknown>)[field])
        if (canonical(here ?? null) === canonical(there ?? null)) continue
        const place = Origin.find(other, [group, field])
        throw new ConfigError({
          at: place === undefined ? pathOf(config) : Origin.format(place),
          message: `${group}.${field} is ${JSON.stringify(there)}, in the first row ${JSON.stringify(here)}`,
          advice: "the rows of a grid are compared on the same model and the same data"
        })
      }
  return first
}
