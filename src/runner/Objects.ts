/** What the runner asks the store about the objects of artifacts: which are lost, and which are not there. */
import { Effect } from "effect"
import type { Digest } from "../pipeline/Digest.ts"
import type { Disk } from "../store/Disk.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { Store } from "../store/Store.ts"
import type { Ports, Sized } from "./Ports.ts"

/** Objects looked at side by side. */
const sideBySide = 4

/** The runner's ports to a store. */
export const objectPorts = (store: Store, disk: Disk): Pick<Ports, "publish" | "ailing" | "lacking"> => ({
  publish: store.publish,
  ailing: artifact => ailing(store, artifact),
  lacking: objects => lacking(store, disk, objects)
})

/** Hashes an object in full; an answer of the disk that says nothing about the object is an error. */
const isSound = (store: Store, { sha256, size }: { readonly sha256: Digest; readonly size?: number }) =>
  Effect.matchEffect(store.verify(sha256, size === undefined ? {} : { size }), {
    onSuccess: () => Effect.succeed(true),
    onFailure: error =>
      error._tag === "ObjectMissing" || error._tag === "ObjectDamaged" ? Effect.succeed(false) : failOf(error)
  })

const failOf = (error: { readonly _tag: string; readonly message: string }): Effect.Effect<boolean, StorageError> =>
  error._tag === "StorageError" ? Effect.fail(error as StorageError) : Effect.succeed(true)

const ailing = (store: Store, artifact: Digest): Effect.Effect<ReadonlyArray<Digest>, StorageError> =>
  Effect.gen(function* () {
    if (!(yield* isSound(store, { sha256: artifact }))) return [artifact]
    const manifest = yield* Effect.orElseSucceed(store.readManifest(artifact), () => undefined)
    // What is no manifest never was one: another artifact's producer cannot mend that, but its own can.
    if (manifest === undefined) return [artifact]
    const pages = manifest.items?.pages ?? []
    const found = yield* lost(store, [...manifest.files, ...pages])
    const items = new Map<Digest, Sized>()
    for (const page of pages) {
      if (found.includes(page.sha256)) continue
      const read = yield* Effect.orElseSucceed(store.readPage(page), () => [])
      for (const item of read)
        if (item.sha256 !== undefined) items.set(item.sha256, { sha256: item.sha256, size: item.size })
    }
    return [...found, ...(yield* lost(store, [...items.values()]))]
  })

const lost = (store: Store, objects: ReadonlyArray<Sized>): Effect.Effect<ReadonlyArray<Digest>, StorageError> =>
  Effect.map(
    Effect.forEach(
      new Map(objects.map(object => [object.sha256, object])).values(),
      object => Effect.map(isSound(store, object), sound => (sound ? [] : [object.sha256])),
      { concurrency: sideBySide }
    ),
    found => found.flat()
  )

const lacking = (
  store: Store,
  disk: Disk,
  objects: ReadonlyArray<Sized>
): Effect.Effect<ReadonlyArray<Sized>, { readonly message: string }> =>
  Effect.gen(function* () {
    const there = yield* store.has(objects.map(({ sha256 }) => sha256))
    const checked = yield* Effect.forEach(
      objects,
      object =>
        Effect.gen(function* () {
          if (!there.has(object.sha256)) return [object]
          const path = yield* store.locate(object.sha256)
          const { size } = yield* disk.stat(path, { follow: true })
          return size === object.size ? [] : [object]
        }),
      { concurrency: sideBySide }
    )
    return checked.flat()
  })
