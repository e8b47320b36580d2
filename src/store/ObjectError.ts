/** What can be wrong with an object, as opposed to the disk: missing, damaged, changed under our hands, or badly named. */
import { Schema } from "effect"
import { short } from "../pipeline/Digest.ts"
import type { StorageError } from "./StorageError.ts"

/** No layer of the store holds the object. */
export class ObjectMissing extends Schema.TaggedError<ObjectMissing>()("ObjectMissing", {
  digest: Schema.String,
  /** The cache root that was searched. */
  root: Schema.String
}) {
  override get message(): string {
    return `object ${short(this.digest)} is not in the store ${this.root}`
  }

  get advice(): string {
    return "run the pipeline again: what made it is executed anew; or copy it from a cache that still has it"
  }
}

/** An object whose bytes are not those of its name. It was moved aside where the store may write, and is never handed out. */
export class ObjectDamaged extends Schema.TaggedError<ObjectDamaged>()("ObjectDamaged", {
  digest: Schema.String,
  path: Schema.String,
  /**
   * `size`: too short or too long; `bytes`: another SHA-256; `unreadable`: the disk cannot read it; `kind`: a directory, a pipe, a link that
   * leads nowhere …; `changed`: its file was touched while it was in use, so that nobody knows which bytes were read.
   */
  reason: Schema.Literals(["size", "bytes", "unreadable", "kind", "changed"]),
  expectedSize: Schema.optionalKey(Schema.Number),
  actualSize: Schema.optionalKey(Schema.Number),
  actualDigest: Schema.optionalKey(Schema.String),
  /** Where it was moved; absent for a read-only layer, or where the move was refused. */
  quarantined: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return `object ${short(this.digest)} is damaged: ${this.path} ${this.what}`
  }

  private get what(): string {
    switch (this.reason) {
      case "size":
        return `has ${this.actualSize} bytes instead of ${this.expectedSize}`
      case "bytes":
        return `has other bytes than its name says (SHA-256 ${short(this.actualDigest ?? "")}…)`
      case "unreadable":
        return "cannot be read from the disk"
      case "kind":
        return "is no regular file"
      case "changed":
        return "was changed while it was in use"
    }
  }

  get advice(): string {
    return this.quarantined === undefined
      ? "run `pipeline cache verify` from an account that may write there, or install the program again if it is one of its own files"
      : `it was moved to ${this.quarantined} and is made again when a pipeline needs it; if this happens more than once, suspect the disk`
  }
}

/** A staged file is not what was announced: it is missing, no regular file, or of another size. Nothing was published. */
export class StagedChanged extends Schema.TaggedError<StagedChanged>()("StagedChanged", {
  path: Schema.String,
  digest: Schema.String,
  expectedSize: Schema.Number,
  /** Absent where there is no regular file at all. */
  actualSize: Schema.optionalKey(Schema.Number)
}) {
  override get message(): string {
    return this.actualSize === undefined
      ? `${this.path} was to be published, but is no regular file any more`
      : `${this.path} changed after it was hashed: ${this.actualSize} bytes instead of ${this.expectedSize}`
  }

  get advice(): string {
    return "nothing was published; see whether the stage, or another program, still writes to its files after handing them over"
  }
}

/** The source of an object's bytes failed while it was being stored; nothing of it was kept. */
export class ContentFailed extends Schema.TaggedError<ContentFailed>()("ContentFailed", {
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the content ended with an error: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

/** A name that would leave the directory it belongs in, or that not every file system can hold. */
export class UnsafePath extends Schema.TaggedError<UnsafePath>()("UnsafePath", {
  path: Schema.String,
  /** Which list of names it is from. */
  source: Schema.String,
  why: Schema.String
}) {
  override get message(): string {
    return `${this.source}: file name ${JSON.stringify(this.path)} is refused: ${this.why}`
  }
}

/** An object that was to be a manifest is none. */
export class ManifestInvalid extends Schema.TaggedError<ManifestInvalid>()("ManifestInvalid", {
  digest: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `object ${short(this.digest)} is not the manifest of an artifact: ${this.detail}`
  }
}

/** The index of a read-only layer cannot be used. */
export class LayerInvalid extends Schema.TaggedError<LayerInvalid>()("LayerInvalid", {
  path: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.path} is not the index of a layer: ${this.detail}`
  }
}

/** Why an object could not be had. */
export type ReadError = StorageError | ObjectMissing | ObjectDamaged | LayerInvalid
