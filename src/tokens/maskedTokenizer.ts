/** Tokenizer files as they are handed on: with the mask among their tokens, so that other programs know it. */
import { Result } from "effect"
import { parseTokenizerFiles } from "./definition.ts"
import type { Tokenizer, TokenizerFiles } from "./tokenizer.ts"
import type { AddedToken } from "./tokenizerFile.ts"

type Json = { readonly [field: string]: unknown }

const parsed = (text: string): Json => JSON.parse(text.replace(/^\uFEFF/, "")) as Json

const stored = ({ singleWord, ...token }: AddedToken) => ({ ...token, single_word: singleWord })

/**
 * The files of a tokenizer, with the mask where they had none: an added token that is special, under the id that it has here. Tokens that `tokenizer_config.json` alone names come along, since the
 * reference implementation numbers tokens in their order. Files that have a mask are returned as they are.
 */
export const withMask = (
  files: TokenizerFiles,
  { maskAdded, maskId, maskToken }: Pick<Tokenizer, "maskAdded" | "maskId" | "maskToken">
): TokenizerFiles => {
  if (!maskAdded) return files
  const mask: AddedToken = {
    id: maskId,
    content: maskToken,
    lstrip: false,
    normalized: false,
    rstrip: false,
    singleWord: false,
    special: true
  }
  const json = parsed(files.json)
  const added = (json["added_tokens"] as ReadonlyArray<Json> | undefined) ?? []
  const there = new Set(added.map(({ content }) => content))
  // Files that have become a tokenizer can be parsed.
  const { definition } = Result.getOrThrow(parseTokenizerFiles(files))
  const more = [...definition.addedTokens.filter(({ content }) => content !== maskToken && !there.has(content)), mask]
    .sort((a, b) => a.id - b.id)
    .map(stored)
  const config = files.config === undefined ? {} : parsed(files.config)
  const decoder = config["added_tokens_decoder"] as Json | undefined
  const { content: _, id: __, ...flags } = stored(mask)
  return {
    json: text({ ...json, added_tokens: [...added, ...more] }),
    config: text({
      ...config,
      ...(decoder === undefined
        ? {}
        : { added_tokens_decoder: { ...decoder, [String(maskId)]: { content: maskToken, ...flags } } }),
      mask_token: maskToken
    })
  }
}

const text = (value: Json): string => `${JSON.stringify(value, null, 2)}\n`
