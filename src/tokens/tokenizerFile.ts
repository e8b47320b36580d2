/** The files that define a tokenizer, `tokenizer.json` and `tokenizer_config.json`: read, checked and typed. */
import { Result, Schema } from "effect"
import { describe } from "../pipeline/Problem.ts"
import { Unsupported } from "./textParts.ts"
import { type JsonFault, lineAndColumn, parseJson } from "../formats/jsonText.ts"

/** A tokenizer file that cannot be used. `message` begins with the file and the place in it. */
export class TokenizerError extends Schema.TaggedError<TokenizerError>()("TokenizerError", {
  file: Schema.String,
  message: Schema.String
}) {}

/** A token that is matched in the text before it is split, for example `<|endoftext|>`. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  readonly normalized: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly singleWord: boolean
}

export type Json = Readonly<Record<string, unknown>>

/** A checked `tokenizer.json`: the parsed text, and the parts that we look into. */
export interface TokenizerDefinition {
  readonly json: Json & { readonly model: Json }
  readonly type: "BPE" | "WordPiece" | "Unigram"
  readonly addedTokens: ReadonlyArray<AddedToken>
  /** One more than the greatest id. */
  readonly size: number
}

/** What `tokenizer_config.json` says about special tokens; every field is optional there. */
export interface TokenizerConfig {
  /** All of the file. */
  readonly json: Json
  readonly eosToken?: string
  readonly padToken?: string
  readonly maskToken?: string
}

/** No published vocabulary comes near; a larger id is damage, and would make arrays of its size. */
const greatestId = 2 ** 24

/** Characters of all tokens together, several times what published tokenizers have: trees and patterns are made of them. */
const mostCharacters = { added: 2 ** 18, unigram: 2 ** 23, others: 2 ** 26 }

export const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const fail = (file: string, what: string) => Result.fail(new TokenizerError({ file, message: `${file}: ${what}` }))

const faultIn = (text: string, file: string, { offset, what }: JsonFault) => {
  const { line, column } = lineAndColumn(text, offset)
  return new TokenizerError({ file, message: `${file}:${line}:${column}: ${what}` })
}

const parseObject = (text: string, file: string): Result.Result<Json, TokenizerError> =>
  Result.gen(function* () {
    const value = yield* Result.mapError(parseJson(text.replace(/^\uFEFF/, "")), fault => faultIn(text, file, fault))
    return isObject(value) ? value : yield* fail(file, `must hold an object, got ${describe(value)}`)
  })

export const isId = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) < greatestId

/** Checks a token, which stands at a place of a file. */
export const addedTokenOf = (value: unknown, file: string, at: string): Result.Result<AddedToken, TokenizerError> => {
  if (!isObject(value)) return fail(file, `${at} must be an object, got ${describe(value)}`)
  if (!isId(value["id"])) return fail(file, `${at}.id must be a whole number from 0, got ${describe(value["id"])}`)
  if (typeof value["content"] !== "string" || value["content"] === "") {
    return fail(file, `${at}.content must be a string with at least one character, got ${describe(value["content"])}`)
  }
  const flag = (name: string) => value[name] === true
  return Result.succeed({
    id: value["id"],
    content: value["content"],
    special: flag("special"),
    normalized: typeof value["normalized"] === "boolean" ? value["normalized"] : !flag("special"),
    lstrip: flag("lstrip"),
    rstrip: flag("rstrip"),
    singleWord: flag("single_word")
  })
}

const tooMany = (field: string, characters: number, most: number): string =>
  `${field} has tokens of ${characters} characters together; at most ${most} are supported`

/** The greatest id of `model.vocab`: an object from token to id, or (Unigram) a list of [token, score]. */
const checkVocab = (vocab: unknown, file: string): Result.Result<number, TokenizerError> => {
  if (Array.isArray(vocab)) {
    let characters = 0
    for (const entry of vocab as ReadonlyArray<unknown>) {
      const token: unknown = Array.isArray(entry) ? entry[0] : undefined
      characters += typeof token === "string" ? token.length : 0
    }
    return characters > mostCharacters.unigram
      ? fail(file, tooMany("model.vocab", characters, mostCharacters.unigram))
      : Result.succeed(vocab.length - 1)
  }
  if (!isObject(vocab)) return fail(file, `model.vocab must be an object from token to id, got ${describe(vocab)}`)
  let greatest = -1
  let characters = 0
  for (const token of Object.keys(vocab)) {
    characters += token.length
    const id = vocab[token]
    if (!isId(id)) {
      return fail(file, `model.vocab[${describe(token)}] must be a whole number from 0, got ${describe(id)}`)
    }
    if (id > greatest) greatest = id
  }
  if (greatest === -1) return fail(file, "model.vocab is empty")
  if (characters > mostCharacters.others) return fail(file, tooMany("model.vocab", characters, mostCharacters.others))
  const seen = new Uint8Array(greatest + 1)
  for (const token of Object.keys(vocab)) {
    const id = Number(vocab[token])
    if (seen[id] === 1)
      return fail(file, `model.vocab gives the id ${id} to two tokens, one of them ${describe(token)}`)
    seen[id] = 1
  }
  return Result.succeed(greatest)
}

/** Checks that each merge is of two tokens of the vocabulary, and gives one. */
const checkMerges = (model: Json, vocab: Json, file: string): Result.Result<void, TokenizerError> => {
  const merges = model["merges"]
  if (!Array.isArray(merges)) return fail(file, `model.merges must be a list, got ${describe(merges)}`)
  const pairs = Array.isArray(merges[0])
  const prefix = typeof model["continuing_subword_prefix"] === "string" ? model["continuing_subword_prefix"] : ""
  for (const [i, merge] of merges.entries()) {
    const parts: unknown = pairs ? merge : typeof merge === "string" ? merge.split(" ") : undefined
    const [left, right]: ReadonlyArray<unknown> = Array.isArray(parts) && parts.length === 2 ? parts : []
    if (typeof left !== "string" || typeof right !== "string" || left === "" || right === "") {
      return fail(
        file,
        `model.merges[${i}] must be ${pairs ? "a pair of tokens" : '"token token"'}, got ${describe(merge)}`
      )
    }
    const merged = left + (right.startsWith(prefix) ? right.slice(prefix.length) : right)
    const unknown = [left, right, merged].find(token => !Object.hasOwn(vocab, token))
    if (unknown !== undefined) {
      return fail(file, `model.merges[${i}] needs the token ${describe(unknown)}, which is not in model.vocab`)
    }
  }
  return Result.succeed(undefined)
}

/** Reads the text of a `tokenizer.json`. */
export const parseTokenizerJson = (text: string, file: string): Result.Result<TokenizerDefinition, TokenizerError> =>
  Result.gen(function* () {
    const json = yield* parseObject(text, file)
    const model = json["model"]
    if (!isObject(model)) return yield* fail(file, `model must be an object, got ${describe(model)}`)
    let greatest = yield* checkVocab(model["vocab"], file)
    // Old files do not tell the type; the library would guess, and differently.
    const type = model["type"] ?? (model["merges"] === undefined ? "WordPiece" : "BPE")
    if (type !== "BPE" && type !== "WordPiece" && type !== "Unigram") {
      return yield* fail(file, `model.type must be BPE, WordPiece or Unigram, got ${describe(type)}`)
    }
    if (Array.isArray(model["vocab"]) !== (type === "Unigram")) {
      return yield* fail(file, `model.vocab of a ${type} model must be ${type === "Unigram" ? "a list" : "an object"}`)
    }
    if (type === "BPE" && isObject(model["vocab"])) yield* checkMerges(model, model["vocab"], file)
    for (const part of ["normalizer", "pre_tokenizer", "post_processor", "decoder"]) {
      const value = json[part] ?? null
      if (value !== null && !isObject(value)) {
        return yield* fail(file, `${part} must be an object or null, got ${describe(value)}`)
      }
    }
    const added = json["added_tokens"] ?? []
    if (!Array.isArray(added)) return yield* fail(file, `added_tokens must be a list, got ${describe(added)}`)
    const addedTokens: Array<AddedToken> = []
    let characters = 0
    for (const [i, value] of added.entries()) {
      const token = yield* addedTokenOf(value, file, `added_tokens[${i}]`)
      addedTokens.push(token)
      characters += token.content.length
      if (token.id > greatest) greatest = token.id
    }
    if (characters > mostCharacters.added)
      return yield* fail(file, tooMany("added_tokens", characters, mostCharacters.added))
    return { json: { ...json, model: { ...model, type } }, type, addedTokens, size: greatest + 1 }
  })

/** Reads the text of a `tokenizer_config.json`; a token stands there as a string or as `{content}`. */
export const parseTokenizerConfig = (text: string, file: string): Result.Result<TokenizerConfig, TokenizerError> =>
  Result.gen(function* () {
    const json = yield* parseObject(text, file)
    const token = (name: string): Result.Result<string | undefined, TokenizerError> => {
      const value = json[name] ?? undefined
      const content = isObject(value) ? value["content"] : value
      return content === undefined || typeof content === "string"
        ? Result.succeed(content)
        : fail(file, `${name} must be a string or {content}, got ${describe(value)}`)
    }
    const eosToken = yield* token("eos_token")
    const padToken = yield* token("pad_token")
    const maskToken = yield* token("mask_token")
    return {
      json,
      ...(eosToken === undefined ? {} : { eosToken }),
      ...(padToken === undefined ? {} : { padToken }),
      ...(maskToken === undefined ? {} : { maskToken })
    }
  })

/** Features of models that the library passes over. */
const absent: { readonly [type in TokenizerDefinition["type"]]: ReadonlyArray<string> } = {
  BPE: ["dropout", "continuing_subword_prefix", "end_of_word_suffix"],
  WordPiece: [],
  Unigram: ["byte_fallback"]
}

/** Throws for a model with a feature that is not computed here. */
export const checkModel = (model: Json, type: TokenizerDefinition["type"]): void => {
  for (const name of absent[type]) {
    const value = model[name] ?? false
    if (value !== false && value !== "" && value !== 0)
      throw new Unsupported(`model.${name} is ${describe(value)}, which is not computed here; it must be left out`)
  }
  if (type !== "BPE" || model["byte_fallback"] !== true) return
  for (let byte = 0; byte < 256; byte++) {
    const token = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`
    if (!Object.hasOwn(model["vocab"] as Json, token))
      throw new Unsupported(`model.byte_fallback is true, but model.vocab has no ${token}; it must have all 256`)
  }
}
