/** Writers of an action's outputs: files go to a private directory, hashed on the way; the runner publishes them afterwards. */
import { dirname, join, resolve } from "node:path"
import { Effect, Schema } from "effect"
import { encodeManifest, type FileEntry, type Kind, type Manifest, manifestDigest } from "../pipeline/Artifact.ts"
import { type Digest, type Json, short } from "../pipeline/Digest.ts"
import type { ArtifactWriter, ChunkWriter } from "../pipeline/StageContext.ts"
import { ownField } from "../pipeline/ownField.ts"
import { Names } from "../pipeline/SafePath.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import type { Disk } from "../store/Disk.ts"
import { move } from "../store/Moving.ts"
import type { ReadError } from "../store/ObjectError.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { Store } from "../store/Store.ts"
import * as ChunkItems from "./ChunkItems.ts"
import { readFailed } from "./InputChecks.ts"
import type { StagedFile } from "./Ports.ts"
import type { Request } from "./Request.ts"
import { hashOwn, makeOwn, mustBeOwn, storageFailed, writeFile } from "./StagedFiles.ts"

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

/** An output, and what it is written with. */
export interface Output {
  readonly store: Store
  readonly disk: Disk
  readonly kind: Kind.Any
  readonly port: string
  readonly request: Request
}

export const outputWriter = (output: Output): Effect.Effect<OutputWriter, StageError> =>
  output.kind.chunked ? chunkWriter(output) : Effect.succeed(artifactWriter(output))

/** Checks metadata against the kind's schema, and brings it into its encoded form. */
const encodeMetadata = (kind: Kind.Any, port: string, metadata: unknown): Effect.Effect<Json, StageError> =>
  Effect.mapError(
    Schema.encodeUnknownEffect(kind.metadata as unknown as Schema.Codec<unknown, Json>)(metadata),
    error => permanent(`output ${port}: metadata does not fit kind ${kind.name}: ${error.message}`)
  )

const artifactWriter = (output: Output): OutputWriter => {
  const { disk, kind, port, request, store } = output
  const root = join(request.staging, port)
  const files = new Map<string, FileEntry>()
  const staged: Array<StagedFile> = []
  /** Files that code wrote by itself, with what it said of those that it placed. */
  const left = new Map<string, { readonly sha256: string; readonly size: number } | undefined>()
  const names = new Names()
  let metadata: Json | undefined

  const called = (path: string) => `output ${port}: file ${path}`
  /** A path inside the artifact, checked; each may be used once, from the moment somebody begins to write there. */
  const claim = (path: string): Effect.Effect<string, StageError> =>
    Effect.suspend(() => {
      const why = names.add(path)
      if (why === undefined) return Effect.succeed(path)
      return Effect.fail(
        permanent(
          why === "twice"
            ? `${called(path)} is written twice`
            : `output ${port}: file name ${JSON.stringify(path)} is refused: ${why}`
        )
      )
    })
  const keep = (path: string, file: StagedFile): FileEntry => {
    const entry = { path, sha256: file.sha256, size: file.size }
    files.set(path, entry)
    staged.push(file)
    return entry
  }
  /** What was not done may be tried again. */
  const claimed = <A>(path: string, use: (name: string) => Effect.Effect<A, StageError>) =>
    Effect.flatMap(claim(path), name => Effect.onError(use(name), () => Effect.sync(() => names.delete(name))))
  const explained = (path: string) => (error: StorageError | StageError) =>
    error._tag === "StageError"
      ? permanent(`output ${port}: ${error.message}`, error.advice)
      : error.code === "ENOENT"
        ? permanent(`${called(path)} was reserved but not written`)
        : storageFailed(error)

  const writer: ArtifactWriter<never> = {
    write: (path, content) =>
      claimed(path, name =>
        Effect.map(writeFile(disk, join(root, name), content, called(name)), file => keep(name, file))
      ),
    reserve: path =>
      claimed(path, name =>
        Effect.map(Effect.mapError(disk.mkdir(dirname(join(root, name))), storageFailed), () => {
          left.set(name, undefined)
          return join(root, name)
        })
      ),
    place: (path, from, content) =>
      claimed(path, name =>
        Effect.gen(function* () {
          const to = join(root, name)
          const own = [request.checkpoint, request.scratch, request.staging]
          yield* Effect.mapError(mustBeOwn(disk, own, from), error =>
            error._tag === "StageError"
              ? permanent(`${called(name)}: ${error.message}`, error.advice)
              : storageFailed(error)
          )
          yield* Effect.mapError(disk.mkdir(dirname(to)), storageFailed)
          yield* Effect.mapError(move(disk, resolve(from), to), storageFailed)
          left.set(name, content)
          return { path: name, sha256: content.sha256 as Digest, size: content.size }
        })
      ),
    adopt: (path, object) =>
      claimed(path, name =>
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
    for (const [path, told] of left) {
      const found = yield* Effect.mapError(
        Effect.andThen(makeOwn(disk, root, path), hashOwn(disk, join(root, path))),
        explained(path)
      )
      if (told !== undefined && (told.sha256 !== found.sha256 || told.size !== found.size))
        return yield* permanent(
          `${called(path)} has other bytes than was said when it was placed: SHA-256 ${short(found.sha256)}, ${found.size} bytes, instead of ${short(told.sha256)}, ${told.size} bytes`
        )
      keep(path, found)
    }
    if (metadata === undefined) return yield* permanent(`output ${port}: the stage ended without setting its metadata`)
    const manifest: Manifest = {
      kind: kind.name,
      files: [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
      metadata
    }
    return yield* withManifest(output, manifest, staged)
  })

  return { writer, finish }
}

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
  { disk, port, request }: Output,
  manifest: Manifest,
  staged: ReadonlyArray<StagedFile>
): Effect.Effect<Written, StageError> =>
  Effect.map(
    writeFile(
      disk,
      join(request.staging, `${port}.manifest.json`),
      encodeManifest(manifest),
      `the manifest of output ${port}`
    ),
    file => ({ port, digest: manifestDigest(manifest), manifest, staged: [...staged, file] })
  )

const chunkWriter = (output: Output): Effect.Effect<OutputWriter, StageError> =>
  Effect.gen(function* () {
    const { disk, kind, port, request } = output
    const candidates = (ownField(request.candidates, port) ?? []) as ReadonlyArray<Digest>
    const items = yield* ChunkItems.open({ ...output, candidates })
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
        staged.push(
          yield* writeFile(disk, join(request.staging, `${port}.page-${i}`), page.bytes, `page ${i} of output ${port}`)
        )
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
      return yield* withManifest(output, manifest, staged)
    })
    return { writer, finish }
  })
