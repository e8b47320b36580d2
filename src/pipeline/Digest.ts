/** SHA-256 digests and the canonical text they are taken over. */
import { createHash, hash } from "node:crypto"

/** The SHA-256 of some bytes, as 64 lower-case hexadecimal digits. */
export type Digest = string & { readonly "~Digest": true }

/** A value that canonical JSON can hold. */
export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

export const sha256 = (bytes: string | Uint8Array): Digest =>
  typeof bytes === "string" || bytes.length <= largestPiece
    ? (hash("sha256", bytes, "hex") as Digest)
    : (updateAll(createHash("sha256"), bytes).digest("hex") as Digest)

/** Hashers take less than 2 GiB at once. */
const largestPiece = 2 ** 30

/** Gives a hasher bytes of any number. */
export const updateAll = <H extends { readonly update: (bytes: Uint8Array) => unknown }>(
  hasher: H,
  bytes: Uint8Array
): H => {
  for (let from = 0; from < bytes.length; from += largestPiece) hasher.update(bytes.subarray(from, from + largestPiece))
  return hasher
}

const digestPattern = /^[0-9a-f]{64}$/

export const isDigest = (text: string): text is Digest => digestPattern.test(text)

/** The digits people see and type; `show`, `why` and the others accept any unambiguous prefix. */
export const short = (digest: string): string => digest.slice(0, 12)

export const toBytes = (digest: string): Uint8Array => Buffer.from(digest, "hex")

export const fromBytes = (bytes: Uint8Array): Digest => Buffer.from(bytes).toString("hex") as Digest

/** Nothing that enters a key is nested deeper. */
const deepest = 64

/**
 * JSON with sorted keys, no spaces and one spelling per number, so that equal values have equal text.
 * Throws a TypeError that names the path of a value which JSON cannot hold (undefined, NaN, a function, a cycle).
 */
export const canonical = (value: unknown): string => encode(value, "", [])

/** `above`: the objects that hold the value, outermost first. */
const encode = (value: unknown, path: string, above: ReadonlyArray<object>): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "boolean":
      return value ? "true" : "false"
    case "number":
      if (!Number.isFinite(value)) throw unfit(path, `${value} is not a finite number`)
      // -0 is written as 0.
      return String(value)
    case "object":
      break
    default:
      throw unfit(path, `${value === undefined ? "undefined" : `a ${typeof value}`} has no JSON form`)
  }
  if (value === null) return "null"
  if (above.includes(value)) throw unfit(path, "the value holds itself")
  if (above.length > deepest) throw unfit(shortened(path), `nested deeper than ${deepest} levels`)
  const within = [...above, value]
  if (Array.isArray(value)) {
    // Array.from visits holes, too: they are undefined, and refused.
    return `[${Array.from(value, (item, i) => encode(item, `${path}[${i}]`, within)).join(",")}]`
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) throw unfit(path, "only plain objects have a JSON form")
  const fields: Array<string> = []
  for (const key of Object.keys(value).sort()) {
    const field: unknown = (value as Record<string, unknown>)[key]
    if (field !== undefined) {
      fields.push(`${JSON.stringify(key)}:${encode(field, path === "" ? key : `${path}.${key}`, within)}`)
    }
  }
  return `{${fields.join(",")}}`
}

/** Characters of a path that a message shows. */
const longestPath = 60
const shortened = (path: string): string => (path.length > longestPath ? `${path.slice(0, longestPath)}…` : path)

const unfit = (path: string, why: string) => new TypeError(`${path === "" ? "the value" : path}: ${why}`)
