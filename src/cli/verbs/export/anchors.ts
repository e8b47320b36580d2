/** Writes a set of anchors as a directory in the field's layout. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { Effect, Stream } from "effect"
import {
  anchorFile,
  anchorManifest,
  anchorManifestFile,
  anchorPath
} from "../../../methods/shared/anchors/anchorFiles.ts"
import { type AnchorNote, decodeIds } from "../../../methods/shared/anchors/anchors.ts"
import type { Manifest } from "../../../pipeline/Artifact.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type Digest, short } from "../../../pipeline/Digest.ts"
import { chunkReader } from "../../../runner/Readers.ts"
import type { Store } from "../../../store/Store.ts"

interface Metadata {
  readonly hiddenSize: number
  readonly numHiddenLayers: number
  readonly layers: ReadonlyArray<number>
}

const anchorKind = "anchors"

/** Complete or not there: written beside, then renamed. */
const place = (path: string, content: ReadonlyArray<Uint8Array>): void => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.partial`, Buffer.concat(content))
  renameSync(`${path}.partial`, path)
}

/** Returns how many files there are. The manifest comes last: where it is, all is there. */
export const exportAnchors = Effect.fn("exportAnchors")(function* (
  store: Store,
  digest: Digest,
  manifest: Manifest,
  directory: string
) {
  if (manifest.kind !== anchorKind)
    return yield* new ConfigError({ at: short(digest), message: `is no set of anchors, but ${manifest.kind}` })
  const metadata = manifest.metadata as unknown as Metadata
  // The items of a sequence follow each other: its ids, then its layers.
  let open: { readonly key: string; readonly ids: Int32Array; readonly states: Map<number, Uint8Array> } | undefined
  let files = 0
  const close = (): void => {
    if (open === undefined) return
    place(join(directory, anchorPath(open.key)), anchorFile(open.ids, open.states, metadata.hiddenSize))
    files++
    open = undefined
  }
  yield* Stream.runForEach(chunkReader(store, digest, manifest, metadata).items, ({ bytes, note }) =>
    Effect.map(bytes, content => {
      const { layer, sequence } = note as unknown as AnchorNote
      if (layer === undefined) {
        close()
        open = { key: sequence, ids: decodeIds(content), states: new Map() }
      } else open?.states.set(layer, content)
    })
  )
  close()
  place(join(directory, anchorManifestFile), [Buffer.from(anchorManifest(metadata, digest))])
  return files
})
