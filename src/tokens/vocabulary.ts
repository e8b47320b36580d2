/** Which token each id stands for: by this, what was made with one tokenizer is told from what was made with another. */
import { Result } from "effect"
import { type Digest, sha256 } from "../pipeline/Digest.ts"
import { parseTokenizerFiles, type TokenizerFiles, vocabularyOf } from "./definition.ts"
import type { Tokenizer } from "./tokenizer.ts"
import type { TokenizerError } from "./tokenizerFile.ts"

/** Digest of a tokenizer's ids and tokens, without its mask, which some tokenizers have and to others is added. */
export const vocabularyDigest = (
  files: TokenizerFiles,
  { maskId }: Pick<Tokenizer, "maskId">
): Result.Result<Digest, TokenizerError> =>
  Result.map(parseTokenizerFiles(files), ({ definition }) => {
    const tokens = new Map(Array.from(vocabularyOf(definition), ([token, id]) => [id, token] as const))
    for (const { content, id } of definition.addedTokens) tokens.set(id, content)
    tokens.delete(maskId)
    const ids = Int32Array.from(tokens.keys()).sort()
    return sha256(Array.from(ids, id => `${id} ${JSON.stringify(tokens.get(id))}\n`).join(""))
  })
