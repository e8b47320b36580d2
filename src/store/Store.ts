/** The content-addressed object store: immutable blobs, each named by the SHA-256 of its bytes. */
import { Effect, type Stream } from "effect"
import { decodeManifest, encodeManifest, type Manifest } from "../pipeline/Artifact.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { Content } from "../pipeline/StageContext.ts"
import * as Audit from "./Audit.ts"
import { type Check, Checks } from "./Checks.ts"
import { type Disk, readOnly } from "./Disk.ts"
import { type Faults, none } from "./Faults.ts"
import { type Aside, context } from "./StoreContext.ts"
import type { Layer } from "./Layer.ts"
import { type ContentFailed, ManifestInvalid, type LayerInvalid, type ObjectDamaged } from "./ObjectError.ts"
import type { ObjectMissing, ReadError, StagedChanged, UnsafePath } from "./ObjectError.ts"
import { decodePage, type PageInvalid, type PageItem } from "./Pages.ts"
import * as Materialising from "./Materialising.ts"
import * as Quarantine from "./Quarantine.ts"
import * as Reading from "./Reading.ts"
import type { StorageError } from "./StorageError.ts"
import * as Trash from "./Trash.ts"
import * as Writing from "./Writing.ts"

export interface Store {
  /** The cache root. */
  readonly root: string
  readonly layers: ReadonlyArray<Layer>

  /** Stores bytes. When it returns they survive a power cut; bytes that are there already, and sound, are not written again. */
  readonly put: {
    (content: string | Uint8Array): Effect.Effect<Writing.Stored, StorageError>
    (content: Content): Effect.Effect<Writing.Stored, StorageError | ContentFailed>
  }
  /**
   * Moves files that an action wrote and hashed into the store. Sizes are checked before anything moves; objects that are there
   * already are hashed, and replaced if they are damaged. May be repeated after any failure. When it returns, all of them survive
   * a power cut.
   */
  readonly publish: (
    staged: ReadonlyArray<Writing.Staged>
  ) => Effect.Effect<Writing.Published, StorageError | StagedChanged>

  /** The path of an object, its bytes unchecked; see `openVerified`. Never write there. */
  readonly locate: (digest: Digest) => Effect.Effect<string, ReadError>
  /** Which of the objects exist. One call for many digests costs a listing of the store, not a look at each. */
  readonly has: (digests: Iterable<Digest>) => Effect.Effect<ReadonlySet<Digest>, StorageError | LayerInvalid>
  /**
   * The bytes of an object, hashed. A damaged object is moved to `quarantine/` before the error is returned; a sound copy in a layer takes
   * its place.
   */
  readonly read: (digest: Digest, options?: Reading.ReadOptions) => Effect.Effect<Uint8Array, ReadError>
  /** As `read`, for `length` bytes from `offset`; fewer at the end. */
  readonly readRange: (
    digest: Digest,
    offset: number,
    length: number,
    options?: Reading.ReadOptions
  ) => Effect.Effect<Uint8Array, ReadError>
  /** The path of an object after it was hashed; above 1 MiB only if the same unchanged file was not hashed before. */
  readonly openVerified: (digest: Digest, options?: Reading.ReadOptions) => Effect.Effect<string, ReadError>
  /** As `openVerified`, without waiting for the hash of a large object: whoever opens it must see to it that its check ends well. */
  readonly openEarly: (digest: Digest, options?: Reading.ReadOptions) => Effect.Effect<Reading.Opened, ReadError>
  /** The full checks of large objects that were made through this store. */
  readonly checks: () => ReadonlyArray<Check>

  /** Hashes an object in full, whatever its size. */
  readonly verify: (digest: Digest, options?: Reading.ReadOptions) => Effect.Effect<Writing.Stored, ReadError>
  /** Hashes every object of the store and its layers. */
  readonly verifyAll: (
    options?: Audit.VerifyAllOptions
  ) => Effect.Effect<Audit.Verification, StorageError | LayerInvalid>
  /** Moves an object aside with a note that says why. Returns its new path, or undefined if the writable store has none. */
  readonly quarantine: (digest: Digest, reason: string) => Effect.Effect<string | undefined, StorageError>

  /** Writes an object's bytes to a file: complete or not at all. Returns how. */
  readonly materialise: (
    digest: Digest,
    to: string,
    options?: Materialising.MaterialiseOptions
  ) => Effect.Effect<"copy" | "hardlink", ReadError>
  /** Writes the files of an artifact into a directory. */
  readonly materialiseArtifact: (
    manifest: Manifest,
    directory: string,
    options?: Materialising.MaterialiseOptions
  ) => Effect.Effect<void, ReadError | UnsafePath>

  /** Stores a manifest. The digest of its object is the digest of the artifact. */
  readonly putManifest: (manifest: Manifest) => Effect.Effect<Digest, StorageError>
  readonly readManifest: (digest: Digest) => Effect.Effect<Manifest, ReadError | ManifestInvalid>
  /** The items that a page of a chunk set lists. */
  readonly readPage: (page: Writing.Stored) => Effect.Effect<ReadonlyArray<PageItem>, ReadError | PageInvalid>

  /** The objects of the writable store, in the order of their digests. */
  readonly list: Stream.Stream<Writing.Stored, StorageError>
  readonly usage: Effect.Effect<Audit.Usage, StorageError>

  /** Moves objects to a folder of the trash that is named after the time. */
  readonly trash: (
    digests: Iterable<Digest>
  ) => Effect.Effect<Trash.Discarded & { readonly folder: string }, StorageError>
  /** Brings an object back, after hashing it. */
  readonly restoreFromTrash: (digest: Digest) => Effect.Effect<void, StorageError | ObjectMissing | ObjectDamaged>
  /** What the trash holds, by the folder of each collection, oldest first. */
  readonly trashed: Effect.Effect<ReadonlyArray<Trash.TrashFolder>, StorageError>
  /** Deletes what was moved to the trash more than `olderThanMs` milliseconds ago; or counts it. */
  readonly emptyTrash: (options: Trash.EmptyTrashOptions) => Effect.Effect<Trash.Discarded, StorageError>
  /** Deletes temporary files of dead processes, untouched for `olderThanMs` milliseconds; or counts them. */
  readonly sweep: (options: Audit.SweepOptions) => Effect.Effect<Audit.Tally, StorageError>
}

export interface StoreOptions {
  /** The cache root. Folders in it are created by the first write; a store that is only read creates nothing. */
  readonly root: string
  readonly disk: Disk
  /** Searched in order for what the writable store does not have. */
  readonly layers?: ReadonlyArray<Layer>
  readonly faults?: Faults
  /** Full checks that earlier processes have made. */
  readonly checked?: Iterable<Pick<Check, "digest" | "file">>
  /** What is done before a damaged object is moved aside; by default nothing. */
  readonly aside?: Aside
}

/**
 * The same store for who cannot say that an artifact is lost, or does not care: damaged objects stay where they are. Moved aside
 * unseen, they would be missing while the ledger calls them present.
 */
export const untouched = ({ layers, root }: Store, disk: Disk): Store =>
  make({ root, layers, disk: readOnly(disk), aside: false })

export const make = (options: StoreOptions): Store => {
  const { root, disk, layers = [], faults = none } = options
  const checks = new Checks(options.checked)
  const on = context({ root, disk, layers, faults, checks, aside: options.aside ?? (() => Effect.void) })

  const put = Effect.fn("Store.put")((content: Content) => Writing.put(on, content)) as Store["put"]
  const read: Store["read"] = Effect.fn("Store.read")((digest, options) => Reading.read(on, digest, options))

  return {
    root,
    layers,
    put,
    publish: Effect.fn("Store.publish")(staged => Writing.publish(on, staged)),
    locate: Effect.fn("Store.locate")(digest => Reading.locate(on, digest)),
    has: Effect.fn("Store.has")(digests => Reading.has(on, digests)),
    read,
    readRange: Effect.fn("Store.readRange")((digest, offset, length, options) =>
      Reading.readRange(on, digest, offset, length, options)
    ),
    openVerified: Effect.fn("Store.openVerified")((digest, options) => Reading.openVerified(on, digest, options)),
    openEarly: Effect.fn("Store.openEarly")((digest, options) => Reading.openEarly(on, digest, options)),
    checks: () => checks.made,
    verify: Effect.fn("Store.verify")((digest, options) => Reading.verify(on, digest, options)),
    verifyAll: Effect.fn("Store.verifyAll")(options => Audit.verifyAll(on, options)),
    quarantine: (digest, reason) => Quarantine.quarantine(on, digest, reason),
    materialise: Effect.fn("Store.materialise")((digest, to, options) =>
      Materialising.materialise(on, digest, to, options)
    ),
    materialiseArtifact: Effect.fn("Store.materialiseArtifact")((manifest, directory, options) =>
      Materialising.materialiseArtifact(on, manifest, directory, options)
    ),
    putManifest: Effect.fn("Store.putManifest")(manifest =>
      Effect.map(put(encodeManifest(manifest)), stored => stored.sha256)
    ),
    readManifest: Effect.fn("Store.readManifest")(digest =>
      Effect.flatMap(read(digest), bytes =>
        Effect.try({
          try: () => decodeManifest(Buffer.from(bytes).toString()),
          catch: cause =>
            new ManifestInvalid({ digest, detail: cause instanceof Error ? cause.message : String(cause) })
        })
      )
    ),
    readPage: ({ sha256, size }) => Effect.flatMap(read(sha256, { size }), decodePage),
    list: Audit.list(on),
    usage: Audit.usage(on),
    trash: Effect.fn("Store.trash")(digests => Trash.trash(on, digests)),
    restoreFromTrash: Effect.fn("Store.restoreFromTrash")(digest => Trash.restoreFromTrash(on, digest)),
    trashed: Trash.trashed(on),
    emptyTrash: Effect.fn("Store.emptyTrash")(options => Trash.emptyTrash(on, options)),
    sweep: Effect.fn("Store.sweep")(options => Audit.sweep(on, options))
  }
}
