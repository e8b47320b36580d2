/** Parameters that follow a training's settings. */
import { ConfigError } from "../src/pipeline/ConfigError.ts"

/** Refuses a parameter that was set to another value than the training's, which it follows. */
export const follows = (parameter: string, found: unknown, wanted: unknown, setting: string): void => {
  if (found === wanted) return
  throw new ConfigError({
    at: "--set",
    message: `${parameter} is ${String(found)}, but the training's ${setting} is ${String(wanted)}`,
    advice: `it follows the training: set train.${setting}, or train/ROW.${setting} for one row`
  })
}
