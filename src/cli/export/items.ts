/** The items of a set in the store, in its order, with their bytes. */
import { Effect, Stream } from "effect"
import type { Manifest } from "../../pipeline/Artifact.ts"
import { decodePage } from "../../store/Pages.ts"
import type { Store } from "../../store/Store.ts"

export const itemsOf = (store: Store, { items }: Manifest) =>
  Stream.fromIterable(items?.pages ?? []).pipe(
    Stream.mapEffect(page => Effect.flatMap(store.read(page.sha256, { size: page.size }), decodePage)),
    Stream.flattenIterable,
    Stream.mapEffect(item =>
      Effect.map(
        item.sha256 === undefined ? Effect.succeed(item.bytes) : store.read(item.sha256, { size: item.size }),
        bytes => ({ ...item, bytes })
      )
    )
  )
