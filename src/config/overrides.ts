/** Parameters set on the command line: `--set train.lr=1e-4`, `--set train/with_align.layers=[1,2]`; and `--sweep train.lr=1e-4,3e-4`. */
import { Array as Arr } from "effect"
import { COLLECTION_STYLE, EVENT_ID, parseEvents, SCALAR_STYLE } from "js-yaml"
import type { ConfigError } from "../pipeline/ConfigError.ts"
import { canonical, type Json } from "../pipeline/Digest.ts"
import type { Override } from "../pipeline/PlanBuilder.ts"
import { toConfigError, underline, visible } from "../pipeline/Problem.ts"
import { YamlDocument } from "./yaml.ts"

/**
 * Reads what follows `--set`: `STAGE.PARAMETER=VALUE` or `STAGE/NAME.PARAMETER=VALUE`. A parameter inside a parameter is
 * reached with further dots. The value is a YAML scalar, list or mapping on one line: `1e-4`, `[1,2]`, `{a: 1}`; a text
 * needs quotes only when YAML would read it as something else.
 *
 * A stage's name may contain dots (`train/qwen3.6.lr`): here it ends at the first one, and the plan, which knows the names
 * of its stages, moves what belongs to the name from `path` to it.
 * Throws ConfigError with a caret below the place.
 */
export const parseOverride = (text: string): Override => parse("--set", text)

/**
 * Reads what follows `--sweep`: as after `--set`, but with several values between commas. Commas within brackets, braces and quotes belong to a value.
 * Throws ConfigError with a caret below the place.
 */
export const parseSweep = (text: string): Arr.NonEmptyReadonlyArray<Override> => {
  const equals = text.indexOf("=")
  if (equals === -1) return [parse("--sweep", text)]
  const overrides = Arr.map(valuesIn(text.slice(equals + 1)), value =>
    parse("--sweep", `${text.slice(0, equals + 1)}${value}`)
  )
  const known = new Set<string>()
  for (const { text: one, value } of overrides) {
    const digest = finite(text, equals + 1, value)
    if (known.has(digest))
      throw problemAfter("--sweep")(text, equals + 1, `${one.slice(equals + 1)} stands there twice`)
    known.add(digest)
  }
  return overrides
}

/** Tells values apart. Throws ConfigError for numbers that are not finite, which no field takes. */
const finite = (text: string, offset: number, value: unknown): string => {
  try {
    return canonical(value as Json)
  } catch (cause) {
    throw problemAfter("--sweep")(text, offset, cause instanceof Error ? cause.message : String(cause))
  }
}

/** After which a quote opens, as in YAML: at the beginning of a value. */
const beforeValue = /(?:^|[[{,:])\s*$/

/** What stands between commas that no bracket, brace or quote encloses. */
const valuesIn = (text: string): Arr.NonEmptyReadonlyArray<string> => {
  const values: Arr.NonEmptyArray<string> = [""]
  let depth = 0
  let quote: string | undefined
  for (const character of text) {
    if (quote !== undefined) quote = character === quote ? undefined : quote
    else if ((character === '"' || character === "'") && beforeValue.test(values.at(-1)!)) quote = character
    else if ("[{".includes(character)) depth += 1
    else if ("]}".includes(character)) depth -= 1
    if (character === "," && depth === 0 && quote === undefined) values.push("")
    else values[values.length - 1] += character
  }
  return values
}

const parse = (flag: string, text: string): Override => {
  const problem = problemAfter(flag)
  const equals = text.indexOf("=")
  const left = equals === -1 ? text : text.slice(0, equals)
  const target = /^[a-z][a-z0-9-]*(?:\/[A-Za-z0-9][A-Za-z0-9_-]*)?/.exec(left)?.[0] ?? ""
  if (target === "") throw problem(text, 0, "the name of a stage must come first", `for example ${flag} train.lr=1e-4`)
  if (target.length === left.length) {
    const example = `for example ${flag} ${target}.lr=1e-4`
    throw problem(text, target.length, `stage ${target} is named, but no parameter of it`, example)
  }
  if (left[target.length] !== ".") {
    const message = `the name of a stage contains no ${JSON.stringify(left[target.length])}`
    throw problem(text, target.length, message, `for example ${flag} train.lr=1e-4`)
  }
  const path = left.slice(target.length + 1).split(".")
  let offset = target.length + 1
  for (const part of path) {
    if (part === "") {
      throw problem(text, offset, "the name of a parameter is missing", `for example ${flag} ${target}.lr=1e-4`)
    }
    const odd = part.search(/[^\p{L}\p{N}_$-]/u)
    if (odd !== -1) {
      throw problem(text, offset + odd, `the name of a parameter contains no ${JSON.stringify(part[odd])}`)
    }
    if (part === "__proto__") throw problem(text, offset, "__proto__ cannot be the name of a parameter")
    offset += part.length + 1
  }
  if (equals === -1) throw problem(text, text.length, "the value is missing", `for example ${flag} ${text}=1e-4`)
  return { target, path, value: parseValue(flag, text, equals + 1), text }
}

const parseValue = (flag: string, text: string, start: number): unknown => {
  const problem = problemAfter(flag)
  const written = text.slice(start)
  if (written.trim() === "") {
    throw problem(text, start, 'the value is missing; write "" for an empty text and null for nothing')
  }
  // The quotes that YAML needs are kept from the shell by quotes of the other sort.
  const quoted = JSON.stringify(written).replaceAll("'", `'\\''`)
  const asText = `for a text, write ${flag} '${text.slice(0, start)}${quoted}'`
  const fail = (offset: number, message: string) =>
    problem(text, start + Math.min(offset, written.length), message, undefined, asText)
  const lineBreak = written.search(/[\r\n]/)
  if (lineBreak !== -1) throw fail(lineBreak, "the value must be on one line")
  const document = YamlDocument.read(written, flag)
  const [first] = document.problems
  if (first !== undefined) throw fail(first.offset, first.message)
  let end = 0
  for (const event of parseEvents(written, {})) {
    if (event.type === EVENT_ID.DOCUMENT) {
      if (event.explicitStart || event.explicitEnd) throw fail(0, "the value must not be a whole YAML document")
    } else if (event.type === EVENT_ID.SEQUENCE || event.type === EVENT_ID.MAPPING) {
      if (event.style === COLLECTION_STYLE.BLOCK) {
        throw fail(event.start, "a list is written in [], a mapping in {}; a text that looks like one needs quotes")
      }
      end = written.length
    } else if (event.type === EVENT_ID.SCALAR) {
      if (event.style === SCALAR_STYLE.LITERAL_BLOCK || event.style === SCALAR_STYLE.FOLDED_BLOCK) {
        throw fail(0, "the value must be on one line")
      }
      end = Math.max(end, event.valueEnd)
    }
  }
  // A comment would silently cut off the end of a text.
  const comment = written.slice(end).search(/\s#/)
  if (comment !== -1) throw fail(end + comment + 1, "a comment begins here; it would not belong to the value")
  return document.value
}

const problemAfter =
  (flag: string) =>
  (text: string, offset: number, message: string, remark = "", advice?: string): ConfigError =>
    toConfigError([
      {
        at: flag,
        message: visible(message),
        excerpt: underline(`${flag} `, text, offset + 1, visible(remark)),
        advice: advice === undefined ? undefined : visible(advice)
      }
    ])
