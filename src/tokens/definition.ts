/** What the files of a tokenizer say together. */
import { Result } from "effect"
import { addTokens, type Numbered, tokensOfConfig } from "./addedTokens.ts"
import {
  parseTokenizerConfig,
  parseTokenizerJson,
  type TokenizerConfig,
  type TokenizerDefinition,
  type TokenizerError
} from "./tokenizerFile.ts"

/** The contents of a tokenizer's files; `file` is how messages call the first one. */
export interface TokenizerFiles {
  readonly json: string
  readonly config?: string | undefined
  readonly file?: string | undefined
}

export interface TokenizerParts {
  readonly file: string
  /** Its added tokens are those of both files. */
  readonly definition: TokenizerDefinition
  readonly config: TokenizerConfig
  /** Whether a token has an id by `tokenizer.json`, or by the ids in `tokenizer_config.json`; others are numbered on. */
  readonly numbered: (token: string) => boolean
}

/** The id of each token of the model's vocabulary. */
export const vocabularyOf = ({ json: { model } }: TokenizerDefinition): ReadonlyMap<string, number> => {
  // An object from token to id, or a list of [token, score].
  const vocab = model["vocab"] as { readonly [token: string]: number } | ReadonlyArray<readonly [string, number]>
  return new Map(
    Array.isArray(vocab)
      ? (vocab as ReadonlyArray<readonly [string, number]>).map(([token], id) => [token, id] as const)
      : Object.entries(vocab as { readonly [token: string]: number })
  )
}

/** Parses a tokenizer's files, and finds the ids of all added tokens. Fails where two places give a token different ids. */
export const parseTokenizerFiles = (files: TokenizerFiles): Result.Result<TokenizerParts, TokenizerError> =>
  Result.gen(function* () {
    const file = files.file ?? "tokenizer.json"
    const configFile = file.replace(/tokenizer\.json$|$/, "tokenizer_config.json")
    const definition = yield* parseTokenizerJson(files.json, file)
    const config = files.config === undefined ? { json: {} } : yield* parseTokenizerConfig(files.config, configFile)
    const vocabulary = vocabularyOf(definition)
    const taken = new Set(vocabulary.values())
    const known: Numbered = {
      inVocabulary: token => vocabulary.get(token),
      vocabulary: vocabulary.size,
      taken: id => taken.has(id),
      addedTokens: []
    }
    const own = yield* addTokens(
      known,
      definition.addedTokens.map(({ id, ...token }, i) => ({ at: `added_tokens[${i}]`, token, id })),
      file
    )
    const { numbered, tokens } = yield* tokensOfConfig(config.json, { ...known, addedTokens: own }, configFile)
    const size = tokens.reduce((most, { id }) => Math.max(most, id + 1), definition.size)
    return {
      file,
      config,
      definition: { ...definition, addedTokens: tokens, size },
      numbered: token => numbered.has(token) || vocabulary.has(token)
    }
  })
