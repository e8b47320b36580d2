/** Readers of an action's inputs: artifacts from the store, checked before their bytes are handed out. */
import { constants } from "node:buffer"
import { Effect, Schema, Stream } from "effect"
import { type AnyPort, type Kind, type Manifest, portArity, portKind } from "../pipeline/Artifact.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { ArtifactReader, ChunkReader } from "../pipeline/StageContext.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import type { Store } from "../store/Store.ts"
import { type InputChecks, readFailed } from "./InputChecks.ts"
import type { Request } from "./Request.ts"

/** JavaScript's strings are no longer, in UTF-16 units; of UTF-8 it takes at least as many bytes. */
const longestText = constants.MAX_STRING_LENGTH

/** The inputs as the stage's ports declare them. */
export const readers = (
  store: Store,
  ports: { readonly [port: string]: AnyPort },
  request: Request,
  checks: InputChecks
): Effect.Effect<Record<string, unknown>, StageError> =>
  Effect.gen(function* () {
    const inputs: Record<string, unknown> = {}
    for (const [port, declared] of Object.entries(ports)) {
      const given = request.inputs.filter(input => input.port === port)
      const opened = yield* Effect.forEach(given, input =>
        open(store, checks, portKind(declared), input.digest as Digest)
      )
      switch (portArity(declared)) {
        case "one":
        case "optional":
          inputs[port] = opened[0]
          break
        case "many":
          inputs[port] = opened
          break
        case "named":
          inputs[port] = Object.fromEntries(given.map((input, i) => [input.name ?? "", opened[i]]))
      }
    }
    return inputs
  })

const open = (
  store: Store,
  checks: InputChecks,
  kind: Kind.Any,
  digest: Digest
): Effect.Effect<ArtifactReader<unknown> | ChunkReader<unknown>, StageError> =>
  Effect.gen(function* () {
    const manifest = yield* Effect.mapError(store.readManifest(digest), readFailed(digest, digest))
    const metadata = yield* Effect.mapError(
      Schema.decodeUnknownEffect(kind.metadata as Schema.Codec<unknown, unknown>)(manifest.metadata),
      error =>
        new StageError({
          class: "permanent",
          message: `artifact ${digest.slice(0, 12)} of kind ${kind.name} has metadata that this version does not understand: ${error.message}`
        })
    )
    return kind.chunked
      ? chunkReader(store, digest, manifest, metadata)
      : artifactReader(store, checks, digest, manifest, metadata)
  })

const artifactReader = (
  store: Store,
  checks: InputChecks,
  digest: Digest,
  manifest: Manifest,
  metadata: unknown
): ArtifactReader<unknown> => {
  const entry = (file: string) => {
    const found = manifest.files.find(({ path }) => path === file)
    return found === undefined
      ? Effect.fail(
          new StageError({
            class: "permanent",
            message: `artifact ${digest.slice(0, 12)} has no file ${file}; it has ${manifest.files.map(({ path }) => path).join(", ")}`
          })
        )
      : Effect.succeed(found)
  }
  const bytes = (file: string) =>
    Effect.flatMap(entry(file), ({ sha256, size }) =>
      Effect.mapError(store.read(sha256, { size }), readFailed(digest, sha256))
    )
  return {
    digest,
    metadata,
    files: manifest.files,
    path: file => Effect.flatMap(entry(file), ({ sha256, size }) => checks.open(digest, sha256, size)),
    bytes,
    text: file =>
      Effect.flatMap(bytes(file), content =>
        content.length > longestText
          ? Effect.fail(
              permanent(
                `file ${file} of artifact ${digest.slice(0, 12)} has ${content.length} bytes, too many for one text`,
                "read it in parts, from its `path`"
              )
            )
          : Effect.succeed(Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString("utf8"))
      )
  }
}

/** The items of a set in its order; their bytes are read when asked for. */
export const chunkReader = (
  store: Store,
  digest: Digest,
  manifest: Manifest,
  metadata: unknown
): ChunkReader<unknown> => ({
  digest,
  metadata,
  count: manifest.items?.count ?? 0,
  items: Stream.fromIterable(manifest.items?.pages ?? []).pipe(
    Stream.mapEffect(page => Effect.mapError(store.readPage(page), readFailed(digest, page.sha256))),
    Stream.flatMap(items =>
      Stream.fromIterable(
        items.map(item => ({
          key: item.key,
          note: item.note,
          size: item.size,
          bytes:
            item.bytes === undefined
              ? Effect.mapError(store.read(item.sha256, { size: item.size }), readFailed(digest, item.sha256))
              : Effect.succeed(item.bytes)
        }))
      )
    )
  )
})
