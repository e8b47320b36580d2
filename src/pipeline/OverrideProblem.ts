/** How parameters set on the command line meet the stages of a plan, and how errors about them are shown. */
import type { Override } from "./PlanBuilder.ts"
import type * as Origin from "./Origin.ts"
import { type Problem, underline } from "./Problem.ts"
import type { SchemaProblem } from "./SchemaProblem.ts"

/**
 * The path below a stage that an override sets; undefined when it means another stage. An override of a stage's kind
 * (`train.lr`) sets the parameter in all its uses, one of a label (`train/with_align.lr`) in that use. A label may contain
 * dots, which an override cannot tell from those of the path: here the label is known.
 */
export const pathBelow = (override: Override, stage: string, label: string): ReadonlyArray<string> | undefined => {
  if (override.target === stage || override.target === label) return override.path
  if (!label.includes(".")) return undefined
  const whole = [override.target, ...override.path].join(".")
  return whole.startsWith(`${label}.`) ? whole.slice(label.length + 1).split(".") : undefined
}

/** Whether setting `set` can have made the problem at `path`. */
export const touches = (set: ReadonlyArray<string>, path: ReadonlyArray<PropertyKey>): boolean =>
  path.length > 0 && set.slice(0, path.length).every((part, i) => part === String(path[i]))

/** A problem of a parameter that was set on the command line; `around` is where its neighbours were read from. */
export const overrideProblem = (
  inputs: ReadonlyArray<string>,
  { kind, path, message, advice, example }: SchemaProblem,
  set: { readonly path: ReadonlyArray<string>; readonly text: string },
  around: Origin.Position | undefined
): Problem => {
  const at = around === undefined ? "--set" : `${around.file} and --set`
  const equals = set.text.indexOf("=")
  const left = equals === -1 ? set.text : set.text.slice(0, equals)
  // The end of the left side is the path; what the problem is about may be a part of it, or lie inside the value.
  const inPath = path.length < set.path.length || kind === "unknown"
  const from = set.path.slice(path.length - 1).join(".").length
  const column = inPath && path.length <= set.path.length ? left.length - from + 1 : left.length + 2
  const exact = path.length === set.path.length
  if (kind === "unknown" && path.length === 1 && inputs.includes(set.path[0]!)) {
    const wired = "it is an input: the pipeline wires it, and --set sets parameters"
    return { at, message, excerpt: underline("--set ", set.text, column, wired) }
  }
  const remark =
    advice ?? (exact && kind === "value" && example !== undefined ? `for example --set ${left}=${example}` : "")
  return { at, message, excerpt: underline("--set ", set.text, column, remark) }
}
