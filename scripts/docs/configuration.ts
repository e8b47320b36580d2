/** Writes docs/configuration.md from the schema of configurations: `node scripts/docs/configuration.ts`. `--check` compares instead. */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Result, Schema } from "effect"
import { snakeCase } from "../../src/data/snakeKeys.ts"
import { fromIssue } from "../../src/pipeline/SchemaProblem.ts"
import { dataFields, modelFields, trainSections } from "../../src/training/configuration.ts"
import { trainNames } from "../../src/training/model.ts"
import { unsupportedTrain } from "../../src/training/unsupported.ts"

const path = fileURLToPath(new URL("../../docs/configuration.md", import.meta.url))

type Fields = { readonly [name: string]: Schema.Constraint }

/** Names that files use, where they are not the program's in snake case. */
const renamed: { readonly [name: string]: string } = trainNames

const introduction = `# Configuration

A row of the grid is a YAML file, \`configs/compare_50x_*.yaml\`, with the groups \`model\`, \`data\` and \`train\` under the names of the field's own files. The stage \`train\` takes the
fields of \`train\` as its parameters: \`--set train.lr=2e-4\` changes all rows, \`--set train/with_align.repr_align_wt=0.5\` one. A profile (\`configs/embedded.yaml\`) lays its \`rows\` on every
row: what depends on the size of the model. Fields that are not known or not supported are errors, with file, line and column.

\`\`\`
$ pipeline plan compare-50x --set train.rmpad=true
error configs/compare_50x_no_align.yaml and --set: train/no_align.rmpad: not supported: rows are always packed, and documents of a row do not see each other, got true
\`\`\`

This page is made from the schema (\`src/training/configuration.ts\`) by \`node scripts/docs/configuration.ts\`.
`

const fileName = (name: string): string => renamed[name] ?? snakeCase(name)

const annotation = (schema: Schema.Constraint, name: string): string | undefined => {
  const value = (Schema.resolveAnnotations(schema) as { readonly [name: string]: unknown } | undefined)?.[name]
  return typeof value === "string" ? value : undefined
}

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

const section = (title: string, level: string, fields: Fields): string => {
  const lines = Object.entries(fields)
    .filter(([, schema]) => annotation(schema, "unsupported") === undefined)
    .map(([name, schema]) => {
      const description = annotation(schema, "description")
      if (description === undefined) throw new Error(`${name} has no description`)
      return `| \`${fileName(name)}\` | ${cell(accepted(name, schema))} | ${defaultOf(name, schema)} | ${cell(description)} |`
    })
  return [
    `${level} ${title}`,
    "",
    "| field | value | default | meaning |",
    "| --- | --- | --- | --- |",
    ...lines,
    ""
  ].join("\n")
}

const refused = (group: string, fields: Fields): ReadonlyArray<string> =>
  Object.entries(fields).flatMap(([name, schema]) => {
    const why = annotation(schema, "unsupported")
    return why === undefined ? [] : [`| \`${group}.${fileName(name)}\` | ${cell(why)} |`]
  })

/** The page. */
export const configurationPage = (): string =>
  [
    introduction,
    section("model", "##", modelFields),
    section("data", "##", dataFields),
    "## train\n",
    ...Object.entries(trainSections).map(([title, fields]) => section(title, "###", fields)),
    "## Not supported\n",
    "Fields of Open-dLLM's configurations and its forks' that are refused, and why.\n",
    "| field | |",
    "| --- | --- |",
    ...refused("model", modelFields),
    ...refused("data", dataFields),
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
