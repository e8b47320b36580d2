/** Which token each id stands for: by this, what was made with one tokenizer is told from what was made with another. */
import { Result } from "effect"
import { type Digest, sha256 } from "../pipeline/Digest.ts"
import type { Tokenizer, TokenizerFiles } from "./tokenizer.ts"
import { parseTokenizerJson, type TokenizerError } from "./tokenizerFile.ts"

/** Digest of a tokenizer's ids and tokens, without its mask, which some tokenizers have and to others is added. */
export const vocabularyDigest = (
  { file = "tokenizer.json", json }: TokenizerFiles,
  { maskId }: Pick<Tokenizer, "maskId">
): Result.Result<Digest, TokenizerError> =>
  Result.map(parseTokenizerJson(json, file), ({ addedTokens, json: { model } }) => {
    // An object from token to id, or a list of [token, score].
    const vocab = model["vocab"] as { readonly [token: string]: number } | ReadonlyArray<readonly [string, number]>
    const tokens = new Map<number, string>(
      Array.isArray(vocab)
        ? (vocab as ReadonlyArray<readonly [string, number]>).map(([token], id) => [id, token])
        : Object.entries(vocab as { readonly [token: string]: number }).map(([token, id]) => [id, token])
    )
    for (const { content, id } of addedTokens) tokens.set(id, content)
    tokens.delete(maskId)
    const ids = Int32Array.from(tokens.keys()).sort()
    return sha256(Array.from(ids, id => `${id} ${JSON.stringify(tokens.get(id))}\n`).join(""))
  })
