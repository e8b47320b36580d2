/** Numbers as they stand in tables and sentences. */
import { count } from "../pipeline/units.ts"

/** With so many decimals; a minus sign, not a hyphen. */
export const fixed =
  (decimals: number) =>
  (value: number): string =>
    value
      .toFixed(decimals)
      .replace(/^-(?=.*[1-9])/, "−")
      .replace(/^-/, "")

/** With its sign, whichever it is. */
export const signed =
  (decimals: number) =>
  (value: number): string => {
    const text = fixed(decimals)(value)
    return value > 0 && /[1-9]/.test(text) ? `+${text}` : text
  }

/** A share as per cent. */
export const percent = (value: number): string => `${fixed(1)(100 * value)} %`

/** Three significant digits, without an exponent; all of them, with commas, before the point. */
export const significant = (value: number): string => {
  const digits = value === 0 ? 1 : Math.floor(Math.log10(Math.abs(value))) + 1
  return digits > 3 ? count(Math.round(value)) : fixed(Math.min(6, 3 - digits))(value)
}

export const interval = (format: (value: number) => string, low: number, high: number): string =>
  `[${format(low)}, ${format(high)}]`

/** A p-value; `smallest` when the method can give no smaller one. */
export const pValue = (p: number, smallest: boolean): string => `${smallest ? "≤ " : ""}${p.toFixed(p < 0.01 ? 4 : 2)}`
