/** Brings data into the store: documents, tokenizers and models, from the program itself, this machine, the web or the hub. */
import { join } from "node:path"
import { Effect, Option, Schema, Stream } from "effect"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { formatOf } from "../src/formats/documents.ts"
import { embeddedManifest, hubFiles, identify, obtain, type ObtainedFile, source } from "../src/hub/obtain.ts"
import { firstRows } from "../src/formats/parquet.ts"
import { columnsOf, recordsOfFile, recordsOfRows } from "../src/artifacts/records.ts"
import {
  count,
  hasMore,
  keptColumns,
  keptName,
  lineOf,
  type RecordParameters,
  RowType,
  textBytes
} from "./download/rows.ts"
import { readText } from "../src/formats/textFile.ts"
import { parseTokenizer } from "../src/tokens/tokenizer.ts"
import { readHeader } from "../src/formats/safetensors.ts"
import { fileSource, type RandomAccess } from "../src/formats/randomAccess.ts"
import type { Kind } from "../src/pipeline/Artifact.ts"
import type { Json } from "../src/pipeline/Digest.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import type { ArtifactWriter, Progress } from "../src/pipeline/StageContext.ts"
import { asStageError, permanent, type StageError } from "../src/pipeline/StageError.ts"
import { CorpusPins, Documents, ModelFiles, Tokenizer } from "../src/artifacts/kinds.ts"

const Sha256 = Schema.String.check(
  Schema.isPattern(/^[0-9a-f]{64}$/, { message: "Expected 64 lower-case hexadecimal digits" })
)

export const fromSource = {
  /** `embedded:NAME`, `file:PATH`, `https://…`, or `hf://models|datasets/ORG/NAME@REVISION[/PATH]`. */
  source: Schema.String,
  /** Of the file behind an https address; required there. */
  sha256: Schema.optionalKey(Sha256)
}

/** What all downloads hold while they run: the network is the limit, not this machine. */
export const resources = { cpus: 1, memoryMiB: 512 }

/** The key holds what the source stands for, and every other parameter as it is. */
export const identity = <P extends { readonly source: string; readonly sha256?: string }>(
  parameters: P,
  context: Stage.IdentityContext
) =>
  Effect.map(identify(parameters.source, parameters.sha256, context), from => {
    const { sha256: _sha256, source: _source, ...rest } = parameters
    return { from, ...(rest as Record<string, Json>) }
  })

const sourceIdentity = (all: Json | undefined): Json | undefined =>
  typeof all === "object" && all !== null && !Array.isArray(all) ? (all as { readonly from?: Json }).from : undefined

interface Fetching {
  readonly parameters: { readonly source: string; readonly sha256?: string }
  readonly identity: Json | undefined
  readonly checkpoint: string
  readonly progress: (progress: Progress) => Effect.Effect<void>
}

/** The files of a source on this machine, with progress in bytes. */
export const fetch = (
  { checkpoint, identity: all, parameters, progress }: Fetching,
  accepts?: (path: string) => boolean
) =>
  obtain({
    source: parameters.source,
    sha256: parameters.sha256,
    identity: sourceIdentity(all),
    accepts,
    directory: join(checkpoint, "files"),
    onProgress: ({ bytesDone, bytesTotal, file }) =>
      Effect.runSync(
        progress({ done: bytesDone, total: bytesTotal, unit: "B", ...(file === undefined ? {} : { note: file }) })
      )
  })

export const placeAll = (
  output: ArtifactWriter<never>,
  files: ReadonlyArray<ObtainedFile>
): Effect.Effect<void, StageError> =>
  Effect.forEach(files, ({ file, path, sha256, size }) => output.place(path, file, { sha256, size }), { discard: true })

/** Files that ship with the program are in the store already: they are named, not copied. */
const adopt = (
  all: Json | undefined,
  kind: Kind.Any,
  output: ArtifactWriter<never>
): Effect.Effect<boolean, StageError> =>
  Effect.gen(function* () {
    const manifest = embeddedManifest(sourceIdentity(all))
    if (manifest === undefined) return false
    if (manifest.kind !== kind.name)
      return yield* permanent(`the embedded artifact is of kind ${manifest.kind}, not ${kind.name}`)
    for (const { path, sha256, size } of manifest.files) yield* output.adopt(path, { sha256, size })
    const metadata = yield* Effect.mapError(
      Schema.decodeUnknownEffect(kind.metadata as Schema.Codec<unknown, unknown>)(manifest.metadata),
      error => permanent(`the metadata of the embedded artifact does not fit kind ${kind.name}: ${error.message}`)
    )
    yield* output.metadata(metadata as never)
    return true
  })

/** Documents, read once to the end: what a later stage could not use is an error here, with its place in the file. */
export const downloadDocuments = Stage.make("download-documents", {
  inputs: {},
  parameters: Schema.Struct({
    ...fromSource,
    /** What a record is: `plaintext`, `prompt_response`, `conversation`, or `fields`, which a task reads by its own schema. */
    dataType: setting(RowType, "plaintext"),
    /** The field that holds the text or the turns, by default `text`, or `messages`; of a prompt and its response two, by default `prompt,response`. */
    textKey: Schema.optionalKey(Schema.String),
    /** Of rows of `fields`: only these are read and kept, and every row must have them. By default all; the other kinds of records keep the fields that they are read from. */
    columns: Schema.optionalKey(Schema.NonEmptyArray(Schema.String)),
    /** Of a Parquet file: only the first rows. Read by ranges, without fetching the file. */
    rows: Schema.optionalKey(PositiveInt)
  }),
  outputs: { documents: Documents },
  identity,
  resources,
  run: Effect.fn("download-documents")(function* (context) {
    const { outputs, parameters } = context
    const output = outputs.documents
    if (parameters.rows !== undefined) {
      const { counted, text } = yield* takeRows(context, { ...parameters, rows: parameters.rows })
      yield* output.write("documents.jsonl", text)
      return yield* output.metadata(counted)
    }
    if (yield* adopt(context.identity, Documents, output)) return
    const files = yield* fetch(context, path => formatOf(path) !== undefined)
    if (files.length === 0) {
      return yield* permanent(
        `${parameters.source} holds no documents`,
        "files of documents end in .jsonl, .jsonl.gz, .ndjson, .json or .parquet"
      )
    }
    const decode = textBytes(parameters)
    const counted = yield* Effect.forEach(files, file => count(recordsOfFile(file.file, file.path, decode)))
    for (const file of files)
      if (yield* hasMore(file, decode)) yield* output.write(keptName(file.path), yield* keptColumns(file, decode))
      else yield* placeAll(output, [file])
    yield* output.metadata({
      documents: counted.reduce((sum, { documents }) => sum + documents, 0),
      bytes: counted.reduce((sum, { bytes }) => sum + bytes, 0)
    })
  })
})

/** A tokenizer; it is built once, so that a broken one is found here. */
export const downloadTokenizer = Stage.make("download-tokenizer", {
  inputs: {},
  parameters: Schema.Struct(fromSource),
  outputs: { tokenizer: Tokenizer },
  identity,
  resources,
  run: Effect.fn("download-tokenizer")(function* (context) {
    const output = context.outputs.tokenizer
    if (yield* adopt(context.identity, Tokenizer, output)) return
    const files = yield* fetch(context, path => path === "tokenizer.json" || path === "tokenizer_config.json")
    const read = (name: string) => {
      const found = files.find(({ path }) => path === name)
      return found === undefined ? Effect.succeed(undefined) : Effect.mapError(readText(found.file, name), asStageError)
    }
    const json = yield* read("tokenizer.json")
    if (json === undefined) return yield* permanent(`${context.parameters.source} holds no tokenizer.json`)
    const tokenizer = yield* Effect.mapError(
      Effect.fromResult(
        parseTokenizer({
          json,
          config: yield* read("tokenizer_config.json"),
          file: `${context.parameters.source}: tokenizer.json`
        })
      ),
      asStageError
    )
    yield* placeAll(output, files)
    yield* output.metadata({ vocabSize: tokenizer.vocabSize })
  })
})

/** The pins of a corpus, from the program itself. */
export const downloadPins = Stage.make("download-pins", {
  inputs: {},
  parameters: Schema.Struct(fromSource),
  outputs: { pins: CorpusPins },
  identity,
  resources,
  run: Effect.fn("download-pins")(function* (context) {
    if (yield* adopt(context.identity, CorpusPins, context.outputs.pins)) return
    return yield* permanent(
      `${context.parameters.source} is not part of the program`,
      "pins of a corpus ship with the program: embedded:pretrain"
    )
  })
})

/** Suffixes of the files that make up a model; weights in other formats and documentation stay where they are. */
const modelFile = /\.(safetensors|json|txt|model|jinja)$/

/** A model's files; the header of every safetensors file is checked. */
export const downloadModel = Stage.make("download-model", {
  inputs: {},
  parameters: Schema.Struct(fromSource),
  outputs: { model: ModelFiles },
  identity,
  resources,
  run: Effect.fn("download-model")(function* (context) {
    const output = context.outputs.model
    if (yield* adopt(context.identity, ModelFiles, output)) return
    const files = yield* fetch(context, path => modelFile.test(path))
    if (!files.some(({ path }) => path === "config.json")) return yield* noModel(context.parameters.source, files)
    let tensors = 0
    let parameters = 0
    for (const { file, path, size } of files) {
      if (!path.endsWith(".safetensors")) continue
      const bytes = fileSource(file)
      const header = yield* Effect.mapError(
        readHeader({ file: path, size, readRange: (offset, length) => bytes.read(offset, offset + length) }),
        asStageError
      )
      tensors += header.tensors.size
      for (const { shape } of header.tensors.values())
        parameters += shape.reduce((product, extent) => product * extent, 1)
    }
    yield* placeAll(output, files)
    yield* output.metadata({ files: files.length, tensors, parameters })
  })
})

/** Says why some files are no model; of an adapter, which base it wants. Read by itself: what adapters are here must not be in the key of a model's download. */
const noModel = (from: string, files: ReadonlyArray<ObtainedFile>) =>
  Effect.gen(function* () {
    const adapter = files.find(({ path }) => path === "adapter_config.json")
    if (adapter === undefined) return yield* permanent(`${from} holds no config.json`)
    const text = yield* Effect.mapError(readText(adapter.file, adapter.path), asStageError)
    const { base_model_name_or_path: name, revision } = Option.getOrElse(decodeBaseName(text), () => ({}) as BaseName)
    return yield* permanent(
      `${from} is an adapter, for ${name ?? "a base that it does not name"}${typeof revision === "string" ? ` at revision ${revision}` : ""}`,
      "name that base in model.model_path, and the adapter in model.adapter_path"
    )
  })

const BaseName = Schema.Struct({
  base_model_name_or_path: Schema.optionalKey(Schema.NullOr(Schema.String)),
  revision: Schema.optionalKey(Schema.NullOr(Schema.String))
})
type BaseName = typeof BaseName.Type
const decodeBaseName = Schema.decodeUnknownOption(Schema.fromJsonString(BaseName))

/** The first rows of a Parquet file of the hub or of this machine, as JSON Lines, and their count. */
const takeRows = (context: Fetching, parameters: RecordParameters & { readonly rows: number }) =>
  Effect.gen(function* () {
    const file = yield* parquetFile(context)
    const decode = textBytes(parameters)
    const found = yield* Effect.mapError(
      firstRows({
        file,
        rows: parameters.rows,
        ...columnsOf(decode),
        onProgress: ({ bytesDone }) => Effect.runSync(context.progress({ done: bytesDone, unit: "B", note: file.name }))
      }),
      asStageError
    )
    const counted = yield* count(recordsOfRows(Stream.fromIterable(found), file.name, decode))
    return { counted, text: found.map(lineOf).join("") }
  })

/** The Parquet file behind a source: of the hub by ranges, from elsewhere fetched first. */
const parquetFile = (context: Fetching): Effect.Effect<RandomAccess<StageError>, StageError> =>
  Effect.gen(function* () {
    const from = yield* source(context.parameters.source)
    const missing = permanent(`${context.parameters.source} is no Parquet file, which the parameter rows needs`)
    if (from._tag === "Hub") {
      const { at, client, files } = yield* hubFiles(from, sourceIdentity(context.identity))
      const file = files.find(({ path }) => formatOf(path) === "parquet")
      return file === undefined ? yield* missing : failingAsStage(client.open(at, file))
    }
    const [first] = yield* fetch(context, path => formatOf(path) === "parquet")
    return first === undefined ? yield* missing : { ...failingAsStage(fileSource(first.file)), name: first.path }
  })

const failingAsStage = <E extends { readonly message: string }>({
  name,
  read,
  size
}: RandomAccess<E>): RandomAccess<StageError> => ({
  name,
  size: Effect.mapError(size, asStageError),
  read: (start, end) => Effect.mapError(read(start, end), asStageError)
})
