/** The tokenizer in an artifact of its own, or beside a model. */
import { Effect } from "effect"
import type { ArtifactReader } from "../pipeline/StageContext.ts"
import { asStageError, type StageError } from "../pipeline/StageError.ts"
import { parseTokenizer, type TokenizerFiles } from "../tokens/tokenizer.ts"

export const tokenizerFile = "tokenizer.json"
export const tokenizerConfigFile = "tokenizer_config.json"

const hasFile = (artifact: ArtifactReader<unknown>, file: string): boolean =>
  artifact.files.some(({ path }) => path === file)

/** The contents of a tokenizer's files, as they are. */
export const tokenizerFiles = (artifact: ArtifactReader<unknown>): Effect.Effect<TokenizerFiles, StageError> =>
  Effect.gen(function* () {
    const config = hasFile(artifact, tokenizerConfigFile) ? yield* artifact.text(tokenizerConfigFile) : undefined
    return { json: yield* artifact.text(tokenizerFile), config }
  })

export const readTokenizer = Effect.fn("readTokenizer")(function* (artifact: ArtifactReader<unknown>) {
  return yield* Effect.mapError(Effect.fromResult(parseTokenizer(yield* tokenizerFiles(artifact))), asStageError)
})
