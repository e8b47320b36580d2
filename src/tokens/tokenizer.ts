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
import { byteLevelEncoder, type Encode, type LibraryTokenizer, spellOutByteLevel } from "./byteLevel.ts"
import { printable } from "../formats/printable.ts"
import { readText } from "../formats/textFile.ts"
import { makeAllowance, TooLong } from "./timeBound.ts"
import { excess, isHarmless, patternsIn } from "./tokenizerPatterns.ts"
import {
  parseTokenizerConfig,
  parseTokenizerJson,
  type TokenizerConfig,
  type TokenizerDefinition,
  TokenizerError
} from "./tokenizerFile.ts"

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

/** The contents of a tokenizer's files; `file` is how messages call the first one. */
export interface TokenizerFiles {
  readonly json: string
  readonly config?: string | undefined
  readonly file?: string | undefined
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
    const file = files.file ?? "tokenizer.json"
    const definition = yield* parseTokenizerJson(files.json, file)
    const config =
      files.config === undefined
        ? {}
        : yield* parseTokenizerConfig(files.config, file.replace(/tokenizer\.json$|$/, "tokenizer_config.json"))
    return yield* build(definition, config, options, file)
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

const build = (
  definition: TokenizerDefinition,
  config: TokenizerConfig,
  options: TokenizerOptions,
  file: string
): Result.Result<Tokenizer, TokenizerError> =>
  Result.gen(function* () {
    const fail = (what: string) => Result.fail(new TokenizerError({ file, message: `${file}: ${what}` }))
    const addedIds = new Map(definition.addedTokens.map(token => [token.content, token.id]))

    const mask = options.maskToken ?? config.maskToken ?? maskToken
    // Without the mask among the added tokens the library cannot find it in a text.
    const addedTokens = definition.addedTokens.filter(token => token.content !== mask)
    const source = {
      truncation: null,
      padding: null,
      normalizer: null,
      post_processor: null,
      decoder: null,
      ...definition.json,
      added_tokens: addedTokens.map(token => ({ ...token, single_word: token.singleWord })),
      pre_tokenizer: spellOutByteLevel(definition.json["pre_tokenizer"] ?? null)
    }
    const parts = [source.normalizer, source.pre_tokenizer, source.decoder]
    const tooMuch = excess(patternsIn(parts, ["Regex", "String"]))
    if (tooMuch !== undefined) return yield* fail(tooMuch)
    const library = yield* Result.mapError(
      Result.try((): LibraryTokenizer => {
        return new Library(source, { clean_up_tokenization_spaces: false })
      }),
      cause =>
        new TokenizerError({
          file,
          message: `${file}: not a tokenizer that can be used: ${printable(cause instanceof Error ? cause.message : String(cause))}`
        })
    )
    const { model } = library

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

    const generic: Encode = text =>
      Int32Array.from(library.encode(text, { add_special_tokens: false }).ids, id => {
        if (id === undefined) throw new Error(`${file}: a word is not in the vocabulary, which has no token for that`)
        return id
      })
    const encode =
      (definition.type === "BPE" ? byteLevelEncoder(library, source.pre_tokenizer, addedTokens) : undefined) ?? generic

    const bounded = patternsIn(parts).every(isHarmless) ? unbounded : boundedBy(makeAllowance(options.patience), file)
    const known = (id: number) => model.vocab[id] !== undefined
    return {
      encode: text => bounded(text.length, () => encode(text.toWellFormed())),
      decode: (ids, { skipSpecialTokens = false } = {}) => {
        let text = ""
        let run: Array<number> = []
        const flush = () => {
          const held = run
          if (held.length > 0)
            text += bounded(held.length * longToken, () =>
              library.decode(held, { skip_special_tokens: skipSpecialTokens })
            )
          run = []
        }
        for (const id of ids) {
          if (id === maskId) {
            flush()
            if (!skipSpecialTokens) text += mask
          } else if (known(id)) {
            run.push(id)
          }
        }
        flush()
        return text
      },
      vocabSize: Math.max(definition.size, maskId + 1),
      eosId,
      eosToken,
      padId,
      maskId,
      maskToken: mask,
      maskAdded: idOf(mask) === undefined,
      idOf: token => (token === mask ? maskId : idOf(token))
    }
  })
