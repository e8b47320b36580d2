/** Reads the configuration files that ship with the program. */
import { readFileSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import type { Schema } from "effect"
import { decodeAssembled, loadConfig, readConfig } from "../src/config/configFile.ts"

/** `configs/`: beside `pipelines/` in a checkout, beside `dist/`, which holds the build, when this is the built program. */
const directory = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../configs" : "../../configs", import.meta.url)
)

/** `configs/NAME.yaml`, or a file of one's own. */
export const pathOf = (name: string | URL): string => {
  const path = typeof name === "string" ? join(directory, `${name}.yaml`) : fileURLToPath(name)
  const shown = relative(process.cwd(), path)
  return shown.startsWith("..") ? path : shown
}

/** Decodes `configs/NAME.yaml`. Throws ConfigError with file, line and column. */
export const config = <S extends Schema.Codec<unknown, unknown>>(schema: S, name: string): S["Type"] =>
  loadConfig(schema, pathOf(name))

/** The fields of a released model's `config.json` that say its sizes, `configs/models/NAME.json`: known before anything is fetched. */
export const readModelSizes = (name: string): unknown =>
  JSON.parse(readFileSync(join(directory, "models", `${name}.json`), "utf8"))

/** A configuration as it is written, whatever it holds. */
export const readRow = (name: string | URL): object => {
  const value = readConfig(pathOf(name))
  return typeof value === "object" && value !== null ? value : {}
}

/**
 * `configs/NAME.yaml` as it is written, for a stage that takes it as parameters: it knows of every field where it stands. Throws ConfigError where the schema would not
 * take it.
 */
export const written = <S extends Schema.Codec<unknown, unknown>>(schema: S, name: string): S["Encoded"] => {
  const value = readConfig(pathOf(name))
  decodeAssembled(schema, value, pathOf(name))
  return value as S["Encoded"]
}
