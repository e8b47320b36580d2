/** The last step of a collection: objects that actions came to need while they were on their way out are brought back. */
import { join } from "node:path"
import { Effect } from "effect"
import type { ArtifactId } from "../ledger/Actions.ts"
import * as Collection from "../ledger/Collection.ts"
import { decodeManifest } from "../pipeline/Artifact.ts"
import { canonical, type Digest } from "../pipeline/Digest.ts"
import { decodePage, objectsOf } from "../store/Pages.ts"
import { untouched } from "../store/Store.ts"
import type { Maintenance } from "./Leftovers.ts"
import { ledgerOf } from "./Ports.ts"
import { decodeResult, resultFile } from "./Request.ts"

/**
 * Brings objects back that are needed again. Between the decision and the move, an action may have published bytes that the store
 * had already, and so relied on objects that were on their way out. What such actions list is in their result record before they
 * publish, and in the ledger after; asked in this order, none slips through.
 */
export const restoreNeeded = Effect.fnUntraced(function* (
  maintenance: Maintenance,
  moved: ReadonlySet<Digest>,
  staying: ReadonlySet<ArtifactId>
) {
  let count = 0
  const store = untouched(maintenance.store, maintenance.disk)
  const restore = (objects: Iterable<Digest>) =>
    Effect.forEach(
      new Set(objects),
      digest =>
        !moved.has(digest)
          ? Effect.void
          : Effect.matchEffect(restoreOne(maintenance, digest), {
              onSuccess: restored => Effect.sync(() => void (count += restored ? 1 : 0)),
              // Put anew meanwhile, or damaged: whoever needs it finds out, and it is made again.
              onFailure: error => (error._tag === "StorageError" ? Effect.fail(error) : Effect.void)
            }),
      { discard: true }
    )
  const itemsOf = (bytes: Effect.Effect<Uint8Array, unknown>) =>
    bytes.pipe(
      Effect.flatMap(decodePage),
      Effect.map(objectsOf),
      Effect.orElseSucceed((): ReadonlyArray<Digest> => [])
    )

  for (const { manifests, objects, staged } of yield* results(maintenance)) {
    yield* restore(objects)
    for (const page of manifests.flatMap(manifest => manifest.items?.pages ?? [])) {
      const path = staged.get(page.sha256)
      const fromStaging = path === undefined ? [] : yield* itemsOf(maintenance.disk.read(path))
      yield* restore(fromStaging.length > 0 ? fromStaging : yield* itemsOf(store.read(page.sha256)))
    }
  }

  const added = yield* ledgerOf(maintenance.database)(database => {
    const listed = Collection.listedObjects(database)
    return Collection.candidates(database)
      .filter(({ id }) => !staying.has(id))
      .map(({ digest, id }) => ({ digest, objects: listed.get(id) ?? [] }))
  })
  for (const { digest, objects } of added) {
    yield* restore([digest, ...objects.map(object => object.digest)])
    for (const { digest: page } of objects.filter(object => object.page))
      yield* restore(yield* itemsOf(store.read(page)))
  }
  return count
})

/** What actions have computed and not recorded yet. Records that vanish or cannot be read belong to attempts that ended. */
const results = Effect.fnUntraced(function* (maintenance: Maintenance) {
  const entries = yield* Effect.orElseSucceed(maintenance.disk.readdir(maintenance.paths.actions), () => [])
  const read = yield* Effect.forEach(entries, ({ name }) =>
    maintenance.disk.read(join(maintenance.paths.actions, name, resultFile)).pipe(
      Effect.flatMap(bytes =>
        Effect.try({
          try: () => {
            const { outputs, staged } = decodeResult(Buffer.from(bytes).toString("utf8"))
            const manifests = outputs.map(output => decodeManifest(canonical(output.manifest)))
            const objects = [
              ...outputs.map(output => output.digest as Digest),
              ...staged.map(file => file.sha256 as Digest),
              ...manifests.flatMap(manifest => [
                ...manifest.files.map(file => file.sha256),
                ...(manifest.items?.pages ?? []).map(page => page.sha256)
              ])
            ]
            return [{ manifests, objects, staged: new Map(staged.map(file => [file.sha256 as Digest, file.path])) }]
          },
          catch: cause => cause
        })
      ),
      Effect.orElseSucceed(() => [])
    )
  )
  return read.flat()
})

/** Tells whether it had to be moved: the store may have got it anew. */
const restoreOne = (maintenance: Maintenance, digest: Digest) =>
  Effect.flatMap(maintenance.store.has([digest]), there =>
    there.has(digest) ? Effect.succeed(false) : Effect.as(maintenance.store.restoreFromTrash(digest), true)
  )
