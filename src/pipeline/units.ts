/** Numbers as people read them: bytes, durations, counts. */

const byteUnits = ["B", "kB", "MB", "GB", "TB", "PB"] as const

/** A number with up to six significant digits. */
export const sixDigits = (value: number): string => String(Number(value.toPrecision(6)))

/** Decimal units, three significant digits: `61.2 kB`. */
export const bytes = (value: number): string => {
  let unit = 0
  let scaled = value
  while (scaled >= 999.5 && unit < byteUnits.length - 1) {
    scaled /= 1000
    unit++
  }
  return `${unit === 0 ? String(scaled) : scaled.toPrecision(3)} ${byteUnits[unit]}`
}

/** Thousands separated by commas: `51,902`. */
export const count = (value: number): string =>
  // What `toLocaleString` writes, without loading its tables: 10 ms of a start.
  Number.isInteger(value) && Math.abs(value) < 1e21
    ? String(value).replaceAll(/\B(?=(\d{3})+$)/g, ",")
    : value.toLocaleString("en-US")

/** `1 object`, `1,200 objects`. */
export const plural = (n: number, noun: string): string => `${count(n)} ${noun}${n === 1 ? "" : "s"}`

/** `0.4 s`, `12 s`, `2 min 3 s`, `5 h 12 min`, `3 d 4 h`. */
export const duration = (ms: number): string => {
  const seconds = ms / 1000
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return two(Math.floor(whole / 60), "min", whole % 60, "s")
  if (whole < 86_400) return two(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min")
  return two(Math.floor(whole / 86_400), "d", Math.floor((whole % 86_400) / 3600), "h")
}

const two = (major: number, majorUnit: string, minor: number, minorUnit: string) =>
  minor === 0 ? `${major} ${majorUnit}` : `${major} ${majorUnit} ${minor} ${minorUnit}`

/** `2 hours ago`, `just now`. */
export const ago = (ms: number): string => {
  const seconds = Math.max(0, Math.round(ms / 1000))
  for (const [size, unit] of [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"]
  ] as const) {
    if (seconds >= size) return `${plural(Math.floor(seconds / size), unit)} ago`
  }
  return seconds < 5 ? "just now" : `${seconds} seconds ago`
}
