/** The items of chunk sets, read from their pages. */
import { Effect } from "effect"
import type { NamedArtifact } from "../ledger/References.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import type { Manifest } from "../pipeline/Artifact.ts"
import { type Digest, type Json, short } from "../pipeline/Digest.ts"
import type { Store } from "../store/Store.ts"

export interface Item {
  readonly key: Digest
  readonly note: Json
  /** Bytes. */
  readonly size: number
  /** Where its bytes are a separate object. */
  readonly object: Digest | undefined
}

/** The first `limit` items of a chunk set, in order. */
export const itemsOfManifest = (store: Store, manifest: Manifest, limit = Number.POSITIVE_INFINITY) =>
  Effect.gen(function* () {
    const found: Array<Item> = []
    for (const page of manifest.items?.pages ?? []) {
      if (found.length >= limit) break
      const items = yield* store.readPage(page)
      for (const { key, note, sha256, size } of items.slice(0, limit - found.length))
        found.push({ key, note, size, object: sha256 })
    }
    return found
  })

/** All items of the chunk sets among some artifacts. Fails with ConfigError when none of them is one. */
export const itemsOf = (store: Store, artifacts: ReadonlyArray<NamedArtifact>) =>
  Effect.gen(function* () {
    const found: Array<Item & { readonly set: Digest }> = []
    let sets = 0
    for (const { digest } of artifacts) {
      const manifest = yield* store.readManifest(digest)
      if (manifest.items === undefined) continue
      sets++
      for (const item of yield* itemsOfManifest(store, manifest)) found.push({ ...item, set: digest })
    }
    if (sets === 0) {
      return yield* new ConfigError({
        at: artifacts.map(({ digest }) => short(digest)).join(", "),
        message: "is no chunk set: it has files instead of items",
        advice: "`pipeline show` lists its files"
      })
    }
    return found
  })
