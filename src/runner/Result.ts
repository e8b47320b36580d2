/** Reads what an action's process left. It is somebody else's code that wrote it: nothing is taken on trust. */
import { join, relative, resolve, sep } from "node:path"
import { Effect, Schema } from "effect"
import type * as Actions from "../ledger/Actions.ts"
import { decodeManifest, type Kind, type Manifest, manifestDigest } from "../pipeline/Artifact.ts"
import { canonical, type Digest, short } from "../pipeline/Digest.ts"
import { bytes as bytesText } from "../pipeline/units.ts"
import { identity } from "../store/Disk.ts"
import { parallel } from "../store/StoreContext.ts"
import { decodePage } from "../store/Pages.ts"
import type { Failure, ReadyAction } from "./Action.ts"
import type { Ports, Sized, StagedFile } from "./Ports.ts"
import { decodeResult, resultFile, type ResultRecord } from "./Request.ts"

/** A result record, checked. */
export interface Accepted {
  readonly result: ResultRecord
  readonly staged: ReadonlyArray<StagedFile>
  readonly outputs: ReadonlyArray<Actions.OutputRecord>
}

/** A record is read as a whole; one of a million files takes some 200 MB. */
const largestRecord = 512 * 1024 * 1024

export const readResult = (
  ports: Pick<Ports, "disk" | "lacking" | "paths">,
  action: ReadyAction,
  directory: string
): Effect.Effect<Accepted, Failure> =>
  Effect.mapError(read(ports, action, directory), error => ({
    _tag: "Failure",
    class: error._tag === "StorageError" ? "storage" : "permanent",
    message: error.message,
    advice: error.advice,
    note: error.message
  }))

/** What goes wrong in reading it, or is wrong with it. */
interface Wrong {
  readonly _tag?: string
  readonly message: string
  readonly advice?: string | undefined
}

const read = (
  ports: Pick<Ports, "disk" | "lacking" | "paths">,
  action: ReadyAction,
  directory: string
): Effect.Effect<Accepted, Wrong> =>
  Effect.gen(function* () {
    const file = join(directory, resultFile)
    const { kind, size } = yield* ports.disk.stat(file)
    if (kind !== "file") return yield* refuse("its result record is no file")
    if (size > largestRecord)
      return yield* refuse(
        `its result record has ${bytesText(size)}; more than ${bytesText(largestRecord)} are refused`
      )
    const bytes = yield* ports.disk.read(file)
    const { outputs, result } = yield* Effect.try({
      try: () => decode(action, Buffer.from(bytes).toString("utf8")),
      catch: cause => ({ message: `${file}: ${cause instanceof Error ? cause.message : String(cause)}` })
    })
    const staged = result.staged as ReadonlyArray<StagedFile>
    yield* checkPlaces(ports, staged, [directory, join(ports.paths.checkpoints, action.key)])
    yield* checkBytes(ports, staged, join(directory, "staging"))
    yield* checkObjects(ports, staged, outputs)
    return { result, staged, outputs }
  })

const refuse = (message: string, advice?: string): Effect.Effect<never, Wrong> =>
  Effect.fail({ message, ...(advice === undefined ? {} : { advice }) })

/** Throws where the record is not what it must be. */
const decode = (action: ReadyAction, text: string): Pick<Accepted, "outputs" | "result"> => {
  const result = decodeResult(text)
  if (result.key !== action.key) throw new Error(`its result is for key ${short(result.key)}`)
  const ports = Object.entries(action.node.stage.outputs)
  if (result.outputs.length > ports.length)
    throw new Error(`its result has ${result.outputs.length} outputs instead of ${ports.length}`)
  const outputs = ports.map(([port, kind]): Actions.OutputRecord => {
    const output = result.outputs.find(candidate => candidate.port === port)
    if (output === undefined) throw new Error(`its result lacks output ${port}`)
    const manifest = decodeManifest(canonical(output.manifest))
    if (manifestDigest(manifest) !== output.digest)
      throw new Error(`the manifest of output ${port} does not have its digest`)
    if (manifest.kind !== kind.name)
      throw new Error(`output ${port} is of kind ${manifest.kind} instead of ${kind.name}`)
    checkManifest(port, kind, manifest)
    return { port, digest: output.digest as Digest, manifest, family: action.families.get(port), timed: kind.timed }
  })
  return { result, outputs }
}

const checkManifest = (port: string, kind: Kind.Any, manifest: Manifest): void => {
  if ((manifest.items !== undefined) !== kind.chunked)
    throw new Error(`output ${port} is ${kind.chunked ? "no" : "a"} chunk set, unlike kind ${kind.name}`)
  const decoded = Schema.decodeUnknownResult(kind.metadata as Schema.Codec<unknown, unknown>)(manifest.metadata)
  if (decoded._tag === "Failure")
    throw new Error(`metadata of output ${port} does not fit kind ${kind.name}: ${decoded.failure.message}`)
}

/**
 * Files that will be moved into the store lie below the action's own directories, on a way without links. Of a file that has another
 * name as well (a hard link), the store takes a copy.
 */
const checkPlaces = (
  { disk }: Pick<Ports, "disk">,
  staged: ReadonlyArray<StagedFile>,
  roots: ReadonlyArray<string>
): Effect.Effect<void, Wrong> =>
  Effect.gen(function* () {
    const directories = new Set<string>()
    for (const { path, size } of staged) {
      const root = roots.find(candidate => path.startsWith(candidate + sep))
      if (root === undefined || resolve(path) !== path)
        return yield* refuse(
          `${path} lies outside of the action's own directory`,
          "an output is written where its writer says"
        )
      const parts = relative(root, path).split(sep)
      for (let depth = 0; depth < parts.length - 1; depth++) {
        const directory = join(root, ...parts.slice(0, depth + 1))
        if (directories.has(directory)) continue
        if ((yield* disk.stat(directory)).kind !== "directory")
          return yield* refuse(`${directory}, on the way to a file of the result, is no directory`)
        directories.add(directory)
      }
      const stat = yield* disk.stat(path)
      if (stat.kind !== "file")
        return yield* refuse(`${path} is no regular file`, "links, FIFOs and devices cannot be results")
      if (stat.size !== size) return yield* refuse(`${path} has ${stat.size} bytes instead of ${size}`)
    }
  })

/**
 * The digests were taken while the stage's code ran, which may have written to its files afterwards. Now that all of it is gone, a large file
 * must still be the one that was hashed; where that cannot be told, its bytes must be.
 */
const checkBytes = (
  { disk }: Pick<Ports, "disk">,
  staged: ReadonlyArray<StagedFile>,
  staging: string
): Effect.Effect<void, Wrong> =>
  Effect.forEach(
    staged,
    ({ file, path, sha256: digest }) =>
      Effect.gen(function* () {
        if (file !== undefined && file === identity(yield* disk.stat(path))) return
        if ((yield* disk.hash(path)).sha256 === digest) return
        return yield* refuse(
          `${nameOf(path, staging)} was written to after it was hashed`,
          "whoever writes a file, a timer or a process that the stage started for instance, must have ended before the stage hands it over"
        )
      }),
    { concurrency: parallel, discard: true }
  )

/** What a stage calls a file of its own. */
const nameOf = (path: string, staging: string): string => {
  const [port, ...file] = path.startsWith(staging + sep) ? relative(staging, path).split(sep) : []
  return port === undefined || file.length === 0 ? path : `output ${port}: file ${file.join("/")}`
}

/** Every object that an output lists comes from this attempt, or is in the store. */
const checkObjects = (
  ports: Pick<Ports, "disk" | "lacking">,
  staged: ReadonlyArray<StagedFile>,
  outputs: ReadonlyArray<Actions.OutputRecord>
): Effect.Effect<void, Wrong> =>
  Effect.gen(function* () {
    const ours = new Map(staged.map(file => [file.sha256, file]))
    const elsewhere = new Map<Digest, Sized>()
    const need = (port: string, object: Sized) => {
      const own = ours.get(object.sha256)
      if (own === undefined) elsewhere.set(object.sha256, object)
      return own === undefined || own.size === object.size
        ? Effect.void
        : refuse(`output ${port} says that ${short(object.sha256)} has ${object.size} bytes; it has ${own.size}`)
    }
    for (const { digest, manifest, port } of outputs) {
      if (!ours.has(digest)) elsewhere.set(digest, { sha256: digest, size: Buffer.byteLength(canonical(manifest)) })
      for (const file of manifest.files) yield* need(port, file)
      let count = 0
      for (const page of manifest.items?.pages ?? []) {
        yield* need(port, page)
        count += page.count
        const own = ours.get(page.sha256)
        if (own === undefined) continue
        const items = yield* Effect.flatMap(ports.disk.read(own.path), decodePage)
        if (items.length !== page.count)
          return yield* refuse(`a page of output ${port} has ${items.length} items instead of ${page.count}`)
        for (const { sha256, size } of items) if (sha256 !== undefined) yield* need(port, { sha256, size })
      }
      if (count !== (manifest.items?.count ?? 0))
        return yield* refuse(`output ${port} has ${count} items instead of ${manifest.items?.count}`)
    }
    const lacking = yield* ports.lacking([...elsewhere.values()])
    const [first] = lacking
    if (first !== undefined)
      return yield* refuse(
        `its outputs list ${lacking.length === 1 ? "an object" : `${lacking.length} objects`} that it did not write and that the store does not have: ${short(first.sha256)} of ${first.size} bytes`
      )
  })
