/** Artifacts: immutable, typed, content-addressed results; their kinds, their manifests and references to them. */
import { Schema } from "effect"
import { unsafeTogether } from "./SafePath.ts"
import { canonical, type Digest, type Json, sha256 } from "./Digest.ts"

/** A kind of artifact. Ports are typed by it: anchors where tokens belong do not compile. */
export interface Kind<Name extends string = string, Meta = unknown, Chunked extends boolean = boolean> {
  readonly _tag: "Kind"
  readonly name: Name
  readonly description: string
  /** Decodes the metadata of a manifest; checked when an artifact is published and when it is read. */
  readonly metadata: Schema.Codec<Meta, Json>
  /** Counts of the metadata that say most about an artifact, for one-line summaries. */
  readonly summary: ReadonlyArray<string>
  /** Whether it holds what was timed: computed again it has other bytes, and is no less reproducible for that. */
  readonly timed: boolean
  /** Whether the artifact is a chunk set: many items, each with its own key. */
  readonly chunked: Chunked
}

export declare namespace Kind {
  export type Any = Kind<string, never, boolean> | Kind<string, unknown, boolean>
  export type Meta<K> = K extends Kind<string, infer Meta, boolean> ? Meta : never
}

export interface KindOptions<Meta> {
  /** For readers of the declaration. It is a part of the code of every stage with a port of this kind; a comment is not. */
  readonly description?: string
  readonly metadata: Schema.Codec<Meta>
  /** Default: the first three counts of the metadata. */
  readonly summary?: ReadonlyArray<keyof Meta & string>
  /** Whether it holds what was timed, by default not. */
  readonly timed?: boolean
}

const declare = <Name extends string, Meta, Chunked extends boolean>(
  name: Name,
  { description = "", metadata, summary, timed = false }: KindOptions<Meta>,
  chunked: Chunked
): Kind<Name, Meta, Chunked> => ({
  _tag: "Kind",
  name,
  description,
  // That its encoded form is JSON is checked when an artifact is published.
  metadata: metadata as unknown as Schema.Codec<Meta, Json>,
  summary: summary ?? ("fields" in metadata ? Object.keys(metadata.fields as object).slice(0, 3) : []),
  timed,
  chunked
})

/** Declares a kind of artifact made of named files. */
export const kind = <const Name extends string, Meta>(
  name: Name,
  options: KindOptions<Meta>
): Kind<Name, Meta, false> => declare(name, options, false)

/** Declares a kind of artifact made of items, each of which is computed only when its own key is new. */
export const chunkSet = <const Name extends string, Meta>(
  name: Name,
  options: KindOptions<Meta>
): Kind<Name, Meta, true> => declare(name, options, true)

/** One file of an artifact: its name inside the artifact, and the object that holds its bytes. */
export interface FileEntry {
  readonly path: string
  readonly sha256: Digest
  /** Bytes. */
  readonly size: number
}

/** One page of a chunk set: an object that lists some hundred items. Sets that differ little share most pages. */
export interface PageEntry {
  readonly sha256: Digest
  readonly size: number
  readonly count: number
}

/** What an artifact is. The SHA-256 of its canonical text is the artifact's digest, its only name. */
export interface Manifest {
  readonly kind: string
  readonly files: ReadonlyArray<FileEntry>
  readonly metadata: Json
  /** Present in chunk sets only. `bytes` counts the payloads of the items. */
  readonly items?: { readonly count: number; readonly bytes: number; readonly pages: ReadonlyArray<PageEntry> }
}

const Hex64 = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))
const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const ManifestSchema = Schema.Struct({
  kind: Schema.String,
  files: Schema.Array(Schema.Struct({ path: Schema.String, sha256: Hex64, size: Count })),
  metadata: Schema.Unknown,
  items: Schema.optionalKey(
    Schema.Struct({
      count: Count,
      bytes: Count,
      pages: Schema.Array(Schema.Struct({ sha256: Hex64, size: Count, count: Count }))
    })
  )
})

const decodeManifestValue = Schema.decodeUnknownSync(ManifestSchema)

export const encodeManifest = (manifest: Manifest): string =>
  canonical({ ...manifest, files: [...manifest.files].sort((a, b) => (a.path < b.path ? -1 : 1)) })

export const manifestDigest = (manifest: Manifest): Digest => sha256(encodeManifest(manifest))

/** Reads a manifest's text. Throws when it is not one; the caller knows which object it was. */
export const decodeManifest = (text: string): Manifest => {
  const manifest = decodeManifestValue(JSON.parse(text)) as unknown as Manifest
  const unsafe = unsafeTogether(manifest.files.map(({ path }) => path))
  if (unsafe !== undefined) throw new Error(`file name ${JSON.stringify(unsafe.path)} is refused: ${unsafe.why}`)
  return manifest
}

/** Bytes of what the artifact holds: its files, or the payloads of its items. The pages that list these are not counted, as the manifest is not. */
export const manifestBytes = ({ files, items }: Manifest): number =>
  files.reduce((sum, file) => sum + file.size, 0) + (items?.bytes ?? 0)

/**
 * A promise of an artifact: output `output` of node `node` of the plan under construction.
 * The kind is part of the type, so wiring is checked by the compiler; it is checked again when the plan is built.
 */
export interface Ref<K extends Kind.Any = Kind.Any> {
  readonly _tag: "Ref"
  readonly node: number
  readonly output: string
  readonly kind: K
  /** Which plan it belongs to; a reference cannot leave it. */
  readonly plan: object
}

export const isRef = (value: unknown): value is Ref =>
  typeof value === "object" && value !== null && (value as { _tag?: unknown })._tag === "Ref"

/** How many artifacts an input port takes. A bare kind takes exactly one. */
export interface Port<K extends Kind.Any, Arity extends "optional" | "many" | "named"> {
  readonly _tag: "Port"
  readonly kind: K
  readonly arity: Arity
}

/** A port that may stay empty. */
export const optional = <K extends Kind.Any>(of: K): Port<K, "optional"> => ({
  _tag: "Port",
  kind: of,
  arity: "optional"
})

/** A port that takes a list; order matters. */
export const many = <K extends Kind.Any>(of: K): Port<K, "many"> => ({ _tag: "Port", kind: of, arity: "many" })

/** A port that takes a record of artifacts; the names are part of the key, as the result may show them. */
export const named = <K extends Kind.Any>(of: K): Port<K, "named"> => ({ _tag: "Port", kind: of, arity: "named" })

export type AnyPort = Kind.Any | Port<Kind.Any, "optional" | "many" | "named">

export const portKind = (port: AnyPort): Kind.Any => (port._tag === "Kind" ? port : port.kind)

export const portArity = (port: AnyPort): "one" | "optional" | "many" | "named" =>
  port._tag === "Kind" ? "one" : port.arity
