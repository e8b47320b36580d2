/** The two records between the runner and an action's process: what to compute, and what came of it. */
import { Schema } from "effect"

const Hex = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))
const Size = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const Modules = Schema.Array(Schema.Tuple([Schema.String, Hex]))

export const Request = Schema.Struct({
  version: Schema.Literal(1),
  key: Hex,
  label: Schema.String,
  attempt: Schema.Int,
  /**
   * The stage's module and export; all modules of the user's that it may load, with the content that the key was made from; those of packages
   * that do nothing when they are loaded; and the directories of the packages that the key covers.
   */
  stage: Schema.Struct({
    name: Schema.String,
    module: Schema.String,
    export: Schema.String,
    loadable: Schema.optionalKey(Modules),
    silent: Schema.optionalKey(Modules),
    packages: Schema.optionalKey(Schema.Array(Schema.String))
  }),
  /** Encoded as written. */
  parameters: Schema.Unknown,
  identity: Schema.optionalKey(Schema.Unknown),
  inputs: Schema.Array(Schema.Struct({ port: Schema.String, name: Schema.optionalKey(Schema.String), digest: Hex })),
  /** For each chunk-set output: earlier sets of its family, which may hold items that are needed again. */
  candidates: Schema.Record(Schema.String, Schema.Array(Hex)),
  store: Schema.Struct({ root: Schema.String, layers: Schema.Array(Schema.String) }),
  /** Files of large objects that were hashed before: as long as they are the same, they are not hashed again. */
  checked: Schema.Array(Schema.Struct({ digest: Hex, file: Schema.String })),
  /** Numeric class of the engine, or `none`. */
  engine: Schema.String,
  /** Absolute paths. */
  staging: Schema.String,
  scratch: Schema.String,
  checkpoint: Schema.String,
  slots: Schema.Struct({ cpus: Schema.Int, memoryMiB: Schema.Int, gpus: Schema.Array(Schema.String) })
})
export type Request = typeof Request.Type

export const ResultRecord = Schema.Struct({
  version: Schema.Literal(1),
  key: Hex,
  outputs: Schema.Array(Schema.Struct({ port: Schema.String, digest: Hex, manifest: Schema.Unknown })),
  /** Files to be moved into the store; of large ones also the identity (see Disk.ts) that the file had while it was hashed. */
  staged: Schema.Array(
    Schema.Struct({ path: Schema.String, sha256: Hex, size: Size, file: Schema.optionalKey(Schema.String) })
  ),
  metrics: Schema.Array(
    Schema.Struct({ name: Schema.String, step: Schema.optionalKey(Schema.Int), value: Schema.NullOr(Schema.Finite) })
  ),
  /** Large objects that were hashed from end to end, and found sound. */
  checked: Schema.Array(Schema.Struct({ digest: Hex, file: Schema.String, atMs: Schema.Finite })),
  cpuMs: Size,
  peakKib: Size
})
export type ResultRecord = typeof ResultRecord.Type

export const requestFile = "request.json"
export const resultFile = "result.json"

const RequestJson = Schema.fromJsonString(Request)
const ResultJson = Schema.fromJsonString(ResultRecord)

export const encodeRequest = Schema.encodeSync(RequestJson)
export const decodeRequest = Schema.decodeUnknownSync(RequestJson)
export const encodeResult = Schema.encodeSync(ResultJson)
export const decodeResult = Schema.decodeUnknownSync(ResultJson)
