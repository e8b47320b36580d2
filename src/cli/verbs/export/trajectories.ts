/** Writes a set of trajectories as JSON Lines in the field's format. */
import { Effect, Stream } from "effect"
import { decodeTrajectory, fieldRecord, type TokenizerOf } from "../../../methods/shared/trajectories/trajectories.ts"
import type { Manifest } from "../../../pipeline/Artifact.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type Digest, short } from "../../../pipeline/Digest.ts"
import { chunkReader } from "../../../runner/Readers.ts"
import type { Store } from "../../../store/Store.ts"

export const trajectoriesKind = "trajectories"

/** The text of the file: one record a sequence, in the set's order. */
export const trajectoriesText = Effect.fn("trajectoriesText")(function* (
  store: Store,
  digest: Digest,
  manifest: Manifest
) {
  if (manifest.kind !== trajectoriesKind)
    return yield* new ConfigError({ at: short(digest), message: `is no set of trajectories, but ${manifest.kind}` })
  const metadata = manifest.metadata as unknown as TokenizerOf
  const records = yield* Stream.runCollect(
    Stream.mapEffect(chunkReader(store, digest, manifest, metadata).items, ({ bytes, key }) =>
      Effect.flatMap(bytes, content => decodeTrajectory(content, key))
    )
  )
  return Array.from(records, (record, place) => `${JSON.stringify(fieldRecord(record, place, metadata))}\n`).join("")
})
