/** Finds the model that a user names: shipped with the program, in a directory, or made by a run. */
import { existsSync, readdirSync, statSync } from "node:fs"
import { join, resolve } from "node:path"
import { Effect, Option } from "effect"
import type { NamedFile } from "../formats/tensorFiles.ts"
import { openAdapter } from "../models/adapter/adapterFiles.ts"
import { canTellBase, mustBeItsBase } from "../models/adapter/diffusionConfig.ts"
import { apart, isWeights, openModel } from "../models/artifact.ts"
import type { FileEntry } from "../pipeline/Artifact.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { short } from "../pipeline/Digest.ts"
import { readOnly } from "../store/Disk.ts"
import * as Layer from "../store/Layer.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import * as Store from "../store/Store.ts"
import * as flags from "./flags.ts"
import { artifactsFor, attempt, nameOf, needCache, warn, warnIfSuspect } from "./look.ts"

const shippedPrefix = "embedded:"
const modelKind = "model-files"

export interface FoundModel {
  /** How messages call it. */
  readonly name: string
  readonly files: ReadonlyArray<NamedFile>
}

/**
 * `embedded:NAME`, a directory in Hugging Face layout, or a run, action or artifact of the cache with one model. A directory with an adapter of PEFT is a model together with its base: the one that `base` names, or
 * else the adapter itself.
 */
export const findModel = Effect.fn("findModel")(function* (
  reference: string,
  cache: Option.Option<string>,
  base: Option.Option<string> = Option.none()
) {
  const found = yield* findFiles(reference, cache)
  const { adapter, base: beside } = apart(found.files)
  const alone = isDirectory(reference) && adapter.length > 0 && !beside.some(({ name }) => isWeights(name))
  if (alone) return { name: reference, files: yield* withBase(reference, adapter, cache, base) }
  if (Option.isSome(base))
    return yield* new ConfigError({ at: "--base", message: `${reference} is no directory with an adapter alone` })
  return found
})

const findFiles = Effect.fnUntraced(function* (reference: string, cache: Option.Option<string>) {
  if (reference.startsWith(shippedPrefix)) return yield* shippedModel(reference)
  if (isDirectory(reference)) return { name: reference, files: filesIn(resolve(reference)) } satisfies FoundModel
  if (/^[./~]/.test(reference))
    return yield* new ConfigError({
      at: reference,
      message: "is no directory",
      advice: "a model of files is a directory in Hugging Face layout: config.json, tokenizer.json, *.safetensors"
    })
  const { database, store } = yield* needCache(cache)
  const name = yield* nameOf(reference)
  const models = (yield* artifactsFor(database, name)).filter(({ kind }) => kind === modelKind)
  const [model] = models
  if (model === undefined || models.length > 1)
    return yield* new ConfigError({
      at: reference,
      message: model === undefined ? "is no model" : `stands for ${models.length} models`,
      advice:
        model === undefined
          ? "name an action that returns a model, as in pretrain-teacher/pretrain, or a directory in Hugging Face layout"
          : `name one: ${models.map(({ digest }) => short(digest)).join(", ")}`
    })
  yield* attempt(() => warnIfSuspect(database, model))
  const manifest = yield* store.readManifest(model.digest)
  return { name: `model ${short(model.digest)}`, files: yield* located(store, manifest.files) }
})

const isDirectory = (path: string): boolean => existsSync(path) && statSync(path).isDirectory()

const filesIn = (directory: string): ReadonlyArray<NamedFile> =>
  readdirSync(directory)
    .map(name => ({ name, path: join(directory, name) }))
    .filter(({ path }) => statSync(path).isFile())

/** The files of an adapter in a directory and of its base. */
const withBase = Effect.fnUntraced(function* (
  directory: string,
  adapter: ReadonlyArray<NamedFile>,
  cache: Option.Option<string>,
  given: Option.Option<string>
) {
  const { base, diffusion } = yield* openAdapter(adapter)
  const { nameOrPath, revision } = base
  const candidates = nameOrPath === null ? [] : [nameOrPath, join(directory, nameOrPath)]
  const here = candidates.find(path => path.startsWith(shippedPrefix) || isDirectory(path))
  const found = Option.getOrElse(given, () => here)
  if (found === undefined)
    return yield* new ConfigError({
      at: directory,
      message:
        nameOrPath === null
          ? "is an adapter that does not say which model it is for"
          : `is an adapter for ${nameOrPath}${revision === null ? "" : ` at revision ${revision}`}, which is not here`,
      advice: "--base names that model: a directory in Hugging Face layout, or what a run made or downloaded"
    })
  const { base: beside } = apart((yield* findFiles(found, cache)).files)
  const { config } = yield* openModel(beside)
  if (config.linear === undefined && diffusion?.base_sha256 !== undefined) {
    yield* mustBeItsBase(diffusion, beside, path => Effect.map(nodeDisk.hash(path), ({ sha256 }) => sha256))
    if (!canTellBase(diffusion, beside))
      warn(
        `whether ${found} is the base of ${directory} cannot be told: its files have other names than those of the base that was trained over`
      )
  }
  return [...beside, ...adapter]
})

const shippedModel = Effect.fn("shippedModel")(function* (reference: string) {
  const directory = flags.shippedLayer
  const disk = readOnly(nodeDisk)
  const layers = [Layer.make({ directory, disk })]
  const found = yield* Layer.findArtifact(layers, reference.slice(shippedPrefix.length))
  if (found === undefined || found.manifest.kind !== modelKind)
    return yield* new ConfigError({
      at: reference,
      message: found === undefined ? "does not ship with the program" : `is no model, but ${found.manifest.kind}`,
      advice: "the model that ships with the program is embedded:teacher"
    })
  const store = Store.make({ root: join(directory, "none"), disk, layers })
  return { name: reference, files: yield* located(store, found.manifest.files) }
})

const located = (store: Store.Store, files: ReadonlyArray<FileEntry>) =>
  Effect.forEach(files, ({ path: name, sha256, size }) =>
    Effect.map(store.openVerified(sha256, { size }), path => ({ name, path }))
  )
