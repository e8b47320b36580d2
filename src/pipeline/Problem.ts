/** Problems of configuration as people read them: each with its place and the line at fault, several in one error. */
import { ConfigError } from "./ConfigError.ts"

/** One thing that is wrong in a file, an option or a call. */
export interface Problem {
  /** `file:line:column`, or the command-line option at fault. */
  readonly at?: string | undefined
  readonly message: string
  /** The line at fault with a caret below the place, as `excerpt` makes it. */
  readonly excerpt?: string | undefined
  readonly advice?: string | undefined
}

/** One error for all problems, in their order; the position of the first is the error's. */
export const toConfigError = (problems: ReadonlyArray<Problem>): ConfigError => {
  const [first] = problems
  const at = first?.at === undefined ? {} : { at: first.at }
  if (first !== undefined && problems.length === 1) {
    return new ConfigError({
      ...at,
      message: lines(first.message, first.excerpt),
      ...(first.advice === undefined ? {} : { advice: first.advice })
    })
  }
  const blocks = problems
    .slice(0, mostShown)
    .map((problem, i) =>
      lines(
        i === 0 || problem.at === undefined ? problem.message : `${problem.at}: ${problem.message}`,
        problem.excerpt,
        problem.advice === undefined ? undefined : `  ${problem.advice}`
      )
    )
  if (problems.length > mostShown) blocks.push(`and ${problems.length - mostShown} more problems`)
  return new ConfigError({ ...at, message: blocks.join("\n") })
}

/** Problems that one message shows; a file of the wrong sort may have thousands. */
const mostShown = 100

const lines = (...parts: ReadonlyArray<string | undefined>) => parts.filter(part => part !== undefined).join("\n")

/** Columns of a source line that an excerpt shows. */
const width = 96

/**
 * A line of source with a caret below `column` (from 1), and a remark beside the caret:
 *
 *       3 |   lr: fast
 *         |       ^ remark
 */
export const excerpt = (line: string, lineNumber: number, column: number, remark = ""): string => {
  const gutter = String(lineNumber)
  return caret(`  ${gutter} | `, `  ${" ".repeat(gutter.length)} | `, line, column, remark)
}

/** A text with a caret below `column` (from 1); `prefix` stands before the text, and as blanks before the caret. */
export const underline = (prefix: string, text: string, column: number, remark = ""): string =>
  caret(`  ${prefix}`, `  ${" ".repeat(prefix.length)}`, text, column, remark)

const caret = (before: string, below: string, text: string, column: number, remark: string): string => {
  const offset = Math.min(Math.max(column - 1, 0), text.length)
  // A long line is cut to a window around the place.
  const start = text.length <= width ? 0 : Math.max(0, Math.min(offset - width / 2, text.length - width))
  const shown = text.slice(start, start + width)
  const [left, right] = [start > 0 ? "…" : "", start + width < text.length ? "…" : ""]
  const indent = " ".repeat(left.length + offset - start)
  return `${before}${left}${oneColumnEach(shown)}${right}\n${below}${indent}^${remark === "" ? "" : ` ${remark}`}`
}

/** Characters that move the cursor, hide or reorder text; source that we show may hold any of them. */
const invisible =
  // oxfmt-ignore
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

const oneColumnEach = (text: string) => text.replaceAll("\t", " ").replaceAll(invisible, "·")

/** The text with invisible characters written as escapes, so that a message cannot disturb a terminal. */
export const visible = (text: string): string =>
  text.replaceAll(invisible, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** A value as it appears in messages: JSON, cut to about 60 characters. Takes no longer for a larger value. */
export const describe = (value: unknown): string => {
  if (value === undefined) return "nothing"
  const text = visible(sketch(value, 0))
  return text.length > 60 ? `${text.slice(0, 57).replace(/[\ud800-\udbff]$/, "")}...` : text
}

/** The beginning of a value's JSON; as numbers that JSON lacks (NaN) are written, too. */
const sketch = (value: unknown, depth: number): string => {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 64))
  if (typeof value === "function") return "a function"
  if (typeof value !== "object" || value === null) return String(value)
  if (depth > 8) return "..."
  const list = Array.isArray(value)
  let text = list ? "[" : "{"
  for (const key of Object.keys(value)) {
    if (text.length > 1) text += ","
    if (text.length > 64) break
    text += list ? "" : `${JSON.stringify(key.slice(0, 64))}:`
    text += sketch((value as Record<string, unknown>)[key], depth + 1)
  }
  return `${text}${list ? "]" : "}"}`
}

/** What somebody's code threw, in words. */
export const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : describe(cause))

/** `train.layers[0]["odd name"]`: a path as it is written in code. */
export const formatPath = (path: ReadonlyArray<PropertyKey>): string =>
  path
    .map((part, i) => {
      if (typeof part === "number") return `[${part}]`
      const name = String(part)
      if (!/^[\p{L}_$][\p{L}\p{N}_$-]*$/u.test(name) || name.length > 60) return `[${describe(name)}]`
      return i === 0 ? name : `.${name}`
    })
    .join("")
