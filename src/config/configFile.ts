/** Configuration files: YAML decoded by a schema, with every problem of a file reported at its line and column. */
import { Result, Schema } from "effect"
import { isUtf8 } from "node:buffer"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { toConfigError } from "../pipeline/Problem.ts"
import { fromIssue, placed } from "../pipeline/SchemaProblem.ts"
import { closest } from "../pipeline/Suggestion.ts"
import { YamlDocument, type YamlProblem } from "./yaml.ts"
import { yamlLimits } from "./yamlTree.ts"

/**
 * Reads one YAML document into plain objects, lists and scalars. `file` is its name in messages.
 * YAML 1.2 core with merge keys: `2e-4`, `1e6` and `.5` are numbers, `"2e-4"` is a text, `yes` is a text.
 * Throws ConfigError for anything else than one document of unique text keys within the limits of `yamlLimits`.
 */
export const parseYaml = (text: string, file: string): unknown => {
  const document = YamlDocument.read(text, file)
  if (document.problems.length > 0) throw inOneError(document.problems.map(problem => document.show(problem)))
  document.recordOrigins(document.value)
  return document.value
}

/**
 * Decodes a YAML text by a schema; a key that the schema does not know is an error. For every object in the result it is
 * remembered where it came from, so that a stage's complaint about a parameter points into the file. (A scalar has no
 * identity: copied out of its object, it is complained about where it was copied to.)
 * Throws one ConfigError with all problems, in the order of lines.
 */
export const decodeConfig = <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  text: string,
  file: string
): S["Type"] => {
  const document = YamlDocument.read(text, file)
  const problems = document.problems.map(problem => document.show(problem))
  if (document.value === undefined) throw inOneError(problems)
  const decoded = Schema.decodeUnknownResult(schema, { errors: "all", onExcessProperty: "error" })(document.value)
  if (Result.isFailure(decoded)) {
    for (const { kind, path, message, advice } of fromIssue(decoded.failure.issue, document.value, "")) {
      problems.push(document.showAt(path, kind === "unknown" ? "key" : "value", message, advice))
    }
    throw inOneError(problems)
  }
  if (problems.length > 0) throw inOneError(problems)
  document.recordOrigins(document.value)
  document.recordOrigins(decoded.success)
  return decoded.success
}

/**
 * Decodes a value that was assembled from configuration files (`Origin.overlay`) by a schema. Throws one ConfigError with all problems, each with the
 * place in its file. `name` stands for the value where no file is known.
 */
export const decodeAssembled = <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  value: unknown,
  name: string
): S["Type"] => {
  const decoded = Schema.decodeUnknownResult(schema, { errors: "all", onExcessProperty: "error" })(value)
  if (Result.isSuccess(decoded)) return decoded.success
  throw toConfigError(
    fromIssue(decoded.failure.issue, value, "").map(
      problem => placed(problem, value) ?? { at: name, message: problem.message, advice: problem.advice }
    )
  )
}

/** Reads a configuration file as it is written; what is in it is still to be decoded. Throws ConfigError. */
export const readConfig = (path: string): unknown => parseYaml(readText(path), path)

const inOneError = (problems: ReadonlyArray<YamlProblem>) =>
  toConfigError([...problems].sort((a, b) => a.line - b.line || a.column - b.column))

/** Reads and decodes a configuration file; see `decodeConfig`. Throws ConfigError also when the file cannot be read. */
export const loadConfig = <S extends Schema.Codec<unknown, unknown>>(schema: S, path: string): S["Type"] =>
  decodeConfig(schema, readText(path), path)

const readText = (path: string): string => {
  const bytes = readBytes(path)
  const text = bytes.toString("utf8")
  if (!isUtf8(bytes)) {
    // Written back, the text differs from the bytes where they stopped being text.
    const again = Buffer.from(text)
    const offset = bytes.findIndex((byte, i) => byte !== again[i])
    const before = bytes
      .subarray(0, offset)
      .toString("utf8")
      .split(/\r\n|\r|\n/)
    throw new ConfigError({
      at: `${path}:${before.length}:${before.at(-1)!.length + 1}`,
      message: `byte ${offset} is not UTF-8 text`,
      advice: "save the file as UTF-8"
    })
  }
  return text
}

const readBytes = (path: string): Buffer => {
  try {
    const stats = statSync(path)
    if (!stats.isFile() && !stats.isDirectory()) {
      throw new ConfigError({ at: path, message: "the file cannot be read: it is a device or a pipe" })
    }
    const { size } = stats
    if (size > yamlLimits.size) {
      throw new ConfigError({
        at: path,
        message: `a configuration may have ${yamlLimits.size} bytes, this file has ${size}`
      })
    }
    return readFileSync(path)
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined
    if (code === "ENOENT") throw new ConfigError({ at: path, message: "there is no such file", ...neighbour(path) })
    const why =
      code === "EISDIR" ? "it is a directory" : code === "EACCES" ? "permission denied" : String(code ?? cause)
    throw new ConfigError({ at: path, message: `the file cannot be read: ${why}` })
  }
}

/** The file in the same directory that was probably meant. */
const neighbour = (path: string): { readonly advice?: string } => {
  try {
    const meant = closest(basename(path), readdirSync(dirname(path)))
    return meant === undefined ? {} : { advice: `did you mean ${join(dirname(path), meant)}?` }
  } catch {
    return {}
  }
}
