import { it as effectIt } from "@effect/vitest"
import { Tokenizer as Library } from "@huggingface/tokenizers"
import { Effect, Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { gpt2Pattern } from "../../src/tokens/tokenizerPatterns.ts"
import { loadTokenizer, parseTokenizer } from "../../src/tokens/tokenizer.ts"
import { TokenizerError } from "../../src/tokens/tokenizerFile.ts"
import { filesIn, loadFrom, qwen3Directory, shippedDirectory } from "../support/tokenizers.ts"
import qwen3Vectors from "./fixtures/qwen3Vectors.json" with { type: "json" }

const shipped = loadFrom(shippedDirectory)
const qwen3 = loadFrom(qwen3Directory)

/** Text with letters, white space and symbols of many scripts, special tokens, and halves of surrogate pairs. */
const anyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string({ unit: "grapheme" }),
      fc.constantFrom(
        " ",
        "  ",
        "\n",
        "\r\n",
        "\u0085",
        "\ufeff",
        "'s",
        "'LL",
        "123",
        "<|endoftext|>",
        "<|im_",
        "<M>",
        "\ud800",
        "\udfff"
      ),
      fc.constantFrom(...qwen3Vectors.vectors.map(([text]) => String(text)))
    )
  )
  .map(parts => parts.join(""))

/** The smallest tokenizer: the bytes a and b, one merge, and an end of text. */
const tiny = (change: (definition: Record<string, unknown>) => void = () => undefined): string => {
  const definition = {
    added_tokens: [{ id: 3, content: "</s>", special: true }],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] } as Record<string, unknown>
  }
  change(definition)
  return JSON.stringify(definition)
}

const problem = (json: string, config?: string) => {
  const result = parseTokenizer({ json, config, file: "t/tokenizer.json" })
  if (Result.isSuccess(result)) throw new Error("expected a TokenizerError")
  return result.failure.message
}

describe("Qwen3's tokenizer", () => {
  it("gives the ids of the reference implementation", () => {
    for (const [text, ids] of qwen3Vectors.vectors) {
      expect({ text, ids: Array.from(qwen3.encode(String(text))) }).toEqual({ text, ids })
    }
  })

  it("has the special tokens of its files, and the mask with the first free id", () => {
    expect(qwen3).toMatchObject({
      vocabSize: 151_670,
      eosId: 151_645,
      eosToken: "<|im_end|>",
      padId: 151_643,
      maskId: 151_669,
      maskToken: "<M>",
      maskAdded: true
    })
    const bare = Result.getOrThrow(parseTokenizer({ json: filesIn(qwen3Directory).json }))
    expect(bare).toMatchObject({ eosId: 151_643, padId: 151_643, maskId: 151_669 })
  })

  it("gives back any text, up to Unicode's normal form", () => {
    fc.assert(
      fc.property(anyText, text => {
        expect(qwen3.decode(qwen3.encode(text)).normalize("NFC")).toBe(text.toWellFormed().normalize("NFC"))
      })
    )
  })
})

describe("the shipped tokenizer", () => {
  it("gives back any text", () => {
    fc.assert(
      fc.property(anyText, text => {
        expect(shipped.decode(shipped.encode(text))).toBe(text.toWellFormed())
      }),
      { numRuns: 500 }
    )
  })

  it("has 2,048 ids, the last of which is the mask", () => {
    expect(shipped).toMatchObject({ vocabSize: 2048, eosId: 2044, padId: 2044, maskId: 2047, maskAdded: false })
    expect(shipped.idOf("<|im_start|>")).toBe(2045)
    expect(shipped.idOf("<|im_end|>")).toBe(2046)
    expect(shipped.idOf("<M>")).toBe(2047)
  })
})

describe.each([
  ["shipped", shipped],
  ["Qwen3", qwen3]
])("%s: ids", (_, tokenizer) => {
  it("never include the mask, even for a text that spells it", () => {
    fc.assert(fc.property(anyText, text => void expect(tokenizer.encode(`${text}<M>`)).not.toContain(tokenizer.maskId)))
    expect(tokenizer.decode(tokenizer.encode("a <M> b"))).toBe("a <M> b")
  })

  it("include special tokens that a text spells", () => {
    expect(Array.from(tokenizer.encode("<|endoftext|>"))).toEqual([tokenizer.padId])
    expect(Array.from(tokenizer.encode("a<|endoftext|>b"))).toEqual([
      ...tokenizer.encode("a"),
      tokenizer.padId,
      ...tokenizer.encode("b")
    ])
  })

  it("are those of the library without our memory of words", () => {
    const files = filesIn(tokenizer === shipped ? shippedDirectory : qwen3Directory)
    const definition = JSON.parse(files.json)
    definition.added_tokens = definition.added_tokens.filter((token: { content: string }) => token.content !== "<M>")
    // The library's built-in pattern goes by JavaScript's white space, patterns of a file by Unicode's.
    if (definition.pre_tokenizer.type === "ByteLevel")
      definition.pre_tokenizer = {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: gpt2Pattern }, behavior: "Isolated", invert: false },
          { ...definition.pre_tokenizer, use_regex: false }
        ]
      }
    const library = new Library(definition, {})
    fc.assert(
      fc.property(anyText, text => {
        expect(Array.from(tokenizer.encode(text))).toEqual(
          library.encode(text.toWellFormed(), { add_special_tokens: false }).ids
        )
      })
    )
  })

  it("decode without special tokens on request; the mask and ids of no token never throw", () => {
    const ids = [...tokenizer.encode("a"), tokenizer.maskId, tokenizer.padId, ...tokenizer.encode("b"), 999_999, -1]
    expect(tokenizer.decode(ids)).toBe("a<M><|endoftext|>b")
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("ab")
    expect(tokenizer.decode([])).toBe("")
  })

  it("that are cut inside a character decode to U+FFFD", () => {
    expect(tokenizer.decode(tokenizer.encode("𐍈").subarray(0, 1))).toBe("\ufffd")
  })

  it("of a text of 200,000 letters without a space give it back", () => {
    expect(tokenizer.decode(tokenizer.encode("ab".repeat(100_000)))).toBe("ab".repeat(100_000))
  })
})

describe("a tokenizer file", () => {
  it("may leave out what it does not need", () => {
    const tokenizer = Result.getOrThrow(parseTokenizer({ json: tiny() }))
    expect(Array.from(tokenizer.encode("abba</s>"))).toEqual([2, 1, 0, 3])
    expect(tokenizer).toMatchObject({ vocabSize: 5, eosId: 3, padId: 3, maskId: 4 })
  })

  it("may be of another kind than byte-level BPE", () => {
    const json = JSON.stringify({
      added_tokens: [{ id: 4, content: "</s>", special: true }],
      normalizer: { type: "Lowercase" },
      pre_tokenizer: { type: "Whitespace" },
      post_processor: null,
      decoder: { type: "WordPiece", prefix: "##", cleanup: false },
      model: {
        type: "WordPiece",
        unk_token: "[U]",
        continuing_subword_prefix: "##",
        max_input_chars_per_word: 100,
        vocab: { "[U]": 0, hell: 1, "##o": 2, you: 3 }
      }
    })
    const tokenizer = Result.getOrThrow(parseTokenizer({ json }))
    expect(Array.from(tokenizer.encode("Hello you, x"))).toEqual([1, 2, 3, 0, 0])
    expect(tokenizer.decode([1, 2, 3])).toBe("hello you")
  })

  it("with added tokens that take their surroundings along is read by the library's rules", () => {
    const json = tiny(definition => {
      definition["added_tokens"] = [
        { id: 3, content: "</s>", special: true },
        { id: 4, content: "<x>", special: true, lstrip: true, rstrip: true }
      ]
      definition["model"] = { type: "BPE", vocab: { a: 0, b: 1, Ġ: 2 }, merges: [] }
    })
    const tokenizer = Result.getOrThrow(parseTokenizer({ json }))
    expect(Array.from(tokenizer.encode("a <x> b"))).toEqual([0, 4, 1])
    expect(Array.from(tokenizer.encode("a </s> b"))).toEqual([0, 2, 3, 2, 1])
  })

  it("special tokens come from the configuration, and from options before it", () => {
    const config = JSON.stringify({ eos_token: { content: "ab" }, pad_token: "a", mask_token: "b" })
    expect(Result.getOrThrow(parseTokenizer({ json: tiny(), config }))).toMatchObject({
      eosId: 2,
      padId: 0,
      maskId: 1,
      vocabSize: 4,
      maskAdded: false
    })
    expect(Result.getOrThrow(parseTokenizer({ json: tiny(), config }, { eosToken: "</s>" }))).toMatchObject({
      eosId: 3,
      padId: 0
    })
  })

  it.each<[string, string]>([
    ["{", 't/tokenizer.json:1:2: expected a key in "double quotes", found the end of the text'],
    ["[]", "t/tokenizer.json: must hold an object, got []"],
    ["{}", "t/tokenizer.json: model must be an object, got nothing"],
    [tiny(d => (d["model"] = { vocab: 3 })), "t/tokenizer.json: model.vocab must be an object from token to id, got 3"],
    [tiny(d => (d["model"] = { vocab: {} })), "t/tokenizer.json: model.vocab is empty"],
    [
      tiny(d => (d["model"] = { vocab: { a: -1 } })),
      't/tokenizer.json: model.vocab["a"] must be a whole number from 0, got -1'
    ],
    [
      tiny(d => (d["model"] = { vocab: { a: 1e12 } })),
      't/tokenizer.json: model.vocab["a"] must be a whole number from 0, got 1000000000000'
    ],
    [
      tiny(d => (d["model"] = { vocab: { a: 0, b: 0 } })),
      't/tokenizer.json: model.vocab gives the id 0 to two tokens, one of them "b"'
    ],
    [
      tiny(d => (d["model"] = { type: "BPE", vocab: { a: 0 } })),
      "t/tokenizer.json: model.merges must be a list, got nothing"
    ],
    [
      tiny(d => (d["model"] = { type: "BPE", vocab: { a: 0, aa: 1 }, merges: ["a a", "a"] })),
      't/tokenizer.json: model.merges[1] must be "token token", got "a"'
    ],
    [
      tiny(
        d =>
          (d["model"] = {
            type: "BPE",
            vocab: { a: 0, aa: 1 },
            merges: [
              ["a", "a"],
              ["a", 1]
            ]
          })
      ),
      't/tokenizer.json: model.merges[1] must be a pair of tokens, got ["a",1]'
    ],
    [
      tiny(d => (d["model"] = { type: "BPE", vocab: { a: 0, b: 1 }, merges: [["a", "b"]] })),
      't/tokenizer.json: model.merges[0] needs the token "ab", which is not in model.vocab'
    ],
    [
      tiny(d => (d["added_tokens"] = [{ id: "x" }])),
      't/tokenizer.json: added_tokens[0].id must be a whole number from 0, got "x"'
    ],
    [
      tiny(d => (d["added_tokens"] = [{ id: 0, content: "" }])),
      't/tokenizer.json: added_tokens[0].content must be a string with at least one character, got ""'
    ],
    [
      tiny(d => (d["model"] = { type: "Magic", vocab: { a: 0 } })),
      't/tokenizer.json: model.type must be BPE, WordPiece or Unigram, got "Magic"'
    ],
    [tiny(d => (d["normalizer"] = 1)), "t/tokenizer.json: normalizer must be an object or null, got 1"],
    [
      tiny(d => (d["pre_tokenizer"] = { type: "Sorcery" })),
      't/tokenizer.json: pre_tokenizer.type is "Sorcery", which is not computed here; supported are Sequence, ByteLevel, Split, Whitespace, WhitespaceSplit, BertPreTokenizer, Punctuation, Digits, CharDelimiterSplit, FixedLength, Metaspace'
    ],
    [
      tiny(d => (d["added_tokens"] = [])),
      "t/tokenizer.json: it names no end-of-text token; add tokenizer_config.json with eos_token, or give one"
    ]
  ])("that is wrong is an error with the place: %#", (json, message) => {
    expect(problem(json)).toBe(message)
  })

  it.each<[string, string]>([
    ["", "t/tokenizer_config.json:1:1: expected a value, found the end of the text"],
    ['{"eos_token": 5}', "t/tokenizer_config.json: eos_token must be a string or {content}, got 5"],
    ['{"eos_token": "z"}', 't/tokenizer.json: the end-of-text token "z" is not in the vocabulary'],
    ['{"pad_token": "z"}', 't/tokenizer.json: the padding token "z" is not in the vocabulary'],
    [
      '{"mask_token": "</s>"}',
      't/tokenizer.json: "</s>" cannot be the mask: it is the end-of-text or padding token as well'
    ]
  ])("with a wrong configuration is an error with the place: %s", (config, message) => {
    expect(problem(tiny(), config)).toBe(message)
  })

  it("that is damaged anywhere is used or refused, and never crashes", () => {
    const good = tiny()
    fc.assert(
      fc.property(fc.nat(good.length), fc.nat(6), fc.string({ maxLength: 6, unit: "binary" }), (at, cut, insert) => {
        const result = parseTokenizer({ json: good.slice(0, at) + insert + good.slice(at + cut) })
        if (Result.isFailure(result)) expect(result.failure).toBeInstanceOf(TokenizerError)
        else expect(result.success.encode("a ab</s>")).toBeInstanceOf(Int32Array)
      }),
      { numRuns: 2000 }
    )
  })
})

effectIt.effect("loadTokenizer reads files, and names the one that is not there", () =>
  Effect.gen(function* () {
    const { file } = filesIn(shippedDirectory)
    expect((yield* loadTokenizer({ json: file })).vocabSize).toBe(2048)
    const error = yield* Effect.flip(loadTokenizer({ json: file, config: "/does/not/exist.json" }))
    expect(error.message).toMatch(/^\/does\/not\/exist\.json: could not be read: ENOENT/)
  })
)
