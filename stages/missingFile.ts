/** Whether a source is a file that is not there: what pipelines may say of it before a stage would. */
import { existsSync } from "node:fs"
import { Result } from "effect"
import { parseSource } from "../src/hub/source.ts"

/** The path of a source that is a file of this machine, if nothing is there. */
export const missingFile = (text: string): string | undefined => {
  const parsed = parseSource(text)
  if (Result.isFailure(parsed) || parsed.success._tag !== "File") return undefined
  return existsSync(parsed.success.path) ? undefined : parsed.success.path
}
