/** Writes a set of trajectories as JSON Lines in the field's format. */
import { Effect } from "effect"
import { decodeTrajectory, fieldRecord } from "../../diffusion/trajectories.ts"
import type { Manifest } from "../../pipeline/Artifact.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { type Digest, short } from "../../pipeline/Digest.ts"
import { decodePage } from "../../store/Pages.ts"
import type { Store } from "../../store/Store.ts"

const trajectoriesKind = "trajectories"

/** The text of the file: one record a sequence, in the set's order. */
export const trajectoriesText = Effect.fn("trajectoriesText")(function* (
  store: Store,
  digest: Digest,
  manifest: Manifest
) {
  if (manifest.kind !== trajectoriesKind)
    return yield* new ConfigError({ at: short(digest), message: `is no set of trajectories, but ${manifest.kind}` })
  const { maskId } = manifest.metadata as unknown as { readonly maskId: number }
  const lines: Array<string> = []
  for (const page of manifest.items?.pages ?? []) {
    const items = yield* Effect.flatMap(store.read(page.sha256, { size: page.size }), decodePage)
    for (const item of items) {
      const bytes = item.sha256 === undefined ? item.bytes : yield* store.read(item.sha256, { size: item.size })
      const record = yield* decodeTrajectory(bytes, item.key)
      lines.push(`${JSON.stringify(fieldRecord(record, lines.length, maskId))}\n`)
    }
  }
  return lines.join("")
})
