/** Where a value came from, so that an error about it can show file, line and column. */
import { isAbsolute, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { ownField } from "./ownField.ts"

/** A position in a text; line and column count from 1. For what was typed on the command line the flag stands for the file, and both are 0. */
export interface Position {
  readonly file: string
  readonly line: number
  readonly column: number
  /** The line itself with a caret below the column, where the text is known. */
  readonly excerpt?: string
}

/** What of a field is meant: its value, or its name. */
export type Part = "value" | "key"

/** Finds the position of the value at `path` below some decoded value; the nearest enclosing one when it has none of its own. */
export type Locate = (path: ReadonlyArray<PropertyKey>, part: Part) => Position | undefined

const origins = new WeakMap<object, Locate>()

/** Remembers where a decoded object (and all below it) stands. */
export const record = (value: object, locate: Locate): void => void origins.set(value, locate)

/**
 * The position of the value at `path` inside `root`, from the innermost object on the way whose origin is known:
 * a stage's arguments are often assembled from objects of several files.
 */
export const find = (root: unknown, path: ReadonlyArray<PropertyKey>, part: Part = "value"): Position | undefined => {
  let value = root
  let found = locateFrom(value, path, part)
  for (let depth = 0; depth < path.length; depth++) {
    if (typeof value !== "object" || value === null) break
    value = (value as Record<PropertyKey, unknown>)[path[depth]!]
    found = locateFrom(value, path.slice(depth + 1), part) ?? found
  }
  return found
}

const locateFrom = (value: unknown, rest: ReadonlyArray<PropertyKey>, part: Part) =>
  typeof value === "object" && value !== null ? origins.get(value)?.(rest, part) : undefined

type Fields = { readonly [name: string]: unknown }

const isMapping = (value: unknown): value is Fields => {
  if (typeof value !== "object" || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/**
 * `base` with the fields of `over` laid on it; mappings that both have are laid on each other, and null takes a field away. Unlike a spread, the result
 * knows where each field stands.
 */
export const overlay = <A extends object, B extends object>(base: A, over: B): Overlaid<A, B> => {
  const result: { [name: string]: unknown } = { ...(base as Fields) }
  for (const [name, value] of Object.entries(over)) {
    const below = ownField(result, name)
    if (value === null) delete result[name]
    else result[name] = isMapping(below) && isMapping(value) ? overlay(below, value) : value
  }
  return remember(result, base, over) as Overlaid<A, B>
}

export type Overlaid<A, B> = Omit<A, keyof B> & B

/** The fields but some, each still known where it stands if it was. */
export const without = (value: Fields, names: ReadonlyArray<string>): { [name: string]: unknown } => {
  const rest: { [name: string]: unknown } = { ...value }
  for (const name of names) delete rest[name]
  return origins.has(value) ? remember(rest, value) : rest
}

/** What was assembled from others knows of each field what they know; the later ones come first. */
const remember = <A extends object>(result: A, ...from: ReadonlyArray<object>): A => {
  record(result, (path, part) => {
    const source = from.findLast(each => path.length > 0 && Object.hasOwn(each, path[0]!)) ?? from[0]!
    return find(source, path, part)
  })
  return result
}

/** `file:line:column`; a file below the working directory is written relative to it. */
export const format = ({ column, file, line }: Position): string =>
  `${fromHere(file.startsWith("file:///") ? fileURLToPath(file) : file)}${line === 0 ? "" : `:${line}:${column}`}`

/** A path as one would type it here: relative, unless it lies elsewhere. */
export const fromHere = (path: string): string => {
  if (!isAbsolute(path)) return path
  const below = relative(process.cwd(), path)
  return below === "" || below.startsWith("..") || isAbsolute(below) ? path : below
}

/** The first frame of the caller's stack that lies outside `inside` (a file's URL), as a position. */
export const callSite = (above: (...args: never) => unknown): Position | undefined => {
  const holder: { stack?: unknown } = {}
  const prepare = Error.prepareStackTrace
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 1
  Error.prepareStackTrace = (_, frames) => frames
  Error.captureStackTrace(holder, above)
  const frames = holder.stack as ReadonlyArray<NodeJS.CallSite>
  Error.prepareStackTrace = prepare
  Error.stackTraceLimit = limit
  const frame = frames[0]
  const file = frame?.getFileName()
  if (frame === undefined || file === null || file === undefined) return undefined
  return { file, line: frame.getLineNumber() ?? 0, column: frame.getColumnNumber() ?? 0 }
}
