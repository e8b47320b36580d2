/** A model with an adapter as other programs take it: the adapter alone in the layout of PEFT, or dense weights that have taken it in. */
import { createReadStream } from "node:fs"
import { readFile } from "node:fs/promises"
import { Effect } from "effect"
import { tokenizerConfigFile, tokenizerFile } from "../../artifacts/tokenizer.ts"
import type { FileError } from "../../formats/fileError.ts"
import { type NamedFile, saveTensors, type TensorFilesError } from "../../formats/tensorFiles.ts"
import { readText } from "../../formats/textFile.ts"
import { torchNames } from "../../formats/floats.ts"
import type { ArtifactWriter, Content } from "../../pipeline/StageContext.ts"
import { asStageError, permanent, type StageError } from "../../pipeline/StageError.ts"
import { withMask } from "../../tokens/maskedTokenizer.ts"
import { apart, configFile, isWeights, jsonText, type OpenModel, withDtype } from "../artifact.ts"
import { embeddingKey } from "../config.ts"
import { savedFormat } from "../quantised.ts"
import { type AdapterBase, adapterConfigFile } from "./adapterConfig.ts"
import { adapterConfigText, adapterModelFile } from "./adapterFiles.ts"
import { diffusionConfigFile, diffusionConfigOf, encodeDiffusionConfig } from "./diffusionConfig.ts"
import { mergedTensors } from "./merge.ts"

/** Where files are written: by their content, or by code of their own. */
export interface Output {
  readonly write: (path: string, content: Content) => Effect.Effect<unknown, StageError>
  readonly reserve: ArtifactWriter<never>["reserve"]
}

/** Writes the adapter as PEFT loads it, `diffusion_config.json`, and the tokenizer with its mask; returns the files' names. `base`: what PEFT loads the base by, and the digests of its files of weights, where they are known. */
export const writePeft = Effect.fn("writePeft")(function* (
  output: Output,
  files: ReadonlyArray<NamedFile>,
  model: OpenModel,
  { sha256, ...base }: AdapterBase & { readonly sha256?: { readonly [file: string]: string } }
) {
  yield* output.write(adapterConfigFile, yield* adapterConfigText(model.config, base))
  const known = sha256 === undefined ? {} : { base_sha256: sha256 }
  yield* output.write(diffusionConfigFile, encodeDiffusionConfig({ ...diffusionConfigOf(model), ...known }))
  const weights = apart(files).adapter.find(({ name }) => name === adapterModelFile)!
  yield* output.write(adapterModelFile, createReadStream(weights.path))
  return [adapterConfigFile, diffusionConfigFile, adapterModelFile, ...(yield* writeTokenizer(output, files, model))]
}, Effect.mapError(asStageError))

/** Writes dense weights, with the adapter taken in where there is one, under the base's own names, and all else that belongs to the model; returns the files' names. */
export const writeMerged = Effect.fn("writeMerged")(function* (
  output: Output,
  files: ReadonlyArray<NamedFile>,
  model: OpenModel
) {
  const { config, json, tensors } = model
  if (config.linear === undefined)
    return yield* permanent("the model has neither an adapter nor weights in NF4: there is nothing to merge")
  const own: ReadonlySet<string> = new Set([configFile, tokenizerFile, tokenizerConfigFile])
  const others = apart(files).base.filter(({ name }) => !own.has(name) && !isWeights(name))
  for (const { name, path } of others) yield* output.write(name, yield* Effect.promise(() => readFile(path)))
  const { quantization_config: _, ...fields } = json
  const dtype = torchNames[savedFormat(tensors.get(embeddingKey)!)]
  yield* output.write(configFile, jsonText(withDtype(fields, dtype)))
  const written = yield* saveTensors<FileError | TensorFilesError | StageError>(output.reserve, mergedTensors(model), {
    format: "F32"
  })
  return [...others.map(({ name }) => name), configFile, ...(yield* writeTokenizer(output, files, model)), ...written]
}, Effect.mapError(asStageError))

const writeTokenizer = Effect.fnUntraced(function* (
  output: Output,
  files: ReadonlyArray<NamedFile>,
  { tokenizer }: OpenModel
) {
  const read = (name: string) => {
    const file = files.find(each => each.name === name)
    return file === undefined ? Effect.succeed(undefined) : readText(file.path, name)
  }
  const { config, json } = withMask(
    { json: (yield* read(tokenizerFile))!, config: yield* read(tokenizerConfigFile) },
    tokenizer
  )
  yield* output.write(tokenizerFile, json)
  if (config === undefined) return [tokenizerFile]
  yield* output.write(tokenizerConfigFile, config)
  return [tokenizerFile, tokenizerConfigFile]
})
