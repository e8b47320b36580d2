/** What a schema found wrong with configuration, in the words of configuration. */
import { SchemaAST, SchemaIssue } from "effect"
import * as Origin from "./Origin.ts"
import { describe, formatPath, type Problem } from "./Problem.ts"
import { closest } from "./Suggestion.ts"

/** One thing that is wrong with a decoded value. */
export interface SchemaProblem {
  /** `foreign`: not of this use, but of others. The schema says so, by the annotation `foreign` of its issue. */
  readonly kind: "value" | "missing" | "unknown" | "foreign"
  /** From the root of the value; the last part of it is absent when the kind is `missing`. */
  readonly path: ReadonlyArray<PropertyKey>
  /** A sentence that begins with the name of the value: `train.lr must be a number, got "fast"`. */
  readonly message: string
  readonly advice?: string | undefined
  /** A value that would be accepted there, as it is typed. */
  readonly example?: string | undefined
}

/**
 * The problems in an issue that decoding `root` ended with. `subject` is the name of the root, as in `train`; when it is
 * empty, messages name the path alone, and the root `the file`.
 */
export const fromIssue = (issue: SchemaIssue.Issue, root: unknown, subject: string): ReadonlyArray<SchemaProblem> => {
  const name = (path: ReadonlyArray<PropertyKey>) => {
    const below = formatPath(path)
    if (subject === "") return below === "" ? "the file" : below
    return below === "" ? subject : `${subject}${below.startsWith("[") ? "" : "."}${below}`
  }
  const byPath = Map.groupBy(leaves(issue, [], undefined), ({ path }) => JSON.stringify(path.map(String)))
  return Array.from(byPath.values(), group => toProblem(group, root, name))
}

/** A problem of a value below `root` with the place where the value was written; undefined where that is not known. */
export const placed = ({ advice, kind, message, path }: SchemaProblem, root: unknown): Problem | undefined => {
  const position = Origin.find(root, path, kind === "unknown" ? "key" : "value")
  return position && { at: Origin.format(position), message, advice, excerpt: position.excerpt }
}

/** An issue without issues below it. */
interface Leaf {
  readonly kind: SchemaProblem["kind"]
  readonly path: ReadonlyArray<PropertyKey>
  /** What the schema expects, in its own words: `number`, `"cosine" | "linear"`. Undefined when `text` says it all. */
  readonly expected?: string | undefined
  /** A message that the schema's author wrote. */
  readonly text?: string | undefined
  /** The names that the enclosing mapping has. */
  readonly known: ReadonlyArray<string>
}

type Foreign = { readonly foreign?: unknown }

type Enclosing = SchemaIssue.Composite["ast"] | undefined

const formatter = SchemaIssue.makeFormatterStandardSchemaV1()

const leaves = (
  issue: SchemaIssue.Issue,
  path: ReadonlyArray<PropertyKey>,
  enclosing: Enclosing
): ReadonlyArray<Leaf> => {
  switch (issue._tag) {
    case "Composite":
      return issue.issues.flatMap(below => leaves(below, path, issue.ast))
    case "Encoding":
      return leaves(issue.issue, path, enclosing)
    case "Pointer":
      return leaves(issue.issue, [...path, ...issue.path], enclosing)
    case "AnyOf": {
      if (issue.issues.length === 0) break
      // The alternative that fits best is the one that was meant.
      const alternatives = issue.issues.map(below => leaves(below, path, issue.ast))
      if (alternatives.every(found => found.every(leaf => leaf.path.length === path.length))) {
        const expected = alternatives.flatMap(found => found.map(leaf => leaf.expected))
        if (expected.every(text => text !== undefined)) {
          return [{ kind: "value", path, expected: expected.join(" | "), known: [] }]
        }
      }
      return alternatives.reduce((best, found) => (found.length < best.length ? found : best))
    }
    case "MissingKey":
      return [{ kind: "missing", path, expected: fieldType(enclosing, path.at(-1)), known: [] }]
    case "UnexpectedKey":
      return [{ kind: "unknown", path, known: fieldNames(issue.ast) }]
    case "InvalidType":
      return [{ kind: "value", path, ...expectedOr(issue, expectation(issue.ast)), known: [] }]
    default:
  }
  const whole = issue._tag === "Filter" && enclosing !== undefined ? expectation(enclosing) : undefined
  const foreign = issue._tag === "InvalidValue" && (issue.annotations as Foreign | undefined)?.foreign === true
  return formatter(issue).issues.map(({ path: below, message }) => ({
    kind: foreign ? "foreign" : "value",
    path: [...path, ...((below ?? []) as ReadonlyArray<PropertyKey>)],
    ...(isExpectation(message) ? { expected: whole ?? message.slice(expectedPrefix.length) } : { text: message }),
    known: []
  }))
}

const expectedPrefix = "Expected "

const isExpectation = (message: string) => message.startsWith(expectedPrefix) && !message.includes("<filter>")

/** A schema may have a message of its own, which then takes the place of what it expects. */
const expectedOr = (issue: SchemaIssue.Issue, expected: string | undefined): { expected?: string; text?: string } => {
  const message = formatter(issue).issues[0]!.message
  return isExpectation(message) ? { expected: expected ?? message.slice(expectedPrefix.length) } : { text: message }
}

/** What a number or text must be, its type and its checks in one phrase: `an integer between 0 and 8`. */
const expectation = (ast: SchemaIssue.InvalidType["ast"]): string | undefined => {
  if (ast._tag !== "Number" && ast._tag !== "String") return undefined
  const checks = (ast.checks ?? []).flatMap(expectedByCheck)
  const nouns = checks.filter(check => !qualifier.test(check) && check !== "a finite number")
  const qualifiers = checks.filter(check => qualifier.test(check)).map(check => check.replace(qualifier, ""))
  const noun = nouns.length === 0 ? words[ast._tag.toLowerCase()]! : nouns.join(" and ")
  return qualifiers.length === 0 ? noun : `${noun} ${qualifiers.join(" and ")}`
}

const qualifier = /^a (?:value|string) /

type Check = NonNullable<SchemaIssue.InvalidType["ast"]["checks"]>[number]

const expectedByCheck = (check: Check): ReadonlyArray<string> => {
  const expected = check.annotations?.["expected"]
  if (typeof expected === "string") return [expected]
  return check._tag === "FilterGroup" ? check.checks.flatMap(expectedByCheck) : []
}

const fieldNames = (ast: Enclosing): ReadonlyArray<string> =>
  ast?._tag === "Objects" ? ast.propertySignatures.map(field => String(field.name)) : []

const fieldType = (ast: Enclosing, name: PropertyKey | undefined): string | undefined => {
  const field = ast?._tag === "Objects" ? ast.propertySignatures.find(field => field.name === name) : undefined
  if (field === undefined) return undefined
  // A transformation to a type that says nothing is described by what people write for it.
  const type = field.type._tag === "Unknown" ? SchemaAST.toEncoded(field.type) : field.type
  return expectedOr(new SchemaIssue.InvalidType(type), expectation(type)).expected
}

const toProblem = (
  group: ReadonlyArray<Leaf>,
  root: unknown,
  name: (path: ReadonlyArray<PropertyKey>) => string
): SchemaProblem => {
  const { kind, path, known } = group[0]!
  const where = name(path)
  if (kind === "unknown") {
    const meant = closest(String(path.at(-1)), known)
    const advice =
      meant !== undefined
        ? `did you mean ${meant}?`
        : known.length === 0
          ? undefined
          : `known here: ${known.slice(0, 20).join(", ")}${known.length > 20 ? ", …" : ""}`
    return { kind, path, message: `${where} is not known`, advice }
  }
  const expected = [...new Set(group.flatMap(leaf => (leaf.expected === undefined ? [] : [leaf.expected])))]
  const must =
    expected.length === 0 ? undefined : `must be ${expected.map(inWords).join(" and ")}`.replace("be a value ", "be ")
  const example = exampleOf(expected)
  if (kind === "missing") {
    return { kind, path, message: `${where} is missing${must === undefined ? "" : `; it ${must}`}`, example }
  }
  const value = at(root, path)
  const texts = group.flatMap(leaf => (leaf.text === undefined ? [] : [leaf.text]))
  const what = must === undefined ? `${where}: ${texts.join("; ")}` : [`${where} ${must}`, ...texts].join("; ")
  return { kind, path, message: `${what}, got ${describe(value)}`, advice: adviceFor(expected, value), example }
}

const at = (root: unknown, path: ReadonlyArray<PropertyKey>): unknown => {
  let value = root
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Record<PropertyKey, unknown>)[part]
  }
  return value
}

const words: { readonly [expected: string]: string } = {
  number: "a number",
  string: "a string",
  boolean: "true or false",
  object: "a mapping",
  array: "a list"
}

/** The alternatives of an expectation: `number | "a" | null`. A literal may contain the bar. */
const alternativesOf = (expected: string): ReadonlyArray<string> =>
  expected.match(/(?:"(?:[^"\\]|\\.)*"|[^"|]|\|(?! )|(?<! )\|)+/g)?.map(part => part.trim()) ?? [expected]

const inWords = (expected: string): string => {
  const parts = alternativesOf(expected).map(part => words[part] ?? part.replace(tagged, "a mapping with $1 $2"))
  return parts.length === 1 ? parts[0]! : `${parts.slice(0, -1).join(", ")} or ${parts.at(-1)}`
}

/** How Effect writes one alternative of a tagged union. */
const tagged = /^\{ readonly "(\w+)": ("[^"]*"), \.\.\. \}$/

const isNumeric = (expected: string) => /\b(?:number|integer)\b/.test(expected)

/** Text and numbers are told apart by quotes, and YAML 1.2 has no `yes`; people stumble over both. */
const adviceFor = (expected: ReadonlyArray<string>, value: unknown): string | undefined => {
  const kinds = expected.flatMap(alternativesOf)
  if (typeof value === "string") {
    if (kinds.some(isNumeric) && /^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i.test(value)) {
      return `write ${value} without quotes`
    }
    if (kinds.includes("boolean") && /^(?:y|yes|on|n|no|off|true|false)$/i.test(value)) {
      return `write ${/^(?:y|yes|on|true)$/i.test(value) ? "true" : "false"}`
    }
    const literals = kinds.filter(kind => kind.startsWith('"')).map(kind => kind.slice(1, -1))
    const meant = closest(value, literals)
    return meant === undefined ? undefined : `did you mean ${meant}?`
  }
  return kinds.some(kind => /^(?:a )?string\b/.test(kind)) && (typeof value === "number" || typeof value === "boolean")
    ? `for a text, put it in quotes: "${value}"`
    : undefined
}

const exampleOf = (expected: ReadonlyArray<string>): string | undefined => {
  if (expected.length !== 1) return undefined
  const [first] = alternativesOf(expected[0]!)
  if (first === undefined) return undefined
  return first.startsWith('"') ? first.slice(1, -1) : examples[first]
}

const examples: { readonly [expected: string]: string } = {
  number: "1e-4",
  "a number": "1e-4",
  "a number greater than 0": "1e-4",
  "an integer": "8",
  boolean: "true",
  array: "[1,2]"
}
