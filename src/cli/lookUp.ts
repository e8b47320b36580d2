/** Looks up what artifacts have under a name: items of chunk sets whose note holds it, and lines of JSON that do. For samples, that is all that is known of a problem. */
import { Effect, Result } from "effect"
import type { NamedArtifact } from "../ledger/References.ts"
import type { Manifest } from "../pipeline/Artifact.ts"
import type { Digest, Json } from "../pipeline/Digest.ts"
import { parseJson } from "../formats/jsonText.ts"
import type { Store } from "../store/Store.ts"

/** An item or a line. */
export interface Found {
  readonly artifact: Digest
  /** The file, and the line from 1; or the item's key. */
  readonly at: string
  /** The note of an item, or the line. */
  readonly fields: Json
  /** What the item holds, where that is text. */
  readonly text?: string
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** Larger payloads are not for people. */
const longestText = 2 ** 20

const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    const text = utf8.decode(bytes)
    return text.includes("\0") ? undefined : text
  } catch {
    return undefined
  }
}

/** Whether a record has a field whose value is the name. */
const holds = (fields: Json, name: string): boolean =>
  typeof fields === "object" && fields !== null && Object.values(fields).includes(name)

const isLines = (path: string): boolean => path.endsWith(".jsonl")

const inFiles = (store: Store, artifact: Digest, { files }: Manifest, name: string) =>
  Effect.gen(function* () {
    const found: Array<Found> = []
    for (const { path, sha256 } of files.filter(file => isLines(file.path))) {
      const lines = Buffer.from(yield* store.read(sha256))
        .toString("utf8")
        .split("\n")
      for (const [i, line] of lines.entries()) {
        // Most lines are of others: they need not be parsed.
        if (!line.includes(name)) continue
        const parsed = parseJson(line)
        if (Result.isSuccess(parsed) && holds(parsed.success as Json, name))
          found.push({ artifact, at: `${path}:${i + 1}`, fields: parsed.success as Json })
      }
    }
    return found
  })

const inItems = (store: Store, artifact: Digest, { items }: Manifest, name: string) =>
  Effect.gen(function* () {
    const found: Array<Found> = []
    for (const page of items?.pages ?? [])
      for (const item of yield* store.readPage(page)) {
        if (item.key !== name && !holds(item.note, name)) continue
        const bytes =
          item.size > longestText ? undefined : (item.bytes ?? (item.sha256 && (yield* store.read(item.sha256))))
        const text = bytes && textOf(bytes)
        found.push({ artifact, at: item.key, fields: item.note, ...(text === undefined ? {} : { text }) })
      }
    return found
  })

/** Whether a record says all that another one says, and more: a line of results repeats its sample. */
const repeats = (more: Json, less: Json): boolean => {
  if (typeof more !== "object" || typeof less !== "object" || more === null || less === null) return false
  const own = Object.entries(less)
  return (
    Object.keys(more).length > own.length &&
    own.every(
      ([field, value]) => JSON.stringify((more as { readonly [field: string]: Json })[field]) === JSON.stringify(value)
    )
  )
}

/** In the order of the artifacts. A line that others of its artifact repeat is left out. */
export const lookUp = (store: Store, artifacts: ReadonlyArray<NamedArtifact>, name: string) =>
  Effect.map(
    Effect.forEach(artifacts, ({ digest }) =>
      Effect.gen(function* () {
        const manifest = yield* store.readManifest(digest)
        const lines = yield* inFiles(store, digest, manifest, name)
        const said = lines.filter(({ fields }) => !lines.some(other => repeats(other.fields, fields)))
        return [...(yield* inItems(store, digest, manifest, name)), ...said]
      })
    ),
    found => found.flat()
  )
