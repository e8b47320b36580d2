/** Durations and sizes as people type them: `7d`, `50GB`. */
import { Effect } from "effect"
import { ConfigError } from "../../pipeline/ConfigError.ts"

const durations: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000
}

const sizes: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40
}

const parse = (
  text: string,
  units: Readonly<Record<string, number>>,
  flag: string,
  example: string
): Effect.Effect<number, ConfigError> => {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/.exec(text.trim().toLowerCase())
  const unit = match === null ? undefined : units[match[2]!]
  return match === null || unit === undefined
    ? Effect.fail(
        new ConfigError({
          at: `--${flag} ${text}`,
          message: "a number with a unit is expected",
          advice: `for example --${flag} ${example}; units: ${Object.keys(units).join(", ")}`
        })
      )
    : Effect.succeed(Number(match[1]) * unit)
}

/** Milliseconds. */
export const parseDuration = (text: string, flag: string): Effect.Effect<number, ConfigError> =>
  parse(text, durations, flag, "7d")

/** Bytes. Units are decimal (kB, MB, GB), or binary with an i (KiB, MiB, GiB). */
export const parseBytes = (text: string, flag: string): Effect.Effect<number, ConfigError> =>
  Effect.map(parse(text, sizes, flag, "50GB"), Math.round)
