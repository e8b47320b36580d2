/** A read-only layer of objects below the writable store: a directory of plain files with an index, such as `assets/`. */
import { join } from "node:path"
import { Effect, Schema } from "effect"
import { encodeManifest, type Manifest } from "../pipeline/Artifact.ts"
import { type Digest, type Json, sha256 } from "../pipeline/Digest.ts"
import type { Disk } from "./Disk.ts"
import { LayerInvalid } from "./ObjectError.ts"
import { unsafePath, unsafeTogether } from "../pipeline/SafePath.ts"
import type { StorageError } from "./StorageError.ts"

/** Where a layer has an object: in a file, or (the manifests, which are derived from the index) in memory. */
export type LayerObject =
  | { readonly _tag: "file"; readonly path: string; readonly size: number }
  | { readonly _tag: "memory"; readonly bytes: Uint8Array; readonly size: number }

/** An artifact that a layer offers by name. */
export interface LayerArtifact {
  readonly name: string
  readonly digest: Digest
  readonly manifest: Manifest
  readonly description: string
  /** SPDX expression. */
  readonly licence: string
}

export interface LayerContent {
  readonly objects: ReadonlyMap<string, LayerObject>
  readonly artifacts: ReadonlyMap<string, LayerArtifact>
}

export interface Layer {
  readonly directory: string
  /** Reads the index on first use and remembers it. A directory without an index is an empty layer. */
  readonly content: Effect.Effect<LayerContent, LayerInvalid | StorageError>
}

/** The file that makes a directory a layer. */
export const indexName = "index.json"

const Hex64 = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))

const Index = Schema.Struct({
  version: Schema.Literal(1),
  artifacts: Schema.Record(
    Schema.String,
    Schema.Struct({
      kind: Schema.String,
      description: Schema.String,
      licence: Schema.String,
      files: Schema.Array(
        Schema.Struct({
          path: Schema.String,
          sha256: Hex64,
          size: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
          /** Where the bytes are, relative to the directory of the index. */
          at: Schema.String
        })
      ),
      metadata: Schema.Unknown
    })
  )
})

const decodeIndex = Schema.decodeUnknownSync(Schema.fromJsonString(Index))

const contentOf = (directory: string, text: string): LayerContent => {
  const objects = new Map<string, LayerObject>()
  const artifacts = new Map<string, LayerArtifact>()
  for (const [name, entry] of Object.entries(decodeIndex(text).artifacts)) {
    const unsafe = unsafeTogether(entry.files.map(file => file.path))
    if (unsafe !== undefined)
      throw new TypeError(`${name}: file name ${JSON.stringify(unsafe.path)} is refused: ${unsafe.why}`)
    for (const file of entry.files) {
      const why = unsafePath(file.at)
      if (why !== undefined) throw new TypeError(`${name}: location ${JSON.stringify(file.at)} is refused: ${why}`)
      objects.set(file.sha256, { _tag: "file", path: join(directory, file.at), size: file.size })
    }
    const manifest: Manifest = {
      kind: entry.kind,
      files: entry.files.map(file => ({ path: file.path, sha256: file.sha256 as Digest, size: file.size })),
      metadata: entry.metadata as Json
    }
    const bytes = Buffer.from(encodeManifest(manifest))
    const digest = sha256(bytes)
    objects.set(digest, { _tag: "memory", bytes, size: bytes.length })
    artifacts.set(name, { name, digest, manifest, description: entry.description, licence: entry.licence })
  }
  return { objects, artifacts }
}

const empty: LayerContent = { objects: new Map(), artifacts: new Map() }

export const make = (options: { readonly directory: string; readonly disk: Disk }): Layer => {
  const { directory, disk } = options
  const path = join(directory, indexName)
  const load = disk.read(path).pipe(
    Effect.flatMap(bytes =>
      Effect.try({
        try: () => contentOf(directory, Buffer.from(bytes).toString()),
        catch: cause => new LayerInvalid({ path, detail: cause instanceof Error ? cause.message : String(cause) })
      })
    ),
    Effect.catchIf(
      error => error._tag === "StorageError" && error.code === "ENOENT",
      () => Effect.succeed(empty)
    )
  )
  let loaded: LayerContent | undefined
  return {
    directory,
    // Several fibers that ask at once may each read the index; it is small, and the result the same.
    content: Effect.suspend(() =>
      loaded !== undefined
        ? Effect.succeed(loaded)
        : Effect.map(load, content => {
            loaded = content
            return content
          })
    )
  }
}

/** The artifact of that name in the first layer that has one. */
export const findArtifact = Effect.fn("Layer.findArtifact")(function* (layers: ReadonlyArray<Layer>, name: string) {
  for (const layer of layers) {
    const artifact = (yield* layer.content).artifacts.get(name)
    if (artifact !== undefined) return artifact
  }
  return undefined
})
