/**
 * Tokenizers in the Hugging Face format: text to ids and back, with the ids that diffusion needs to know.
 *
 * The ids are those of the reference implementation in Rust (`test/interop/tokenizer.interop.ts`), but for three things. A text
 * that spells the mask is read as text. Characters are classified by the Unicode version of the running Node, which is newer: letters that came
 * with Unicode 17 count as letters. And normalisation follows that version, too: combining marks that came with Unicode 10 or later
 * are put into canonical order, where the reference leaves them as they are.
 */
import { Tokenizer as Library } from "@huggingface/tokenizers"
import { Effect, Result } from "effect"
import { decoderOf } from "./decoders.ts"
import { type LibraryModel, makeEncoder } from "./encoder.ts"
import { type Normalize, normalizerOf } from "./normalizers.ts"
import { preTokenizerOf } from "./preTokenizers.ts"
import { Unsupported } from "./textParts.ts"
import { parseTokenizerFiles, type TokenizerFiles, type TokenizerParts, vocabularyOf } from "./definition.ts"
import { printable } from "../formats/printable.ts"
import { readText } from "../formats/textFile.ts"
import { makeAllowance, TooLong } from "./timeBound.ts"
import { excess, isHarmless, patternsIn } from "./tokenizerPatterns.ts"
import { type AddedToken, checkModel, type TokenizerDefinition, TokenizerError } from "./tokenizerFile.ts"

export type { TokenizerFiles } from "./definition.ts"
export { TokenizerError } from "./tokenizerFile.ts"

/** The mask token that is added to a tokenizer which has none. */
export const maskToken = "<M>"

export interface Tokenizer {
  /**
   * The ids of a text; no special tokens are put around it. Special tokens that are written out in the text become their ids,
   * as in the reference implementation, except the mask: a clean text never holds the mask's id, whatever it says.
   * Half surrogate pairs count as U+FFFD.
   */
  readonly encode: (text: string) => Int32Array
  /**
   * The text of some ids. Bytes that are no UTF-8 become U+FFFD, and ids outside the vocabulary (the padding rows of an embedding)
   * become nothing.
   */
  readonly decode: (ids: Iterable<number>, options?: { readonly skipSpecialTokens?: boolean }) => string
  /** One more than the greatest id, the mask's included. A model's embedding may have more rows, never fewer. */
  readonly vocabSize: number
  readonly eosId: number
  readonly eosToken: string
  /** The ids that end a text, `eosId` among them; the files of a model may name more than those of its tokenizer. */
  readonly ends: ReadonlySet<number>
  readonly padId: number
  readonly maskId: number
  readonly maskToken: string
  /** Whether the mask was added here, with the first free id, because the files name none. */
  readonly maskAdded: boolean
  /** The id of a token, spelled as in the vocabulary. */
  readonly idOf: (token: string) => number | undefined
}

/** Overrides what the files say about special tokens. */
export interface TokenizerOptions {
  readonly eosToken?: string | undefined
  readonly padToken?: string | undefined
  readonly maskToken?: string | undefined
  /** Milliseconds that patterns other than those of the known families may take, beside what they take in proportion to the text. */
  readonly patience?: number | undefined
}

/** Ends of text of the common families, for files that come without a `tokenizer_config.json`. */
const usualEos = ["<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "</s>", "<eos>", "<|eos|>"]
const usualPads = ["<|endoftext|>", "<pad>", "[PAD]", "<|pad|>"]

/** Builds a tokenizer from its files' contents, without any I/O. */
export const parseTokenizer = (
  files: TokenizerFiles,
  options: TokenizerOptions = {}
): Result.Result<Tokenizer, TokenizerError> =>
  Result.gen(function* () {
    const parts = yield* parseTokenizerFiles(files)
    return yield* build(parts, options)
  })

/** Reads `tokenizer.json` and, where there is one, `tokenizer_config.json`. */
export const loadTokenizer = Effect.fn("loadTokenizer")(function* (
  paths: { readonly json: string; readonly config?: string | undefined },
  options: TokenizerOptions = {}
) {
  const read = (path: string) =>
    Effect.mapError(
      readText(path, path),
      ({ message }) =>
        new TokenizerError({
          file: path,
          message: `${path}: could not be read: ${message.replace(`could not read ${path}: `, "")}`
        })
    )
  const json = yield* read(paths.json)
  const config = paths.config === undefined ? undefined : yield* read(paths.config)
  return yield* Effect.fromResult(parseTokenizer({ json, config, file: paths.json }, options))
})

/** Characters that a token stands for, where time is bounded by them. */
const longToken = 16

type Bounded = <A>(characters: number, compute: () => A) => A

const unbounded: Bounded = (_, compute) => compute()

/** Where the file brings patterns of its own, which may backtrack for ever. */
const boundedBy =
  (allowance: Bounded, file: string): Bounded =>
  (characters, compute) => {
    try {
      return allowance(characters, compute)
    } catch (cause) {
      if (!(cause instanceof TooLong)) throw cause
      throw new Error(
        `${file}: its patterns take too long on a text of ${characters} characters; one of them backtracks too much (catastrophically), such as (a+)+`,
        { cause }
      )
    }
  }

/** What a file says of how texts are read and written. Throws for what is not computed here, and what the library throws. */
const partsOf = ({ json, type }: TokenizerDefinition) => {
  checkModel(json.model, type)
  const { decoder, normalizer, pre_tokenizer: preTokenizer } = json as { readonly [part: string]: unknown }
  // Of the library the models are taken; what stands around them is ours.
  const source = {
    model: json.model,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null
  }
  const { model } = new Library(source, { clean_up_tokenization_spaces: false }) as { readonly model: LibraryModel }
  return {
    model,
    leavesOut: type === "BPE" && (json.model["unk_token"] ?? null) === null && json.model["byte_fallback"] !== true,
    normalize: normalizerOf(normalizer),
    preTokenizer: preTokenizerOf(preTokenizer),
    decode: decoderOf(decoder),
    patterns: patternsIn([normalizer, preTokenizer, decoder])
  }
}

/** Every token by its id, added ones in place of those of the vocabulary. */
const tokensById = (
  definition: TokenizerDefinition,
  mask: Pick<AddedToken, "content" | "id">,
  normalize: Normalize = text => text
): ReadonlyMap<number, Pick<AddedToken, "content" | "special">> => {
  const tokens = new Map<number, Pick<AddedToken, "content" | "special">>()
  for (const [content, id] of vocabularyOf(definition)) tokens.set(id, { content, special: false })
  // The reference implementation keeps tokens that are matched in normalised text as they are spelled there.
  for (const token of definition.addedTokens)
    tokens.set(token.id, token.normalized ? { ...token, content: normalize(token.content) } : token)
  return tokens.set(mask.id, { ...mask, special: true })
}

const build = (
  { config, definition, file, numbered }: TokenizerParts,
  options: TokenizerOptions
): Result.Result<Tokenizer, TokenizerError> =>
  Result.gen(function* () {
    const fail = (what: string) => Result.fail(new TokenizerError({ file, message: `${file}: ${what}` }))
    const addedIds = new Map(definition.addedTokens.map(token => [token.content, token.id]))

    const mask = options.maskToken ?? config.maskToken ?? maskToken
    // A clean text never holds the mask, whatever it spells.
    const addedTokens = definition.addedTokens.filter(token => token.content !== mask)
    const { json } = definition
    const tooMuch = excess(
      patternsIn([json["normalizer"], json["pre_tokenizer"], json["decoder"]], ["Regex", "String"])
    )
    if (tooMuch !== undefined) return yield* fail(tooMuch)
    const { decode, model, patterns, ...reading } = yield* Result.mapError(
      Result.try(() => partsOf(definition)),
      cause =>
        new TokenizerError({
          file,
          message:
            cause instanceof Unsupported
              ? `${file}: ${printable(cause.message)}`
              : `${file}: not a tokenizer that can be used: ${printable(cause instanceof Error ? cause.message : String(cause))}`
        })
    )

    const idOf = (token: string): number | undefined => addedIds.get(token) ?? model.tokens_to_ids.get(token)
    const named = (name: string, token: string) => {
      const id = idOf(token)
      return id === undefined
        ? fail(`the ${name} token ${JSON.stringify(token)} is not in the vocabulary`)
        : Result.succeed(id)
    }

    const eosToken =
      options.eosToken ??
      config.eosToken ??
      usualEos.find(token => addedIds.has(token)) ??
      usualEos.find(token => idOf(token) !== undefined)
    if (eosToken === undefined) {
      return yield* fail("it names no end-of-text token; add tokenizer_config.json with eos_token, or give one")
    }
    const eosId = yield* named("end-of-text", eosToken)
    const padToken = options.padToken ?? config.padToken ?? usualPads.find(token => addedIds.has(token)) ?? eosToken
    const padId = yield* named("padding", padToken)
    const maskId = idOf(mask) ?? definition.size
    if (maskId === eosId || maskId === padId) {
      return yield* fail(`${JSON.stringify(mask)} cannot be the mask: it is the end-of-text or padding token as well`)
    }

    const encode = makeEncoder({ ...reading, model, addedTokens })
    const bounded = patterns.every(isHarmless) ? unbounded : boundedBy(makeAllowance(options.patience), file)
    const tokens = tokensById(definition, { content: mask, id: maskId }, reading.normalize)
    return {
      encode: text => bounded(text.length, () => encode(text.toWellFormed())),
      decode: (ids, { skipSpecialTokens = false } = {}) => {
        const shown: Array<string> = []
        for (const id of ids) {
          const token = tokens.get(id)
          if (token !== undefined && !(skipSpecialTokens && token.special)) shown.push(token.content)
        }
        return bounded(shown.length * longToken, () => decode(shown))
      },
      vocabSize: Math.max(definition.size, maskId + 1),
      eosId,
      eosToken,
      ends: new Set([eosId]),
      padId,
      maskId,
      maskToken: mask,
      maskAdded: !numbered(mask),
      idOf: token => (token === mask ? maskId : idOf(token))
    }
  })
