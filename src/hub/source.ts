/**
 * Where data comes from, as people write it in configurations:
 *
 *     embedded:NAME                              something that ships with this program
 *     file:PATH                                  a file or directory of this machine
 *     https://HOST/PATH                          one file; its SHA-256 is given beside it (http:// on loopback hosts only)
 *     https://HOST/PATH?$NAME                    the same; the environment variable NAME holds its query, which may be a secret
 *     hf://models/ORG/NAME@REVISION[/PATH]       a model repository of the hub, or a file or directory in it
 *     hf://datasets/ORG/NAME@REVISION[/PATH]     the same for a dataset
 *
 * In an `hf:` source the revision and the path are percent-encoded, as in any URL. A revision that contains slashes must
 * be: `@refs%2Fconvert%2Fparquet`. A `%` itself is written `%25`.
 */
import { Result, Schema } from "effect"
import { fileURLToPath, pathToFileURL } from "node:url"
import { unsafePath } from "../pipeline/SafePath.ts"
import { queryKind, redactWord, variableOf } from "../pipeline/Secrets.ts"
import { webUrl } from "./url.ts"

/** Something that ships with this program, by its name. */
export interface EmbeddedSource {
  readonly _tag: "Embedded"
  readonly name: string
}

/** A file or directory of this machine. A relative path is relative to what the reader of the configuration decides. */
export interface FileSource {
  readonly _tag: "File"
  readonly path: string
}

/** One file of the web. */
export interface HttpsSource {
  readonly _tag: "Https"
  /** Without the query that a variable holds. */
  readonly url: string
  /** The environment variable that holds the query, of a signed address for example. */
  readonly queryFrom?: string
}

export type RepoType = "models" | "datasets"

/** A repository of the hub at a revision (branch, tag, `refs/…` or commit), or a file or directory in it. */
export interface HubSource {
  readonly _tag: "Hub"
  readonly type: RepoType
  /** `ORG/NAME` */
  readonly repo: string
  readonly revision: string
  readonly path?: string
}

export type Source = EmbeddedSource | FileSource | HttpsSource | HubSource

/** A source string that cannot be understood; `message` shows the place with a caret. */
export class SourceError extends Schema.TaggedError<SourceError>()("SourceError", {
  source: Schema.String,
  /** Where in the string, counted in UTF-16 units from 0. */
  offset: Schema.Int,
  message: Schema.String
}) {}

const examples = {
  embedded: "embedded:web50",
  file: "file:data/documents.jsonl",
  https: "https://example.org/documents.jsonl",
  hub: "hf://models/Qwen/Qwen3-0.6B@main or hf://datasets/HuggingFaceFW/fineweb@main/sample/10BT/000_00000.parquet"
} as const

const fail = (source: string, offset: number, what: string, example: string): Result.Result<never, SourceError> => {
  // Control characters would break the two lines apart that the caret has to line up with.
  const clean = redactWord(source, { keepLength: true })
  const shown = clean.replaceAll(/[\u0000-\u001f\u007f]/g, "·")
  const message = `${what}\n  ${shown}\n  ${" ".repeat(offset)}^\n  for example ${example}`
  return Result.fail(new SourceError({ source: clean, offset, message }))
}

/** Reads a source string. */
export const parseSource = (text: string): Result.Result<Source, SourceError> => {
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:/.exec(text)?.[0]
  switch (scheme) {
    case "embedded:":
      return parseEmbedded(text)
    case "file:":
      return parseFile(text)
    case "https:":
    case "http:":
      return parseWeb(text)
    case "hf:":
      return parseHub(text)
    default: {
      const problem =
        scheme === undefined
          ? `a source starts with embedded:, file:, https:// or hf://`
          : `unknown kind of source "${scheme}"; known are embedded:, file:, https:// and hf://`
      return fail(text, 0, problem, `${examples.embedded}, ${examples.file}, ${examples.https}, ${examples.hub}`)
    }
  }
}

/** Writes a source as the string that `parseSource` reads. */
export const formatSource = (source: Source): string => {
  switch (source._tag) {
    case "Embedded":
      return `embedded:${source.name}`
    case "File":
      return source.path.startsWith("//") ? pathToFileURL(source.path).href : `file:${source.path}`
    case "Https":
      return source.queryFrom === undefined ? source.url : `${source.url}?$${source.queryFrom}`
    case "Hub": {
      const path = source.path === undefined ? "" : `/${encodePath(source.path)}`
      return `hf://${source.type}/${source.repo}@${encodeURIComponent(source.revision)}${path}`
    }
  }
}

/** Percent-encodes each segment of a path. */
export const encodePath = (path: string): string => path.split("/").map(encodeURIComponent).join("/")

const parseEmbedded = (text: string): Result.Result<Source, SourceError> => {
  const start = "embedded:".length
  const name = text.slice(start)
  if (name === "") return fail(text, start, "the name is missing", examples.embedded)
  const bad = name.search(/[^A-Za-z0-9._-]/)
  if (bad >= 0) return fail(text, start + bad, "a name has only letters, digits, '.', '_' and '-'", examples.embedded)
  return Result.succeed({ _tag: "Embedded", name })
}

const parseFile = (text: string): Result.Result<Source, SourceError> => {
  const start = "file:".length
  const rest = text.slice(start)
  if (rest === "") return fail(text, start, "the path is missing", examples.file)
  const nul = rest.indexOf("\0")
  if (nul >= 0) return fail(text, start + nul, "a path cannot contain NUL", examples.file)
  if (!rest.startsWith("//")) return Result.succeed({ _tag: "File", path: rest })
  try {
    return Result.succeed({ _tag: "File", path: fileURLToPath(text) })
  } catch {
    return fail(
      text,
      start + 2,
      "a file URL names no other host and is percent-encoded",
      `${examples.file} or file:///a/b`
    )
  }
}

const parseWeb = (text: string): Result.Result<Source, SourceError> => {
  const url = webUrl(text)
  if (Result.isFailure(url)) {
    return fail(text, 0, `this address cannot be used: ${url.failure}`, examples.https)
  }
  const hash = text.indexOf("#")
  if (hash >= 0) return fail(text, hash, "a fragment does not belong in the address of a file", examples.https)
  const query = text.indexOf("?")
  switch (queryKind(url.success.search)) {
    case "reference": {
      const queryFrom = variableOf(url.success.search)
      url.success.search = ""
      return Result.succeed({ _tag: "Https", url: url.success.href, queryFrom })
    }
    case "secret":
      return fail(
        text,
        query,
        "a query may hold a secret (a signature, a token), and a source is recorded as it is written; put the query into an environment variable and name that",
        `export QUERY='…' and '${url.success.origin}${url.success.pathname}?$QUERY'`
      )
    default:
      return Result.succeed({ _tag: "Https", url: url.success.href })
  }
}

const repoName = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?$/

const parseHub = (text: string): Result.Result<Source, SourceError> => {
  const prefix = "hf://"
  if (!text.startsWith(prefix)) return fail(text, 3, `"hf:" is followed by two slashes`, examples.hub)
  const typeEnd = indexOrEnd(text, "/", prefix.length)
  const type = text.slice(prefix.length, typeEnd)
  if (type !== "models" && type !== "datasets") {
    return fail(
      text,
      prefix.length,
      `"${type}" is not a kind of repository; known are models and datasets`,
      examples.hub
    )
  }

  const orgStart = typeEnd + 1
  const at = indexOrEnd(text, "@", orgStart)
  const slash = text.indexOf("/", orgStart)
  if (text.length <= orgStart) return fail(text, text.length, "the repository is missing", examples.hub)
  if (slash < 0 || slash > at) return fail(text, at, "a repository is written ORG/NAME", examples.hub)
  const names = [
    [orgStart, text.slice(orgStart, slash)],
    [slash + 1, text.slice(slash + 1, at)]
  ] as const
  for (const [start, name] of names) {
    if (repoName.test(name)) continue
    const offset = start + Math.max(0, name.search(/[^A-Za-z0-9._-]/))
    return fail(text, offset, `"${name}" is not a name of the hub (letters, digits, '.', '_', '-')`, examples.hub)
  }
  const repo = text.slice(orgStart, at)

  if (at === text.length) {
    return fail(text, at, `the revision is missing; write "${text}@main", or better a commit`, examples.hub)
  }
  const revisionEnd = indexOrEnd(text, "/", at + 1)
  const revision = decode(text.slice(at + 1, revisionEnd))
  if (revision === undefined) {
    return fail(text, at + 1, "the revision is not percent-encoded UTF-8 (a % itself is %25)", examples.hub)
  }
  if (revision === "") return fail(text, at + 1, "the revision is missing", examples.hub)
  const refused = unsafeRevision(revision)
  if (refused !== undefined) return fail(text, at + 1, `this cannot be a revision: ${refused}`, examples.hub)

  if (revisionEnd === text.length) return Result.succeed({ _tag: "Hub", type, repo, revision })
  const path = decode(text.slice(revisionEnd + 1))
  if (path === undefined) {
    return fail(text, revisionEnd + 1, "the path is not percent-encoded UTF-8 (a % itself is %25)", examples.hub)
  }
  const unsafe = unsafePath(path)
  if (unsafe !== undefined) return fail(text, revisionEnd + 1, `this path is refused: ${unsafe}`, examples.hub)
  return Result.succeed({ _tag: "Hub", type, repo, revision, path })
}

/** The rules of git for names of references, as far as they keep a name from meaning something else in a URL. */
const unsafeRevision = (revision: string): string | undefined => {
  if (revision.startsWith("-")) return "it starts with a dash"
  if (/[\s~^:?*[\\]|@\{/.test(revision)) return "it contains a character that git forbids in names"
  return unsafePath(revision)
}

const indexOrEnd = (text: string, what: string, from: number) => {
  const index = text.indexOf(what, from)
  return index < 0 ? text.length : index
}

const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
