/** Writes docs/configuration.md from the schema of configurations and the comments above its fields: `node scripts/docs/configuration.ts`. `--check` compares instead. */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Result, Schema } from "effect"
import { fieldsOf } from "../../src/config/byMethod.ts"
import type { Reasons } from "../../src/config/refusing.ts"
import { setting } from "../../src/config/setting.ts"
import { snakeCase } from "../../src/config/snakeKeys.ts"
import { methodNames } from "../../src/methods/Method.ts"
import { fromIssue } from "../../src/pipeline/SchemaProblem.ts"
import { QlorafySettings, dataFields, modelFields } from "../../src/methods/configuration.ts"
import { trainNames } from "../../src/training/model.ts"
import { DiffusionSettings } from "../../src/methods/shared/masks/objective.ts"
import { ObserverSettings } from "../../src/methods/shared/observers.ts"
import { settings } from "../../src/methods/settings.ts"
import { BlockCorruptionSettings } from "../../src/methods/bd3lm/corruption.ts"
import { ColaSettings } from "../../src/methods/cola/settings.ts"
import { boundFields } from "../../src/methods/shared/settings.ts"
import { LdlmSettings } from "../../src/methods/ldlm/settings.ts"
import { alignmentFields, trajectoryFields } from "../../src/methods/masked/settings.ts"
import { AdapterSettings } from "../../src/methods/shared/adapterSettings.ts"
import { VfmSettings } from "../../src/methods/vfm/settings.ts"
import { unsupportedData, unsupportedModel, unsupportedTrain } from "../../src/methods/unsupported.ts"

const path = fileURLToPath(new URL("../../docs/configuration.md", import.meta.url))

type Fields = { readonly [name: string]: Schema.Constraint }

/** A part of the page: fields, and the modules whose comments say what they mean; a later one says more than an earlier one. */
interface Section {
  readonly fields: Fields
  readonly modules: ReadonlyArray<string>
}

/** Fields of the group `train`, by what they are about. */
const trainSections: { readonly [title: string]: Section } = {
  "The training": {
    fields: { method: setting(Schema.Literals(methodNames), "masked"), ...boundFields },
    modules: [
      "training/schedule",
      "training/adamw",
      "training/loop",
      "training/model",
      "methods/shared/settings",
      "methods/masked/settings"
    ]
  },
  "Samples and panels": { fields: ObserverSettings.fields, modules: ["methods/shared/probe", "methods/shared/panels"] },
  "Masked diffusion": {
    fields: DiffusionSettings.fields,
    modules: ["methods/shared/masks/corruption", "methods/shared/masks/objective"]
  },
  "Representation alignment": {
    fields: alignmentFields,
    modules: ["methods/shared/alignment/replay", "methods/shared/alignment/settings", "methods/masked/settings"]
  },
  "Block diffusion": {
    fields: BlockCorruptionSettings.fields,
    modules: ["methods/bd3lm/corruption"]
  },
  Cola: { fields: ColaSettings.fields, modules: ["methods/cola/networks", "methods/cola/settings"] },
  Trajectories: {
    fields: trajectoryFields,
    modules: ["methods/shared/trajectories/trajectory", "methods/shared/trajectories/terms", "methods/masked/settings"]
  }
}

const adapterModules = ["methods/shared/adapterSettings"]

/** Groups within the group `train`, of one method each. */
const groups: { readonly [group: string]: Section } = {
  adapter: { fields: AdapterSettings.fields, modules: adapterModules },
  ldlm: { fields: LdlmSettings.fields, modules: ["methods/ldlm/networks", "methods/ldlm/settings"] },
  vfm: { fields: VfmSettings.fields, modules: ["methods/vfm/networks", "methods/vfm/settings"] }
}

const configuration = ["methods/configuration"]

/** Names that files use, where they are not the program's in snake case. */
const renamed: { readonly [name: string]: string } = trainNames

const introduction = `# Configuration

A row of the grid is a YAML file, \`configs/compare_50x_*.yaml\`, with the groups \`model\`, \`data\` and
\`train\` under the names that configurations of the field use. The stage \`train\` takes the fields of
\`train\` as its parameters: \`--set train.lr=2e-4\` changes all rows,
\`--set train/with_align.repr_align_wt=0.5\` changes one. A profile (\`configs/embedded.yaml\`) overrides
in its \`rows\`, for every row, the fields that depend on the size of the model. Fields that are not
known or not supported are errors, with file, line and column.

\`\`\`
$ pipeline plan compare-50x --set train.rmpad=true
error configs/compare_50x_no_align.yaml and --set: train/no_align.rmpad: not supported: rows are always packed, and documents of a row do not see each other, got true
\`\`\`

\`node scripts/docs/configuration.ts\` makes this page from the schemas (\`src/methods/settings.ts\`) and
the comments above their fields.
`

const fileName = (name: string): string => renamed[name] ?? snakeCase(name)

/** The comment above each field of some modules, as one line. */
const commentsOf = (modules: ReadonlyArray<string>): ReadonlyMap<string, string> =>
  new Map(
    modules.flatMap(module => {
      const text = readFileSync(new URL(`../../src/${module}.ts`, import.meta.url), "utf8")
      return [...text.matchAll(/\/\*\*((?:[^*]|\*(?!\/))*)\*\/\s*(\w+): /g)].map(
        ([, comment, field]) => [field!, comment!.replaceAll(/\n\s*\* ?/g, " ").trim()] as const
      )
    })
  )

/** What a field accepts, in the words of the error that it would end with. */
const accepted = (name: string, schema: Schema.Constraint): string => {
  const decoder = Schema.Struct({ [name]: schema }) as unknown as Schema.Codec<unknown>
  const odd = { [name]: { odd: true } }
  const result = Schema.decodeUnknownResult(decoder, { errors: "all" })(odd)
  if (Result.isSuccess(result)) return "anything"
  const [problem] = fromIssue(result.failure.issue, odd, "")
  return /must be (.*), got /.exec(problem!.message)?.[1] ?? problem!.message
}

/** The default as YAML; undefined where there is none. */
const defaultOf = (name: string, schema: Schema.Constraint): string => {
  const decoder = Schema.Struct({ [name]: schema }) as unknown as Schema.Codec<{ readonly [name: string]: unknown }>
  const result = Schema.decodeUnknownResult(decoder)({})
  if (Result.isFailure(result)) return "required"
  const value = result.success[name]
  return value === undefined ? "" : `\`${JSON.stringify(value)}\``
}

const cell = (text: string): string => text.replaceAll("|", "\\|")

/** The methods that have a field. */
const methodsWith = (field: string): string => {
  const methods = methodNames.filter(method => fieldsOf(settings[method]()).includes(field))
  return methods.length === methodNames.length ? "all" : methods.map(method => `\`${method}\``).join(", ")
}

const section = (title: string, level: string, { fields, modules }: Section, byMethod = false): string => {
  const comments = commentsOf(modules)
  const lines = Object.entries(fields).map(([name, schema]) => {
    const meaning = comments.get(name)
    if (meaning === undefined) throw new Error(`no comment above ${name} says what it means`)
    const of = byMethod ? ` ${methodsWith(fileName(name))} |` : ""
    return `| \`${fileName(name)}\` | ${cell(accepted(name, schema))} | ${defaultOf(name, schema)} |${of} ${cell(meaning)} |`
  })
  return [
    `${level} ${title}`,
    "",
    `| field | value | default |${byMethod ? " methods |" : ""} meaning |`,
    `| --- | --- | --- |${byMethod ? " --- |" : ""} --- |`,
    ...lines,
    ""
  ].join("\n")
}

const refused = (group: string, reasons: Reasons): ReadonlyArray<string> =>
  Object.entries(reasons).flatMap(([field, why]) =>
    typeof why === "string" ? [`| \`${group}.${field}\` | ${cell(why)} |`] : refused(`${group}.${field}`, why)
  )

/** The page. */
export const configurationPage = (): string =>
  [
    introduction,
    section("model", "##", { fields: modelFields, modules: configuration }),
    section("The group `qlorafy_config` within model", "###", {
      fields: QlorafySettings.fields,
      modules: [...adapterModules, "config/quantisation"]
    }),
    section("data", "##", { fields: dataFields, modules: configuration }),
    "## train\n",
    "A method takes only its own fields; a field of another method is an error that says whose it is. The",
    "fields that a profile sets for all rows, and `--set train.FIELD`, apply to the rows whose method has",
    "the field; `--set train/ROW.FIELD` applies to that row.\n",
    ...Object.entries(trainSections).map(([title, fields]) => section(title, "###", fields, true)),
    ...Object.entries(groups).map(([group, fields]) => section(`The group \`${group}\` within train`, "###", fields)),
    "## Not supported\n",
    "These fields of configurations of Open-dLLM and its forks are refused, for the given reason.\n",
    "| field | |",
    "| --- | --- |",
    ...refused("model", unsupportedModel),
    ...refused("data", unsupportedData),
    ...refused("train", unsupportedTrain),
    ""
  ].join("\n")

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--check")) {
    if (readFileSync(path, "utf8") !== configurationPage()) {
      console.error("docs/configuration.md is not what the schema says; run node scripts/docs/configuration.ts")
      process.exit(1)
    }
  } else writeFileSync(path, configurationPage())
}
