/** Reads the configuration files that ship with the program. */
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import type { Schema } from "effect"
import { decodeAssembled, loadConfig, readConfig } from "../src/config/configFile.ts"
import * as Origin from "../src/pipeline/Origin.ts"

/** `configs/`: beside `pipelines/` in a checkout, beside `dist/`, which holds the build, when this is the built program. */
const directory = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../configs" : "../../configs", import.meta.url)
)

const pathOf = (name: string): string => {
  const path = join(directory, `${name}.yaml`)
  const shown = relative(process.cwd(), path)
  return shown.startsWith("..") ? path : shown
}

/** Decodes `configs/NAME.yaml`. Throws ConfigError with file, line and column. */
export const config = <S extends Schema.Codec<unknown, unknown>>(schema: S, name: string): S["Type"] =>
  loadConfig(schema, pathOf(name))

/** `configs/NAME.yaml` as it is written, whatever it holds. */
export const readRow = (name: string): object => {
  const value = readConfig(pathOf(name))
  return typeof value === "object" && value !== null ? value : {}
}

/**
 * `configs/NAME.yaml` as it is written, with the fields of `over` laid on it, for a stage that takes them as parameters: it knows of every field where it
 * stands. Throws ConfigError where the schema would not take it.
 */
export const written = <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  name: string,
  over: { readonly [field: string]: unknown } = {}
): S["Encoded"] => {
  const path = pathOf(name)
  const base = readConfig(path)
  const value = typeof base === "object" && base !== null ? Origin.overlay(base, over) : base
  decodeAssembled(schema, value, path)
  return value as S["Encoded"]
}
