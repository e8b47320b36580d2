/** Models as artifacts: configuration, weights and tokenizer in Hugging Face layout. */
import { Effect } from "effect"
import { quantisedTensors } from "../formats/bitsandbytes.ts"
import { type NamedFile, openTensors, type SaveOptions } from "../formats/tensorFiles.ts"
import { torchNames } from "../formats/floats.ts"
import { readText } from "../formats/textFile.ts"
import { parseTokenizer, type TokenizerFiles } from "../tokens/tokenizer.ts"
import { tokenizerConfigFile, tokenizerFile } from "../artifacts/tokenizer.ts"
import type { Buffers, Engine } from "../engines/Engine.ts"
import type { ArtifactReader, ArtifactWriter } from "../pipeline/StageContext.ts"
import { ownField } from "../pipeline/ownField.ts"
import { describe } from "../pipeline/Problem.ts"
import { asStageError, permanent, StageError } from "../pipeline/StageError.ts"
import { parameterAliases, parameterSpecs } from "./config.ts"
import { decodeModelConfig, families, ourTensors } from "./families.ts"
import type { Family } from "./families/family.ts"
import { allocateParameters, type ParameterBuffers, type ParameterSpec } from "./parameters.ts"
import { loadWeights, matchWeights, saveWeights } from "./weights.ts"

/** What the files of a model hold: configuration, tokenizer, and the tensors where they lie. */
export const openModel = Effect.fn("openModel")(
  function* (files: ReadonlyArray<NamedFile>, known: ReadonlyArray<Family> = families) {
    const read = (name: string) => {
      const file = files.find(each => each.name === name)
      return file === undefined ? Effect.succeed(undefined) : readText(file.path, name)
    }
    const needed = (name: string) =>
      Effect.flatMap(read(name), text =>
        text === undefined ? Effect.fail(permanent(`the model has no ${name}`)) : Effect.succeed(text)
      )
    const text = yield* needed("config.json")
    const json = yield* Effect.try({
      try: () => JSON.parse(text) as { readonly [field: string]: unknown },
      catch: cause => permanent(`config.json: ${cause instanceof Error ? cause.message : String(cause)}`)
    })
    const config = yield* decodeModelConfig(json, known)
    const tokenizer = yield* Effect.fromResult(
      parseTokenizer({ json: yield* needed(tokenizerFile), config: yield* read(tokenizerConfigFile) })
    )
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
    return {
      config,
      json,
      tokenizer,
      tensors,
      /** Whether the configuration is that of a diffusion model: it says which way its tokens are predicted. */
      diffusion: tokenShift !== undefined,
      /** Whether a token is predicted from the state before it, as autoregressive models do and those that come from them. */
      tokenShift: tokenShift ?? true
    }
  },
  Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
)
export type OpenModel = Effect.Success<ReturnType<typeof openModel>>

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

/** Writes a model's files and returns their names; the metadata, and what else belongs to the artifact, is left to the stage. */
export const writeModel = Effect.fn("writeModel")(function* (
  output: Pick<ArtifactWriter<never>, "write" | "reserve">,
  { config, engine, format, parameters, tokenizer }: ModelToWrite,
  known: ReadonlyArray<Family> = families
) {
  const texts: { readonly [name: string]: string | undefined } = {
    "config.json": `${JSON.stringify({ ...config, torch_dtype: torchNames[format] }, null, 2)}\n`,
    [tokenizerFile]: tokenizer.json,
    [tokenizerConfigFile]: tokenizer.config
  }
  const written: Array<string> = []
  for (const [name, text] of Object.entries(texts)) {
    if (text === undefined) continue
    yield* output.write(name, text)
    written.push(name)
  }
  const stored = known.find(({ name }) => name === config["model_type"])?.names?.stored
  const weights = yield* Effect.mapError(saveWeights(engine, output.reserve, parameters, { format }, stored), error =>
    error instanceof StageError ? error : asStageError(error)
  )
  return [...written, ...weights]
})
