/** Models as artifacts: configuration, weights and tokenizer in Hugging Face layout. */
import { Effect } from "effect"
import { quantisedTensors } from "../formats/bitsandbytes.ts"
import { type NamedFile, openTensors, type SaveOptions, type StoredTensors } from "../formats/tensorFiles.ts"
import { torchNames } from "../formats/floats.ts"
import { readText } from "../formats/textFile.ts"
import { parseTokenizer, type Tokenizer, type TokenizerFiles } from "../tokens/tokenizer.ts"
import { tokenizerConfigFile, tokenizerFile } from "../artifacts/tokenizer.ts"
import type { Buffers, Engine } from "../engines/Engine.ts"
import type { FileEntry } from "../pipeline/Artifact.ts"
import type { ArtifactReader, ArtifactWriter } from "../pipeline/StageContext.ts"
import { ownField } from "../pipeline/ownField.ts"
import { describe } from "../pipeline/Problem.ts"
import { asStageError, permanent, StageError } from "../pipeline/StageError.ts"
import { adapterConfigFile } from "./adapter/adapterConfig.ts"
import { adapterModelFile, openAdapter, withAdapter, writeAdapter } from "./adapter/adapterFiles.ts"
import { diffusionConfigFile } from "./adapter/diffusionConfig.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "./config.ts"
import { checkOlderTokenizerFiles, checkQuantisation, withStoredHead } from "./agreement.ts"
import { endsOf } from "./ends.ts"
import { decodeModelConfig, families, ourTensors } from "./families.ts"
import type { Family } from "./families/family.ts"
import { allocateParameters, type ParameterBuffers, type ParameterSpec } from "./parameters.ts"
import { withStoredNf4 } from "./quantised.ts"
import { loadWeights, matchWeights, saveWeights } from "./weights.ts"

/** A model in files. */
export interface OpenModel {
  readonly config: ModelConfig
  /** The content of `config.json`. */
  readonly json: { readonly [field: string]: unknown }
  /** Its ends of text are all that the model's files name. */
  readonly tokenizer: Tokenizer
  /** By the names of the model's parameters. */
  readonly tensors: StoredTensors
  /** Whether the configuration is that of a diffusion model: it says which way its tokens are predicted. */
  readonly diffusion: boolean
  /** Whether a token is predicted from the state before it, as autoregressive models do and those that come from them. */
  readonly tokenShift: boolean
}

/** Whether a file holds weights, or says where they are. */
export const isWeights = (name: string): boolean => /\.safetensors(\.index\.json)?$/.test(name)

/** The files of a model, those of its adapter apart where it has one. */
export const apart = (files: ReadonlyArray<NamedFile>) => ({
  base: files.filter(({ name }) => !adapterNames.has(name)),
  adapter: files.filter(({ name }) => adapterNames.has(name))
})
export const configFile = "config.json"
/** What an adapter consists of. */
export const adapterNames: ReadonlySet<string> = new Set([adapterConfigFile, adapterModelFile, diffusionConfigFile])

/**
 * What the files of a model hold: configuration, tokenizer, and the tensors where they lie. Weights in NF4 stay so on an engine; where there is an adapter beside the weights, the model is both.
 */
export const openModel = Effect.fn("openModel")(
  function* (files: ReadonlyArray<NamedFile>, known: ReadonlyArray<Family> = families) {
    const { adapter, base } = apart(files)
    const model = yield* openWeights(base, known)
    return adapter.some(({ name }) => name === adapterConfigFile)
      ? yield* withAdapter(model, yield* openAdapter(adapter))
      : model
  },
  Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
)
const openWeights = Effect.fnUntraced(function* (files: ReadonlyArray<NamedFile>, known: ReadonlyArray<Family>) {
  const read = (name: string) => {
    const file = files.find(each => each.name === name)
    return file === undefined ? Effect.succeed(undefined) : readText(file.path, name)
  }
  const needed = (name: string) =>
    Effect.flatMap(read(name), text =>
      text === undefined ? Effect.fail(permanent(`the model has no ${name}`)) : Effect.succeed(text)
    )
  const text = yield* needed(configFile)
  const json = yield* Effect.try({
    try: () => JSON.parse(text) as { readonly [field: string]: unknown },
    catch: cause => permanent(`${configFile}: ${cause instanceof Error ? cause.message : String(cause)}`)
  })
  const config = yield* decodeModelConfig(json, known)
  const tokenizerConfig = yield* read(tokenizerConfigFile)
  const tokenizer = yield* Effect.fromResult(
    parseTokenizer({ json: yield* needed(tokenizerFile), config: tokenizerConfig })
  )
  yield* checkOlderTokenizerFiles(files, tokenizer, tokenizerConfig)
  // A mask that was added here, with the first free id, is looked at where one is needed.
  const ids = tokenizer.maskAdded ? tokenizer.maskId : tokenizer.vocabSize
  if (ids > config.vocabSize)
    return yield* permanent(
      `${tokenizerFile} has tokens up to id ${ids - 1}, but the model's embedding only ${config.vocabSize} rows (vocab_size of config.json): they do not belong together`
    )
  const tensors = yield* ourTensors(yield* quantisedTensors(yield* openTensors(files)), config, known)
  const tokenShift = json["token_shift"]
  if (tokenShift !== undefined && typeof tokenShift !== "boolean")
    return yield* permanent(`config.json: token_shift is ${describe(tokenShift)}; it must be true or false`)
  const stored = yield* withStoredHead({ config: yield* withStoredNf4({ config, tensors }), json, tensors })
  yield* checkQuantisation(json, stored.config)
  return {
    ...stored,
    tokenizer: { ...tokenizer, ends: yield* endsOf(json, tokenizer, files) },
    diffusion: tokenShift !== undefined,
    tokenShift: tokenShift ?? true
  } satisfies OpenModel as OpenModel
})

/** A model with its parameters on an engine. */
export interface LoadedModel extends OpenModel {
  readonly parameters: Buffers
  /** What stands beside the language model, by the name of its method, where it was asked for and there is anything. */
  readonly latent?: { readonly method: string }
}

/** The stored tensors of the networks beside the language model: their names begin with that of the field of `config.json` that describes them. */
export const tensorsBeside = ({ json, tensors }: Pick<OpenModel, "json" | "tensors">) =>
  [...tensors.keys()].filter(name => typeof ownField(json, name.split(".")[0]!) === "object").map(name => ({ name }))

/** Reads the parameters of an opened model's language model into an engine's memory, and those of `beside`; without these the networks beside it stay where they are. */
export const loadParameters = Effect.fn("loadParameters")(
  function* (
    engine: Engine,
    model: Pick<OpenModel, "config" | "json" | "tensors">,
    beside?: ReadonlyArray<ParameterSpec>
  ) {
    const { config, tensors } = model
    const specs = [...parameterSpecs(config), ...(beside ?? [])]
    const others = beside === undefined ? tensorsBeside(model) : []
    // Before memory is asked for: a configuration that does not fit its weights may ask for any amount.
    yield* matchWeights(specs, tensors, parameterAliases(config), others)
    const buffers = yield* allocateParameters(engine, specs)
    yield* loadWeights(engine, buffers, tensors, parameterAliases(config), others)
    return buffers.views
  },
  Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
)

/** Opens a model and reads its language model's parameters into an engine's memory. */
export const loadModel = Effect.fn("loadModel")(function* (engine: Engine, files: ReadonlyArray<NamedFile>) {
  const opened = yield* openModel(files)
  return { ...opened, parameters: yield* loadParameters(engine, opened) } satisfies LoadedModel as LoadedModel
})

/** The files of an artifact of a stage. */
export const filesOf = (artifact: ArtifactReader<unknown>): Effect.Effect<ReadonlyArray<NamedFile>, StageError> =>
  Effect.forEach(artifact.files, ({ path: name }) => Effect.map(artifact.path(name), path => ({ name, path })))

export interface ModelToWrite {
  readonly engine: Engine
  readonly parameters: Pick<ParameterBuffers, "specs" | "views">
  /** The content of `config.json`. */
  readonly config: { readonly [field: string]: unknown }
  readonly tokenizer: TokenizerFiles
  readonly format: SaveOptions["format"]
}

export type WriteModel = (
  output: Pick<ArtifactWriter<never>, "write" | "reserve" | "adopt">,
  model: ModelToWrite
) => Effect.Effect<ReadonlyArray<string>, StageError>

/** Writes a model of which only the adapter was trained: the base's files as they are, `config.json`, and the adapter's files. Nothing of the weights is copied. */
export const writeAdapted =
  (base: ReadonlyArray<FileEntry>, adapted: ModelConfig): WriteModel =>
  (output, { config, engine, parameters: { views }, tokenizer }) =>
    Effect.gen(function* () {
      const texts = yield* writeTexts(output, config, tokenizer)
      const kept = base.filter(({ path }) => !texts.includes(path) && !adapterNames.has(path))
      for (const { path, sha256, size } of kept) yield* output.adopt(path, { sha256, size })
      const none = { nameOrPath: null, revision: null }
      const written = yield* writeAdapter(output, { engine, config: adapted, views, base: none })
      return [...kept.map(({ path }) => path), ...texts, ...written]
    })

/** Writes `config.json` and the tokenizer, and returns the files' names. */
const writeTexts = Effect.fnUntraced(function* (
  output: Pick<ArtifactWriter<never>, "write">,
  config: ModelToWrite["config"],
  tokenizer: TokenizerFiles
) {
  const texts: { readonly [name: string]: string | undefined } = {
    [configFile]: jsonText(config),
    [tokenizerFile]: tokenizer.json,
    [tokenizerConfigFile]: tokenizer.config
  }
  const written = Object.keys(texts).filter(name => texts[name] !== undefined)
  for (const name of written) yield* output.write(name, texts[name]!)
  return written
})

/** The content of `config.json` of weights in a dtype, by PyTorch's name. Newer files have `dtype`, which goes before `torch_dtype`. */
export const withDtype = (json: ModelToWrite["config"], dtype: string): ModelToWrite["config"] => {
  const { dtype: _, ...fields } = json
  return { ...fields, torch_dtype: dtype }
}

/** As configurations are written. */
export const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

/** Writes a model's files and returns their names; the metadata, and what else belongs to the artifact, is left to the stage. */
export const writeModel = Effect.fn("writeModel")(function* (
  output: Pick<ArtifactWriter<never>, "write" | "reserve">,
  { config, engine, format, parameters, tokenizer }: ModelToWrite,
  known: ReadonlyArray<Family> = families
) {
  const written = yield* writeTexts(output, withDtype(config, torchNames[format]), tokenizer)
  const stored = known.find(({ name }) => name === config["model_type"])?.names?.stored
  const weights = yield* Effect.mapError(saveWeights(engine, output.reserve, parameters, { format }, stored), error =>
    error instanceof StageError ? error : asStageError(error)
  )
  return [...written, ...weights]
})
