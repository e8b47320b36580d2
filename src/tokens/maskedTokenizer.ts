/** Tokenizer files as they are handed on: with the mask among their tokens, so that other programs know it. */
import type { Tokenizer, TokenizerFiles } from "./tokenizer.ts"

type Json = { readonly [field: string]: unknown }

const parsed = (text: string): Json => JSON.parse(text.replace(/^\uFEFF/, "")) as Json

/** The files of a tokenizer, with the mask where they had none: an added token that is special, under the id that it has here. Files that have one are returned as they are. */
export const withMask = (
  files: TokenizerFiles,
  { maskAdded, maskId, maskToken }: Pick<Tokenizer, "maskAdded" | "maskId" | "maskToken">
): TokenizerFiles => {
  if (!maskAdded) return files
  const flags = { lstrip: false, normalized: false, rstrip: false, single_word: false, special: true }
  const json = parsed(files.json)
  const added = (json["added_tokens"] as ReadonlyArray<Json> | undefined) ?? []
  const config = files.config === undefined ? {} : parsed(files.config)
  const decoder = config["added_tokens_decoder"] as Json | undefined
  return {
    json: text({ ...json, added_tokens: [...added, { id: maskId, content: maskToken, ...flags }] }),
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
