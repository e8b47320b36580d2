/** The items of a chunk set under construction: found in earlier sets, kept by an attempt that was cut off, or put now. */
import { join } from "node:path"
import { Effect } from "effect"
import { type Digest, isDigest, type Json, sha256 } from "../pipeline/Digest.ts"
import { itemKey } from "../pipeline/Key.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import type { Appender, Disk } from "../store/Disk.ts"
import { encodePages, type EncodedPage, inlineLimit, objectsOf, type PageItem } from "../store/Pages.ts"
import { type Store, untouched } from "../store/Store.ts"
import type { StagedFile } from "./Ports.ts"
import type { Request } from "./Request.ts"
import { storageFailed } from "./StagedFiles.ts"

export interface ChunkItemsOptions {
  readonly store: Store
  readonly disk: Disk
  readonly port: string
  readonly request: Request
  readonly candidates: ReadonlyArray<Digest>
}

export interface ChunkItems {
  readonly key: (material: string) => Digest
  readonly has: (key: Digest) => boolean
  readonly note: (key: Digest) => Json | undefined
  readonly put: (key: Digest, bytes: Uint8Array, note?: Json) => Effect.Effect<void, StageError>
  readonly assemble: (
    order: ReadonlyArray<Digest>
  ) => Effect.Effect<
    { readonly pages: ReadonlyArray<EncodedPage>; readonly staged: ReadonlyArray<StagedFile>; readonly bytes: number },
    StageError
  >
}

/** Where a payload that is too large for a page waits for its publication. */
const payloads = "items"

export const open = (options: ChunkItemsOptions): Effect.Effect<ChunkItems, StageError> =>
  Effect.gen(function* () {
    const { disk, port, request, store } = options
    const directory = join(request.checkpoint, port)
    /** Items by key; those whose payload lies in our own directory are published with the set. */
    const known = new Map<Digest, PageItem>()
    const own = new Map<Digest, StagedFile>()
    const earlier = untouched(store, disk)
    for (const candidate of options.candidates) yield* addEarlierSet(earlier, candidate, known)
    yield* addJournals(store, disk, directory, known, own)
    // One journal per attempt: what a killed attempt wrote last may be torn, and nothing may be appended to that.
    const journal = join(directory, `${request.attempt}-${process.pid}-${known.size}.journal`)
    let appender: Appender | undefined

    const append = (line: string) =>
      Effect.gen(function* () {
        if (appender === undefined) {
          yield* disk.mkdir(join(directory, payloads))
          appender = yield* disk.append(journal)
        }
        yield* appender.write(Buffer.from(`${sha256(line).slice(0, 16)} ${line}\n`))
      })

    return {
      key: itemKey,
      has: key => known.has(key),
      note: key => known.get(key)?.note,
      put: (key, bytes, note = null) =>
        Effect.gen(function* () {
          if (known.has(key)) return
          if (bytes.length <= inlineLimit) {
            const item = { key, note, size: bytes.length, bytes: Uint8Array.from(bytes) }
            yield* append(JSON.stringify({ key, note, bytes: Buffer.from(bytes).toString("base64") }))
            known.set(key, item)
            return
          }
          const digest = sha256(bytes)
          const path = join(directory, payloads, digest)
          yield* disk.mkdir(join(directory, payloads))
          yield* disk.write(path, bytes)
          yield* append(JSON.stringify({ key, note, sha256: digest, size: bytes.length }))
          known.set(key, { key, note, size: bytes.length, sha256: digest })
          own.set(digest, { path, sha256: digest, size: bytes.length })
        }).pipe(Effect.mapError(storageFailed)),
      assemble: order =>
        Effect.gen(function* () {
          if (appender !== undefined) yield* appender.close
          const items: Array<PageItem> = []
          const staged = new Map<Digest, StagedFile>()
          let bytes = 0
          for (const key of order) {
            const item = known.get(key)
            if (item === undefined)
              return yield* permanent(
                `output ${port}: item ${key.slice(0, 12)} is listed, but was neither found nor put`
              )
            items.push(item)
            bytes += item.size
            const file = item.sha256 === undefined ? undefined : own.get(item.sha256)
            if (file !== undefined) staged.set(file.sha256, file)
          }
          return { pages: [...encodePages(items)], staged: [...staged.values()], bytes }
        })
    }
  })

/** Adds the items of an earlier set of the family. A set that cannot be read is no reason to fail: its items are made anew. */
const addEarlierSet = (store: Store, digest: Digest, known: Map<Digest, PageItem>): Effect.Effect<void, StageError> =>
  Effect.gen(function* () {
    const manifest = yield* store.readManifest(digest)
    const found: Array<PageItem> = []
    for (const page of manifest.items?.pages ?? [])
      for (const item of yield* store.readPage(page)) if (!known.has(item.key)) found.push(item)
    const objects = objectsOf(found)
    const there = objects.length === 0 ? new Set<Digest>() : yield* store.has(objects)
    for (const item of found) if (item.sha256 === undefined || there.has(item.sha256)) known.set(item.key, item)
  }).pipe(Effect.ignore)

/** Adds what earlier attempts of this action had finished, as far as its bytes are those that were written. */
const addJournals = (
  store: Store,
  disk: Disk,
  directory: string,
  known: Map<Digest, PageItem>,
  own: Map<Digest, StagedFile>
): Effect.Effect<void, StageError> =>
  Effect.gen(function* () {
    const entries = yield* disk.readdir(directory).pipe(
      Effect.catchIf(
        error => error.code === "ENOENT",
        () => Effect.succeed([])
      )
    )
    for (const { name } of entries) {
      if (!name.endsWith(".journal")) continue
      const bytes = Buffer.from(yield* disk.read(join(directory, name)))
      let damaged = false
      // Line by line: all of them may be more than one string can hold.
      for (let from = 0; from < bytes.length;) {
        const end = bytes.indexOf(lineBreak, from)
        const line = bytes.toString("utf8", from, end < 0 ? bytes.length : end)
        from = end < 0 ? bytes.length : end + 1
        const item = decodeLine(line)
        // The last line may be torn by a kill. Others are what the disk made of them; each stands for itself.
        if (item === undefined) {
          damaged ||= from < bytes.length
          continue
        }
        if (item.sha256 !== undefined) {
          const path = join(directory, payloads, item.sha256)
          const there = yield* Effect.result(disk.hash(path))
          if (there._tag === "Success" && there.success.sha256 === item.sha256) {
            own.set(item.sha256, { path, sha256: item.sha256, size: item.size })
          } else if (!(yield* store.has([item.sha256])).has(item.sha256)) {
            // Neither here nor published by an attempt that was killed right after.
            damaged ||= there._tag === "Success"
            continue
          }
        }
        known.set(item.key, item)
      }
      if (damaged)
        console.error(`${join(directory, name)} is damaged: what was kept there of items is left out in part`)
    }
  }).pipe(Effect.mapError(storageFailed))

const lineBreak = "\n".charCodeAt(0)

const decodeLine = (line: string): PageItem | undefined => {
  const [check, text] = [line.slice(0, 16), line.slice(17)]
  if (text === "" || sha256(text).slice(0, 16) !== check) return undefined
  const {
    bytes,
    key,
    note,
    sha256: digest,
    size
  } = JSON.parse(text) as { key: string; note: Json; bytes?: string; sha256?: string; size?: number }
  if (!isDigest(key)) return undefined
  if (bytes !== undefined) {
    const payload = Buffer.from(bytes, "base64")
    return { key, note, size: payload.length, bytes: payload }
  }
  return digest === undefined || !isDigest(digest) || size === undefined
    ? undefined
    : { key, note, size, sha256: digest }
}
