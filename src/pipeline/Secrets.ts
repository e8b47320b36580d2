/**
 * Keeps secrets out of all that is recorded or shown: finds them in parameters, which are recorded as written, and takes them out of any text. A secret is
 * what an address carries beside its place (user name and password, query), a token of the hub, and whatever the environment gives as one.
 */
import { quoted } from "./shell.ts"

/** An address in a running text; the scheme may be missing. A scheme has few letters: a long word is not searched for one from each of its letters. */
const address = /(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?\/\/[^\s"'`<>]+/g

/** Names of query parameters that hold secrets; those of signed addresses (S3, Google, Azure, CloudFront) among them. */
const secretNames =
  "x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid|key-pair-id|signature|sig|[a-z_-]*token|api[-_]?key|apikey|access[-_]?key|key|auth|authorization|[a-z_-]*secret|pass(?:word|wd)?|pwd|credentials?"
const secretName = new RegExp(`^(?:${secretNames})$`, "i")
/** The same in a text that is no address, or only the end of one. */
const secretParameter = new RegExp(`([?&](?:${secretNames})=)([^&\\s"'\`<>]+)`, "gi")

const hubToken = /\bhf_[A-Za-z0-9]{20,}/g
const bearerToken = /(\bBearer\s+)([A-Za-z0-9._~+/=-]{8,})/gi

/** The place of a secret in the environment instead of the secret: `?$NAME` or `?${NAME}`. */
const reference = /^\?\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)$/

/** A query that asks for the file instead of a page about it. */
const harmless = /^\?(?:download|raw|dl)=(?:1|true)$/i

/** The variable that `?$NAME` names; `harmless` for a query that holds nothing; `secret` for any other. */
export const queryKind = (query: string): "none" | "harmless" | "reference" | "secret" =>
  query === "" || query === "?"
    ? "none"
    : harmless.test(query)
      ? "harmless"
      : reference.test(query)
        ? "reference"
        : "secret"

export const variableOf = (query: string): string => query.replace(/[?${}]/g, "")

/** Shorter values are words of other texts, too. */
const shortestSecret = 6
/** Shorter ones may be words that are meant: a password may be "postgres". */
const shortestToken = 12

/** Secrets that this process has come to know, as they may stand in a text. */
const known = new Set<string>()

/** From now on no text that goes through `redact` holds this. */
export const rememberSecret = (secret: string): void => {
  for (const form of [secret, encodeURIComponent(secret), safelyDecoded(secret)])
    if (form.length >= shortestSecret) known.add(form)
}

/** What stands before the host of an address, and in its query. */
const secretsOfAddress = (text: string): ReadonlyArray<string> => {
  const url = URL.parse(text)
  return url === null ? [] : [url.username, url.password, ...secretsOfQuery(url.search)]
}

const secretsOfQuery = (query: string): ReadonlyArray<string> =>
  queryKind(query) === "secret" ? [query.replace(/^\?/, ""), ...new URLSearchParams(query).values()] : []

/** The same for the parts of an address that are secrets. */
export const rememberAddress = (text: string): void => {
  for (const secret of secretsOfAddress(text)) rememberSecret(secret)
}

export const rememberQuery = (query: string): void => {
  for (const secret of secretsOfQuery(query)) rememberSecret(secret)
}

const safelyDecoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

type Environment = { readonly [name: string]: string | undefined }

/** Variables that hold nothing but a secret; those that name where one lies, or whose it is, hold none. */
const secretVariable =
  /(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SIGNATURE|CREDENTIALS?)(?:_|$)(?!.*(?:PATH|FILE|DIR|NAME|ID|URL|TYPE|PARALLELISM)$)/i
const addressVariable = /^(?:HF_ENDPOINT|(?:HTTPS?|ALL)_PROXY)$/i
/** A part of a mirror's path that is no name: some mirrors take their token there. */
const tokenInPath = /(?<=\/)(?=[^/]*\d)[A-Za-z0-9_-]{20,}(?=\/|$)/g

/** What an environment holds of secrets. */
export const secretsOf = (environment: Environment): ReadonlyArray<string> =>
  Object.entries(environment).flatMap(([name, text]) => {
    const value = text?.trim() ?? ""
    if (secretVariable.test(name)) return /^(?:\d*|true|false|none|null|disabled|enabled)$/i.test(value) ? [] : [value]
    if (!addressVariable.test(name)) return []
    return [...secretsOfAddress(value), ...(value.match(tokenInPath) ?? [])]
  })

let environmentRead = false
const readEnvironment = (): void => {
  if (environmentRead) return
  environmentRead = true
  for (const secret of secretsOf(process.env)) rememberSecret(secret)
}

export interface RedactOptions {
  /** Every secret becomes as many asterisks as it had characters, so that a caret in the next line still points where it did. */
  readonly keepLength?: boolean
}

/** The text without secrets. Texts without any come back as they are. */
export const redact = (text: string, { keepLength = false }: RedactOptions = {}): string => {
  readEnvironment()
  // What was hidden before stays as it is.
  const hidden = (secret: string) =>
    /^(?:\*+|…)$/.test(secret) ? secret : keepLength ? "*".repeat(secret.length) : "…"
  let clean = text
  for (const secret of known) if (clean.includes(secret)) clean = clean.replaceAll(secret, hidden(secret))
  if (clean.includes("//")) clean = clean.replaceAll(address, found => redactAddress(found, hidden))
  if (clean.includes("="))
    clean = clean.replaceAll(secretParameter, (_, name: string, value: string) => `${name}${hidden(value)}`)
  if (clean.includes("hf_")) clean = clean.replaceAll(hubToken, hidden)
  return clean.replaceAll(bearerToken, (_, word: string, token: string) => `${word}${hidden(token)}`)
}

/** A text that ends with an address, if it holds one: its query may hold what would end it in a running text. */
export const redactWord = (word: string, options: RedactOptions = {}): string =>
  redact(
    word.replace(/(:\/\/[^?#]*)\?(.*)$/s, (whole, before: string, query: string) =>
      queryKind(`?${query}`) === "secret" ? `${before}?${options.keepLength ? "*".repeat(query.length) : "…"}` : whole
    ),
    options
  )

/** The words of a command as one line, which a shell splits into those words again. */
export const redactCommand = (words: ReadonlyArray<string>): string =>
  words.map(word => quoted(redactWord(word))).join(" ")

const redactAddress = (found: string, hidden: (secret: string) => string): string => {
  const begin = found.indexOf("//") + 2
  const end = (from: number, characters: RegExp): number => {
    const at = found.slice(from).search(characters)
    return at < 0 ? found.length : from + at
  }
  const authorityEnd = end(begin, /[/?#]/)
  const at = found.lastIndexOf("@", authorityEnd - 1)
  const host = at < begin ? begin : at
  const queryBegin = end(authorityEnd, /[?#]/)
  const query = found.slice(queryBegin)
  return (
    found.slice(0, begin) +
    (at < begin ? "" : hidden(found.slice(begin, at))) +
    found.slice(host, queryBegin) +
    (query.length < 2 || query === "?…" || ["harmless", "reference"].includes(queryKind(query)) || isPlace(query)
      ? query
      : `${query[0]}${hidden(query.slice(1))}`)
  )
}

/** A fragment that names a place in a page. */
const isPlace = (query: string): boolean => query.startsWith("#") && !query.includes("=")

/** Whether a longer text is worth the look. */
export const mayHoldSecrets = (text: string): boolean => {
  readEnvironment()
  if (text.includes("//") || text.includes("hf_")) return true
  for (const secret of known) if (text.includes(secret)) return true
  return false
}

/** What of a text is a secret, in words; undefined where nothing is known to be one. */
export const secretIn = (text: string): string | undefined => {
  readEnvironment()
  for (const secret of known)
    if (secret.length >= shortestToken && text.includes(secret)) return "a secret of the environment"
  if (new RegExp(hubToken.source).test(text)) return "a token of the hub"
  for (const [found] of text.matchAll(address)) {
    const url = URL.parse(found)
    if (url === null) continue
    const web = /^https?:$/.test(url.protocol)
    if (url.password !== "" || (web && url.username !== "")) return "an address with a user name or password"
    for (const name of new URLSearchParams(`${url.search}&${url.hash.replace(/^#\??/, "")}`).keys())
      if (secretName.test(name)) return `an address with the query parameter ${name}`
  }
  return undefined
}
