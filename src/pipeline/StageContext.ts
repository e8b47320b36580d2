/** What a running stage is handed: readers of its inputs, writers of its outputs, and ways to report. Types only. */
import type { Effect, Stream } from "effect"
import type { AnyPort, FileEntry, Kind, Port } from "./Artifact.ts"
import type { Digest, Json } from "./Digest.ts"
import type { StageError } from "./StageError.ts"

/**
 * An input artifact. Every file is hashed against its digest: `bytes` and `text` before they are handed out; large files of which the `path` was
 * asked while the stage reads them. The stage's result counts only if that ends well.
 */
export interface ArtifactReader<Meta> {
  readonly digest: Digest
  readonly metadata: Meta
  readonly files: ReadonlyArray<FileEntry>
  /** A path where the file's bytes can be read; never write there. */
  readonly path: (file: string) => Effect.Effect<string, StageError>
  readonly bytes: (file: string) => Effect.Effect<Uint8Array, StageError>
  readonly text: (file: string) => Effect.Effect<string, StageError>
}

/** One item of a chunk set: its key and a small JSON note beside its bytes. */
export interface ChunkItem {
  readonly key: Digest
  readonly note: Json
  /** Size of the payload in bytes. */
  readonly size: number
}

export interface ChunkReader<Meta> {
  readonly digest: Digest
  readonly metadata: Meta
  readonly count: number
  /** The items in order, page by page. */
  readonly items: Stream.Stream<ChunkItem & { readonly bytes: Effect.Effect<Uint8Array, StageError> }, StageError>
}

/** What a stage may write as a file's content. */
export type Content = string | Uint8Array | AsyncIterable<Uint8Array>

export interface ArtifactWriter<Meta> {
  /** Writes a file of the artifact, hashing on the way. Paths are relative, with forward slashes. */
  readonly write: (path: string, content: Content) => Effect.Effect<FileEntry, StageError>
  /** A path in the action's private directory for code that writes files by itself; hashed when the stage ends. A link is refused; a file with another name elsewhere is copied. */
  readonly reserve: (path: string) => Effect.Effect<string, StageError>
  /** Moves a finished file from the checkpoint or the scratch directory into the artifact. Its digest must be known; it is checked when the stage ends. */
  readonly place: (
    path: string,
    from: string,
    content: { readonly sha256: string; readonly size: number }
  ) => Effect.Effect<FileEntry, StageError>
  /** Names an object that the store already holds as a file of this artifact; copies nothing. */
  readonly adopt: (
    path: string,
    object: { readonly sha256: Digest; readonly size: number }
  ) => Effect.Effect<void, StageError>
  /** Sets the metadata; exactly once. */
  readonly metadata: (metadata: Meta) => Effect.Effect<void, StageError>
}

export interface ChunkWriter<Meta> {
  /** The key of an item, from what determines it besides the stage's code, parameters and item-wide inputs. */
  readonly key: (material: string) => Digest
  /** Whether the item exists: in an earlier set, or written by an attempt of this action that was cut off. */
  readonly has: (key: Digest) => boolean
  /** The note of an item that `has` knows; undefined for others. */
  readonly note: (key: Digest) => Json | undefined
  /** Keeps an item; it survives the death of this process. */
  readonly put: (key: Digest, bytes: Uint8Array, note?: Json) => Effect.Effect<void, StageError>
  /** Lists the items of the set in order. Each must have been found or put. */
  readonly finish: (order: ReadonlyArray<Digest>, metadata: Meta) => Effect.Effect<void, StageError>
}

/** Work done so far, for the live display: `done` of `total` in `unit`, and what else is worth a glance. */
export interface Progress {
  readonly done: number
  readonly total?: number | undefined
  /** For example `documents`, `steps`, or `B` for bytes (shown with a rate). */
  readonly unit?: string
  /** For example `loss 3.41`. */
  readonly note?: string
}

export interface Slots {
  readonly cpus: number
  readonly memoryMiB: number
  /** Names of the devices that this action holds, for example `0` for `gpu:0`. */
  readonly gpus: ReadonlyArray<string>
}

type ReaderOf<K> =
  K extends Kind<string, infer Meta, infer Chunked>
    ? Chunked extends true
      ? ChunkReader<Meta>
      : ArtifactReader<Meta>
    : never

type WriterOf<K> =
  K extends Kind<string, infer Meta, infer Chunked>
    ? Chunked extends true
      ? ChunkWriter<Meta>
      : ArtifactWriter<Meta>
    : never

export type Readers<Inputs extends Record<string, AnyPort>> = {
  readonly [P in keyof Inputs]: Inputs[P] extends Port<infer K, infer Arity>
    ? Arity extends "optional"
      ? ReaderOf<K> | undefined
      : Arity extends "many"
        ? ReadonlyArray<ReaderOf<K>>
        : { readonly [name: string]: ReaderOf<K> }
    : ReaderOf<Inputs[P]>
}

export type Writers<Outputs extends Record<string, Kind.Any>> = {
  readonly [P in keyof Outputs]: WriterOf<Outputs[P]>
}

export interface StageContext<
  Inputs extends Record<string, AnyPort>,
  Parameters,
  Outputs extends Record<string, Kind.Any>
> {
  readonly inputs: Readers<Inputs>
  readonly parameters: Parameters
  /** What the stage's `identity` returned when the run was planned. */
  readonly identity: Json | undefined
  readonly outputs: Writers<Outputs>
  readonly progress: (progress: Progress) => Effect.Effect<void>
  /** Records a final value (`step` left out) or a point of a series. */
  readonly metric: (name: string, value: number, step?: number) => Effect.Effect<void>
  /** A directory that belongs to this action's key: it survives failures and kills, and is dropped when the result is published. */
  readonly checkpoint: string
  /** A private directory for temporary files; removed afterwards. */
  readonly scratch: string
  readonly slots: Slots
  /** Numeric class of the engine to compute with, as in `ort/cpu/f32`; `none` for a stage that declares none. */
  readonly engine: string
}
