/** Models as artifacts: configuration, weights and tokenizer in Hugging Face layout. */
import { Effect } from "effect"
import { asStageError } from "../data/obtain.ts"
import { openTensors, type SaveOptions } from "../data/tensorFiles.ts"
import type { TokenizerFiles } from "../data/tokenizer.ts"
import { hasFile, tokenizerConfigFile, tokenizerFile } from "../data/tokenizerOfArtifact.ts"
import type { Engine } from "../engines/Engine.ts"
import type { ArtifactReader, ArtifactWriter } from "../pipeline/StageContext.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import { decodeModelConfig } from "./config.ts"
import type { ParameterBuffers } from "./parameters.ts"
import { saveWeights } from "./weights.ts"

/** A model's configuration, and its tensors where they lie. */
export const readModel = Effect.fn("readModel")(function* (artifact: ArtifactReader<unknown>) {
  if (!hasFile(artifact, "config.json")) return yield* permanent("the model has no config.json")
  const text = yield* artifact.text("config.json")
  const json = yield* Effect.try({
    try: () => JSON.parse(text) as unknown,
    catch: cause => permanent(`config.json: ${cause instanceof Error ? cause.message : String(cause)}`)
  })
  const config = yield* Effect.mapError(decodeModelConfig(json), asStageError)
  const files = yield* Effect.forEach(artifact.files, ({ path: name }) =>
    Effect.map(artifact.path(name), path => ({ name, path }))
  )
  const tensors = yield* Effect.mapError(openTensors(files), asStageError)
  return { config, tensors }
})

export interface ModelToWrite {
  readonly engine: Engine
  readonly parameters: Pick<ParameterBuffers, "specs" | "views">
  /** The content of `config.json`. */
  readonly config: { readonly [field: string]: unknown }
  readonly tokenizer: TokenizerFiles
  readonly format: SaveOptions["format"]
}

/** Writes a model's files; the metadata, and what else belongs to the artifact, is left to the stage. */
export const writeModel = Effect.fn("writeModel")(function* (
  output: ArtifactWriter<never>,
  { config, engine, format, parameters, tokenizer }: ModelToWrite
) {
  const named = { BF16: "bfloat16", F16: "float16", F32: "float32" } as const
  yield* output.write("config.json", `${JSON.stringify({ ...config, torch_dtype: named[format] }, null, 2)}\n`)
  yield* output.write(tokenizerFile, tokenizer.json)
  if (tokenizer.config !== undefined) yield* output.write(tokenizerConfigFile, tokenizer.config)
  return yield* Effect.mapError(saveWeights(engine, output.reserve, parameters, { format }), error =>
    error instanceof StageError ? error : asStageError(error)
  )
})
