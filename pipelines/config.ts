/** Reads the configuration files that ship with the program. */
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import type { Schema } from "effect"
import { loadConfig } from "../src/data/config.ts"

/** `configs/`: beside `pipelines/` in a checkout, beside `dist/` when this is the built program. */
const directory = fileURLToPath(new URL("../configs", import.meta.url))

/** Decodes `configs/NAME.yaml`. Throws ConfigError with file, line and column. */
export const config = <S extends Schema.Codec<unknown, unknown>>(schema: S, name: string): S["Type"] => {
  const path = join(directory, `${name}.yaml`)
  const shown = relative(process.cwd(), path)
  return loadConfig(schema, shown.startsWith("..") ? path : shown)
}
