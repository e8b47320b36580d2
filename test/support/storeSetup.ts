/** A fresh store for a test: on the simulated disk, or below a temporary folder of the real one. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { make, type Store, type StoreOptions } from "../../src/store/Store.ts"
import type { Staged } from "../../src/store/Writing.ts"
import { memoryDisk, type MemoryDisk, type MemoryDiskOptions } from "./memoryDisk.ts"

export const root = "/cache"

export const inMemory = (
  options: MemoryDiskOptions = {},
  more: Partial<StoreOptions> = {}
): { readonly disk: MemoryDisk; readonly store: Store } => {
  const disk = memoryDisk(options)
  return { disk, store: make({ root, disk, ...more }) }
}

/** A folder on the real disk that is removed when the test ends. */
export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "pipeline-store-"))),
  folder => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

export const onDisk = Effect.map(temporaryFolder, folder => ({
  folder,
  store: make({ root: join(folder, "cache"), disk: nodeDisk })
}))

export const objectAt = (cacheRoot: string, digest: Digest): string =>
  join(cacheRoot, "objects", digest.slice(0, 2), digest.slice(2))

/** Bytes that differ from place to place, so that a shifted or cut copy is another one. */
export const bytesOf = (size: number, seed = 1): Uint8Array => {
  const bytes = new Uint8Array(size)
  let state = seed >>> 0 || 1
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

export const stagedAs = (path: string, content: string | Uint8Array): Staged => ({
  path,
  sha256: sha256(content),
  size: Buffer.byteLength(content)
})
