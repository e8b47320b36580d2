/** What `--sweep` makes of the rows of a comparison: of each row that has the field, one for each value. */
import { Array as Arr } from "effect"
import { foreignIn } from "../src/config/byMethod.ts"
import { parseSweep } from "../src/config/overrides.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import { canonical } from "../src/pipeline/Digest.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import { pathBelow } from "../src/pipeline/OverrideProblem.ts"
import { underline } from "../src/pipeline/Problem.ts"
import { type configOf, type GridRow, methodsOf, type Settings, trainingOf } from "./grid.ts"

type Config = ReturnType<typeof configOf>
type Rows = Arr.NonEmptyReadonlyArray<GridRow>

/** A row's configuration, under the name that its trainings have. */
type Configure = (row: GridRow, name: string) => Config

/** One value of a field of a training. */
interface Value {
  readonly path: ReadonlyArray<string>
  readonly value: unknown
  /** As it was typed. */
  readonly text: string
  readonly sweep: string
}

type Sweep = Arr.NonEmptyReadonlyArray<Value>

/** Rows with their configurations. One that no sweep means stays as it is; several sweeps make a row of each combination. */
export const sweptRows = (
  rows: Rows,
  sweeps: ReadonlyArray<string>,
  configure: Configure
): Arr.NonEmptyReadonlyArray<readonly [GridRow, Config]> => {
  const parsed = sweeps.map(sweep => ({ sweep, overrides: parseSweep(sweep) }))
  const named = new Set<string>()
  const taken = new Set<string>()
  const valuesOf = (row: GridRow): ReadonlyArray<Sweep> =>
    parsed.flatMap(({ overrides, sweep }) => {
      const { stage } = row.trainedBy ?? { stage: { name: "train" } }
      const values = overrides.flatMap(override => {
        const path = pathBelow(override, stage.name, `${stage.name}/${row.name}`)
        return path === undefined
          ? []
          : [{ path, value: override.value, text: override.text.slice(override.text.indexOf("=") + 1).trim(), sweep }]
      })
      if (!Arr.isReadonlyArrayNonEmpty(values)) return []
      named.add(sweep)
      if (!has(row, values[0], configure)) return []
      taken.add(sweep)
      return [values]
    })
  const swept = Arr.map(rows, row => [row, valuesOf(row)] as const)
  const unmeant = sweeps.find(sweep => !taken.has(sweep))
  if (unmeant !== undefined) throw refusal(unmeant, named.has(unmeant))

  /** The first of the rows that are made of one. */
  const firsts = new Map(swept.map(([row, values]) => [row.name, nameOf(row, values.map(Arr.headNonEmpty))]))
  const made = Arr.flatMap(swept, ([row, values]): Arr.NonEmptyReadonlyArray<readonly [GridRow, Config]> => {
    if (values.length === 0) return [[{ ...row, ...againstFirst(row, firsts) }, configure(row, row.name)]]
    const [first, ...others] = combinations(values)
    const make = (combination: ReadonlyArray<Value>, against: Pick<GridRow, "against">) => {
      const name = nameOf(row, combination)
      const said = combination.map(({ path, text }) => `${path.at(-1)} ${text}`).join(", ")
      const label = rows.length === 1 ? said : `${row.label}, ${said}`
      const config = configure(laidOn(row, combination), name)
      for (const value of combination) mustStand(row, name, config, value)
      return [{ ...row, name, label, ...against }, config] as const
    }
    return [make(first, againstFirst(row, firsts)), ...others.map(each => make(each, { against: nameOf(row, first) }))]
  })
  const names = new Set<string>()
  for (const [{ name }] of made) {
    if (names.has(name))
      throw new ConfigError({
        at: "--sweep",
        message: `two values give rows of the name ${name}`,
        advice: "letters, digits, dots and dashes of a value become the name: leave one of the two out"
      })
    names.add(name)
  }
  return made
}

/** Other rows are compared with the first value of theirs, values with the first. */
const againstFirst = ({ against }: GridRow, firsts: ReadonlyMap<string, string>): Pick<GridRow, "against"> =>
  against === undefined ? {} : { against: firsts.get(against) ?? against }

/** In the order of the flags; the last one's values change fastest. */
const combinations = (sweeps: ReadonlyArray<Sweep>): Arr.NonEmptyReadonlyArray<ReadonlyArray<Value>> =>
  sweeps.reduce<Arr.NonEmptyReadonlyArray<ReadonlyArray<Value>>>(
    (all, values) => Arr.flatMap(all, each => Arr.map(values, value => [...each, value])),
    [[]]
  )

/** `no_align-lr-1e-4`. */
const nameOf = ({ name }: GridRow, combination: ReadonlyArray<Value>): string =>
  [name, ...combination.flatMap(({ path, text }) => [path.at(-1)!, text])]
    .map(part => part.replaceAll(/[^\w.-]+/g, "_").replaceAll(/^_+|_+$/g, ""))
    .join("-")

const laidOn = (row: GridRow, combination: ReadonlyArray<Value>): GridRow => ({
  ...row,
  over: {
    train: combination.reduce<Settings>(
      (train, value) => Origin.overlay(train, asSettings(value)),
      row.over?.train ?? {}
    )
  }
})

/** Settings that know which flag they were given by. */
const asSettings = ({ path, sweep, text, value }: Value): Settings => {
  const settings = path.reduceRight<unknown>((below, field) => ({ [field]: below }), value) as Settings
  const left = sweep.slice(0, sweep.indexOf("=") + 1)
  const at = { file: "--sweep", line: 0, column: 0, excerpt: underline("--sweep ", `${left}${text}`, left.length + 1) }
  Origin.record(settings, () => at)
  return settings
}

/** Whether a row has the field: its method has, and what the row is leaves it alone. */
const has = (row: GridRow, value: Value, configure: Configure): boolean => {
  const config = configure(laidOn(row, [value]), row.name)
  const { method = "masked" } = trainingOf(row).written(Origin.overlay(config.train, { name: row.name }))
  const [methods, chosen] = methodsOf(row, method)
  const isForeign = Object.hasOwn(methods, chosen) && foreignIn(methods, chosen, asSettings(value)).length > 0
  return !isForeign && stands(config.train, value)
}

const stands = (train: Settings, { path, value }: Value): boolean => {
  const found = path.reduce<unknown>((fields, field) => (fields as Settings | undefined)?.[field], train)
  return agrees(found, value)
}

/** Whether a value is what was laid on: null takes a field away, and a mapping changes the fields that it names. */
const agrees = (found: unknown, value: unknown): boolean => {
  if (value === null) return found === undefined || found === null
  if (isMapping(value) && isMapping(found))
    return Object.entries(value).every(([name, below]) => agrees(found[name], below))
  return found !== undefined && canonical(found) === canonical(value)
}

const isMapping = (value: unknown): value is Settings =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const mustStand = (row: GridRow, name: string, { train }: Config, value: Value): void => {
  if (stands(trainingOf(row).written(Origin.overlay(train, { name })), value)) return
  throw new ConfigError({
    at: `--sweep ${value.sweep}`,
    message: `--set gives train/${name} another ${value.path.join(".")}`,
    advice: "leave one of the two flags out"
  })
}

const refusal = (sweep: string, named: boolean): ConfigError =>
  named
    ? new ConfigError({
        at: `--sweep ${sweep}`,
        message: "no row has the field: it belongs to a method that none of them has",
        advice: "docs/configuration.md lists the fields of each method"
      })
    : new ConfigError({
        at: `--sweep ${sweep}`,
        message: "names no training of a row",
        advice: `a sweep is over fields of trainings, as --sweep train.lr=1e-4,3e-4; for others, one run for each value: --set ${sweep.replace(/,.*$/s, "")} --tag NAME`
      })
