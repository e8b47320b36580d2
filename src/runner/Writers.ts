/** Writers of an action's outputs: files go to a private directory, hashed on the way; the runner publishes them afterwards. */
import { createHash } from "node:crypto"
import { dirname, join } from "node:path"
import { Effect, Schema } from "effect"
import { encodeManifest, type FileEntry, type Kind, type Manifest, manifestDigest } from "../pipeline/Artifact.ts"
import { type Digest, type Json, sha256, updateAll } from "../pipeline/Digest.ts"
import type { ArtifactWriter, ChunkWriter, Content } from "../pipeline/StageContext.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import type { Disk } from "../store/Disk.ts"
import { copyOver, move } from "../store/Moving.ts"
import type { ReadError } from "../store/ObjectError.ts"
import { unsafePath } from "../pipeline/SafePath.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { Store } from "../store/Store.ts"
import * as ChunkItems from "./ChunkItems.ts"
import { readFailed } from "./InputChecks.ts"
import type { StagedFile } from "./Ports.ts"
import type { Request } from "./Request.ts"

/** What an output came to. */
export interface Written {
  readonly port: string
  readonly digest: Digest
  readonly manifest: Manifest
  readonly staged: ReadonlyArray<StagedFile>
}

export interface OutputWriter {
  readonly writer: ArtifactWriter<never> | ChunkWriter<never>
  /** Called when the stage has ended well; fails when the output is incomplete. */
  readonly finish: Effect.Effect<Written, StageError>
}

export const storageFailed = (error: StorageError): StageError =>
  new StageError({ class: "storage", message: error.message, advice: error.advice })

export const outputWriter = (
  store: Store,
  disk: Disk,
  kind: Kind.Any,
  port: string,
  request: Request
): Effect.Effect<OutputWriter, StageError> =>
  kind.chunked
    ? chunkWriter(store, disk, kind, port, request)
    : Effect.succeed(artifactWriter(store, disk, kind, port, request))

/** Checks metadata against the kind's schema, and brings it into its encoded form. */
const encodeMetadata = (kind: Kind.Any, port: string, metadata: unknown): Effect.Effect<Json, StageError> =>
  Effect.mapError(
    Schema.encodeUnknownEffect(kind.metadata as unknown as Schema.Codec<unknown, Json>)(metadata),
    error => permanent(`output ${port}: metadata does not fit kind ${kind.name}: ${error.message}`)
  )

/** Writes bytes to a file of the staging directory. */
const stage = (disk: Disk, path: string, content: Content): Effect.Effect<StagedFile, StageError> =>
  Effect.gen(function* () {
    yield* Effect.mapError(disk.mkdir(dirname(path)), storageFailed)
    if (typeof content === "string" || content instanceof Uint8Array) {
      yield* Effect.mapError(disk.write(path, content), storageFailed)
      const size = typeof content === "string" ? Buffer.byteLength(content) : content.length
      return { path, sha256: sha256(content), size }
    }
    const hash = createHash("sha256")
    let size = 0
    const iterator = content[Symbol.asyncIterator]()
    yield* Effect.acquireUseRelease(
      Effect.mapError(disk.append(path), storageFailed),
      file =>
        Effect.gen(function* () {
          for (;;) {
            const next = yield* Effect.tryPromise({ try: () => iterator.next(), catch: failedContent })
            if (next.done === true) return
            updateAll(hash, next.value)
            size += next.value.length
            yield* Effect.mapError(file.write(next.value), storageFailed)
          }
        }),
      file => file.close
    )
    return { path, sha256: hash.digest("hex") as Digest, size }
  })

const failedContent = (cause: unknown): StageError =>
  cause instanceof StageError
    ? cause
    : permanent(`the content ended with an error: ${cause instanceof Error ? cause.message : String(cause)}`)

const artifactWriter = (store: Store, disk: Disk, kind: Kind.Any, port: string, request: Request): OutputWriter => {
  const root = join(request.staging, port)
  const files = new Map<string, FileEntry>()
  const staged: Array<StagedFile> = []
  const reserved = new Set<string>()
  let metadata: Json | undefined

  /** A path inside the artifact, checked; each may be used once. */
  const claim = (path: string): Effect.Effect<string, StageError> => {
    const why = unsafePath(path)
    if (why !== undefined)
      return Effect.fail(permanent(`output ${port}: file name ${JSON.stringify(path)} is refused: ${why}`))
    if (files.has(path) || reserved.has(path))
      return Effect.fail(permanent(`output ${port}: file ${path} is written twice`))
    return Effect.succeed(path)
  }
  const keep = (path: string, file: StagedFile): FileEntry => {
    const entry = { path, sha256: file.sha256, size: file.size }
    files.set(path, entry)
    staged.push(file)
    return entry
  }

  const writer: ArtifactWriter<never> = {
    write: (path, content) =>
      Effect.flatMap(claim(path), name => Effect.map(stage(disk, join(root, name), content), file => keep(name, file))),
    reserve: path =>
      Effect.flatMap(claim(path), name => {
        reserved.add(name)
        return Effect.as(Effect.mapError(disk.mkdir(dirname(join(root, name))), storageFailed), join(root, name))
      }),
    place: (path, from, content) =>
      Effect.gen(function* () {
        const name = yield* claim(path)
        const to = join(root, name)
        yield* Effect.mapError(disk.mkdir(dirname(to)), storageFailed)
        const { kind: what } = yield* Effect.mapError(disk.stat(from), storageFailed)
        if (what !== "file") return yield* permanent(`output ${port}: ${from} is no regular file`, notAFile)
        yield* Effect.mapError(move(disk, from, to), storageFailed)
        return keep(name, { path: to, sha256: content.sha256 as Digest, size: content.size })
      }),
    adopt: (path, object) =>
      Effect.flatMap(claim(path), name =>
        store.openVerified(object.sha256, { size: object.size }).pipe(
          Effect.catch(error =>
            Effect.flatMap(holderOf(store, request, object.sha256), adoptFailed(port, object, error))
          ),
          Effect.map(() => void files.set(name, { path: name, ...object }))
        )
      ),
    metadata: given =>
      metadata === undefined
        ? Effect.map(encodeMetadata(kind, port, given), encoded => {
            metadata = encoded
          })
        : Effect.fail(permanent(`output ${port}: its metadata is set twice`))
  }

  const finish = Effect.gen(function* () {
    for (const path of reserved) {
      yield* makeOwn(disk, root, path).pipe(
        Effect.mapError(error =>
          error._tag === "StageError" ? permanent(`output ${port}: ${error.message}`, error.advice) : error
        ),
        Effect.catchTag("StorageError", error =>
          Effect.fail(
            error.code === "ENOENT"
              ? permanent(`output ${port}: file ${path} was reserved but not written`)
              : storageFailed(error)
          )
        )
      )
      const { sha256: digest, size } = yield* Effect.mapError(disk.hash(join(root, path)), error =>
        error.code === "ENOENT"
          ? permanent(`output ${port}: file ${path} was reserved but not written`)
          : storageFailed(error)
      )
      keep(path, { path: join(root, path), sha256: digest as Digest, size })
    }
    if (metadata === undefined) return yield* permanent(`output ${port}: the stage ended without setting its metadata`)
    const manifest: Manifest = {
      kind: kind.name,
      files: [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
      metadata
    }
    return yield* withManifest(disk, port, request, manifest, staged)
  })

  return { writer, finish }
}

const notAFile = "links, pipes and devices cannot be results: write a file there"

/**
 * A file that code wrote by itself becomes the action's alone before it is hashed: one that has another name elsewhere, where somebody could
 * write to it, is replaced by a copy. A link is refused, also on the way to the file.
 */
const makeOwn = (disk: Disk, root: string, path: string): Effect.Effect<void, StorageError | StageError> =>
  Effect.gen(function* () {
    const parts = path.split("/")
    for (let depth = 1; depth < parts.length; depth++) {
      const { kind } = yield* disk.stat(join(root, ...parts.slice(0, depth)))
      if (kind !== "directory")
        return yield* permanent(
          `${parts.slice(0, depth).join("/")}, on the way to its file ${path}, is no directory`,
          notAFile
        )
    }
    const file = join(root, path)
    const { kind, nlink } = yield* disk.stat(file)
    if (kind !== "file") return yield* permanent(`its file ${path} is no regular file`, notAFile)
    if (nlink > 1) yield* copyOver(disk, file, file, () => Effect.void)
  })

/** The input that holds an object, if any does: only its producer could make the object again. */
const holderOf = (store: Store, request: Request, object: Digest): Effect.Effect<string | undefined> =>
  Effect.gen(function* () {
    for (const { digest } of request.inputs) {
      const manifest = yield* Effect.orElseSucceed(store.readManifest(digest as Digest), () => undefined)
      if (manifest?.files.some(file => file.sha256 === object) === true) return digest
    }
    return undefined
  })

/** An adopted object is missing or damaged. */
const adoptFailed =
  (port: string, { sha256: object }: { readonly sha256: Digest }, error: ReadError) =>
  (holder: string | undefined): Effect.Effect<never, StageError> =>
    Effect.fail(
      holder === undefined ? permanent(`output ${port}: ${error.message}`) : readFailed(holder, object)(error)
    )

/** The manifest is an object like any other: with it, the store explains itself even without the ledger. */
const withManifest = (
  disk: Disk,
  port: string,
  request: Request,
  manifest: Manifest,
  staged: ReadonlyArray<StagedFile>
): Effect.Effect<Written, StageError> =>
  Effect.map(stage(disk, join(request.staging, `${port}.manifest.json`), encodeManifest(manifest)), file => ({
    port,
    digest: manifestDigest(manifest),
    manifest,
    staged: [...staged, file]
  }))

const chunkWriter = (
  store: Store,
  disk: Disk,
  kind: Kind.Any,
  port: string,
  request: Request
): Effect.Effect<OutputWriter, StageError> =>
  Effect.gen(function* () {
    const items = yield* ChunkItems.open({
      store,
      disk,
      port,
      request,
      candidates: (request.candidates[port] ?? []) as ReadonlyArray<Digest>
    })
    let finished: { readonly order: ReadonlyArray<Digest>; readonly metadata: Json } | undefined

    const writer: ChunkWriter<never> = {
      key: items.key,
      has: items.has,
      note: items.note,
      put: items.put,
      finish: (order, metadata) =>
        finished === undefined
          ? Effect.map(encodeMetadata(kind, port, metadata), encoded => {
              finished = { order, metadata: encoded }
            })
          : Effect.fail(permanent(`output ${port}: the set is finished twice`))
    }

    const finish = Effect.gen(function* () {
      if (finished === undefined) return yield* permanent(`output ${port}: the stage ended without finishing the set`)
      const { order, metadata } = finished
      const set = yield* items.assemble(order)
      const staged: Array<StagedFile> = [...set.staged]
      for (const [i, page] of set.pages.entries())
        staged.push(yield* stage(disk, join(request.staging, `${port}.page-${i}`), page.bytes))
      const manifest: Manifest = {
        kind: kind.name,
        files: [],
        metadata,
        items: {
          count: order.length,
          bytes: set.bytes,
          pages: set.pages.map(({ count, sha256: digest, size }) => ({ sha256: digest, size, count }))
        }
      }
      return yield* withManifest(disk, port, request, manifest, staged)
    })
    return { writer, finish }
  })
