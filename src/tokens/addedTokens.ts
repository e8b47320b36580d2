/** The tokens beside the vocabulary that `tokenizer.json` and `tokenizer_config.json` name, with the ids that the reference implementation gives them. */
import { Result } from "effect"
import { describe } from "../pipeline/Problem.ts"
import { type AddedToken, addedTokenOf, type Json, isId, isObject, TokenizerError } from "./tokenizerFile.ts"

/** What is known of the ids so far. */
export interface Numbered {
  /** Id of a token of the model's vocabulary. */
  readonly inVocabulary: (token: string) => number | undefined
  /** How many tokens that has, and whether one of them has an id: ids may have holes. */
  readonly vocabulary: number
  readonly taken: (id: number) => boolean
  readonly addedTokens: ReadonlyArray<AddedToken>
}

/** A token as a file names it, and where. `id`: that which the file says it has. */
interface Claim {
  readonly at: string
  readonly token: Omit<AddedToken, "id">
  readonly id?: number
}

const fail = (file: string, what: string) => Result.fail(new TokenizerError({ file, message: `${file}: ${what}` }))

/**
 * Adds tokens one after the other. The reference implementation passes over the ids that files say: a token of the vocabulary keeps its id, any other gets the next free one. So a file that says another id
 * would get other ids there, and is refused. A token that is there already takes the new flags.
 */
export const addTokens = (
  known: Numbered,
  claims: ReadonlyArray<Claim>,
  file: string
): Result.Result<ReadonlyArray<AddedToken>, TokenizerError> => {
  const added = new Map(known.addedTokens.map(token => [token.content, token]))
  let next = known.addedTokens.reduce((most, { id }) => Math.max(most, id + 1), known.vocabulary)
  for (const { at, id: said, token } of claims) {
    const there = added.get(token.content)?.id ?? known.inVocabulary(token.content)
    const id = there ?? next
    if (said !== undefined && said !== id) {
      const why =
        there === undefined
          ? "is the next free one"
          : `is that of ${added.has(token.content) ? "added_tokens" : "model.vocab"} in tokenizer.json`
      return fail(
        file,
        `${at} gives ${describe(token.content)} the id ${said}, but its id ${id} ${why}: the files do not belong together`
      )
    }
    if (there === undefined && known.taken(id))
      return fail(
        file,
        `${at}: ${describe(token.content)} would get the id ${id}, which a token of model.vocab has: the vocabulary's ids have holes`
      )
    added.set(token.content, { ...token, id })
    next = Math.max(next, id + 1)
  }
  return Result.succeed([...added.values()])
}

/** In the order in which transformers gives them ids. */
const namedFirst = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]

/** Whoever builds a tokenizer needs these among its tokens. */
const sought: ReadonlySet<string> = new Set(["eos_token", "pad_token"])

const special = (content: string): Omit<AddedToken, "id"> => ({
  content,
  special: true,
  normalized: false,
  lstrip: false,
  rstrip: false,
  singleWord: false
})

/** A token that stands as a string or as `{content, …}`; undefined for anything else. */
const tokenIn = (value: unknown): Omit<AddedToken, "id"> | undefined => {
  if (typeof value === "string") return value === "" ? undefined : special(value)
  if (!isObject(value) || typeof value["content"] !== "string" || value["content"] === "") return undefined
  const { id: _, ...token } = { id: 0, ...special(value["content"]), ...flagsOf(value) }
  return { ...token, special: true }
}
const flagsOf = (value: Json) => ({
  lstrip: value["lstrip"] === true,
  rstrip: value["rstrip"] === true,
  singleWord: value["single_word"] === true,
  normalized: value["normalized"] === true
})

/**
 * The tokens that `tokenizer_config.json` names, as transformers adds them to those of `tokenizer.json`: `added_tokens_decoder` by its ids, then special tokens (`bos_token`, `image_token`, …), then lists of more.
 * Tokens of the last two kinds that are known already stay as they are; an end of text and a padding token that are not are left to whoever looks for them. `numbered`: the tokens of the first kind, and those
 * that were known before.
 */
export const tokensOfConfig = (
  json: Json,
  known: Numbered,
  file: string
): Result.Result<
  { readonly tokens: ReadonlyArray<AddedToken>; readonly numbered: ReadonlySet<string> },
  TokenizerError
> =>
  Result.gen(function* () {
    const decoder = json["added_tokens_decoder"] ?? {}
    if (!isObject(decoder)) return yield* fail(file, `added_tokens_decoder must be an object, got ${describe(decoder)}`)
    const claims: Array<Claim & { readonly id: number }> = []
    for (const [key, value] of Object.entries(decoder)) {
      const at = `added_tokens_decoder[${describe(key)}]`
      if (!isId(Number(key)) || !/^\d+$/.test(key)) return yield* fail(file, `${at}: the key must be a token's id`)
      const { id, ...token } = yield* addedTokenOf(isObject(value) ? { ...value, id: Number(key) } : value, file, at)
      claims.push({ at, token, id })
    }
    claims.sort((a, b) => a.id - b.id)
    const addedTokens = yield* addTokens(known, claims, file)
    const fields = Object.keys(json).filter(name => name.endsWith("_token") && !namedFirst.includes(name))
    const lists = [json["extra_special_tokens"], json["additional_special_tokens"]]
    const list = lists.find(value => (Array.isArray(value) ? value.length > 0 : isObject(value)))
    const values = [
      ...[...namedFirst, ...fields].map(name => [name, json[name]] as const),
      ...Object.entries(isObject(list) || Array.isArray(list) ? list : {}).map(
        ([name, value]) => [`extra_special_tokens[${describe(name)}]`, value] as const
      )
    ]
    const numbered: ReadonlySet<string> = new Set(addedTokens.map(token => token.content))
    const content = new Set(numbered)
    const more = values.flatMap(([at, value]): ReadonlyArray<Claim> => {
      const token = tokenIn(value)
      if (token === undefined || content.has(token.content) || sought.has(at)) return []
      content.add(token.content)
      return [{ at, token }]
    })
    return { tokens: yield* addTokens({ ...known, addedTokens }, more, file), numbered }
  })
