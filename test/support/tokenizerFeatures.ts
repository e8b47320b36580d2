/** Small tokenizers, each with a feature of `tokenizer.json`, and texts on which implementations of them like to differ. */
import { byteCharacters } from "../../src/tokens/preTokenizers.ts"
import { tokenizerCorpus } from "./tokenizerCorpus.ts"

type Json = { readonly [field: string]: unknown }

/** Letters of the texts below, and pairs of them that are merged. */
const letters = [
  ..."abcdefghijklmnopqrstuvwxyzABCÉéßσςΣİı0123456789½².,!?'-_()<>/|▁ \u00a0\u0085\ufeff\u3000日本한🙂\u0301\n\t"
]
const merges = [
  ["a", "b"],
  ["t", "h"],
  ["th", "e"],
  ["▁", "a"],
  ["▁", "the"],
  [" ", "a"],
  ["1", "2"],
  [".", "."]
] as const

const vocabularyOf = (tokens: ReadonlyArray<string>): { readonly [token: string]: number } =>
  Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]))
const bytesFallback = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`
)

const bpe = (more: Json = {}, tokens: ReadonlyArray<string> = []): Json => ({
  type: "BPE",
  vocab: vocabularyOf(["[U]", ...letters, ...merges.map(([a, b]) => a + b), ...tokens]),
  merges,
  unk_token: "[U]",
  fuse_unk: false,
  ...more
})
const byteBpe: Json = {
  type: "BPE",
  vocab: vocabularyOf([...byteCharacters, "th", "the", "Ġa", "ab"]),
  merges: [
    ["t", "h"],
    ["th", "e"],
    ["Ġ", "a"],
    ["a", "b"]
  ]
}
const wordPiece: Json = {
  type: "WordPiece",
  unk_token: "[U]",
  continuing_subword_prefix: "##",
  max_input_chars_per_word: 20,
  vocab: vocabularyOf(["[U]", ...letters, ...letters.map(letter => `##${letter}`), "the", "##ing", "don"])
}
const unigram = (more: Json = {}): Json => ({
  type: "Unigram",
  unk_id: 0,
  vocab: [["<unk>", 0], ...[...letters, "the", "▁the", "ing", "ab"].map((token, i) => [token, -3 - (i % 7) / 10])],
  ...more
})

/** A token beside the vocabulary; ids go on behind the model's. */
const token = (content: string, more: Json = {}): Json => ({
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...more
})

const made = (parts: Json, tokens: ReadonlyArray<Json> = []): Json => {
  const model = (parts["model"] ?? bpe()) as Json
  const vocab = model["vocab"] as Json | ReadonlyArray<unknown>
  const size = Array.isArray(vocab) ? vocab.length : Object.keys(vocab).length
  let next = size
  const added = [token("</s>"), ...tokens].map(each => ({
    ...each,
    id: (vocab as Json)[each["content"] as string] ?? next++
  }))
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    ...parts,
    model,
    added_tokens: added
  }
}
const normalizer = (type: string, more: Json = {}) => made({ normalizer: { type, ...more } })
const preTokenizer = (type: string, more: Json = {}, model = bpe()) => made({ pre_tokenizer: { type, ...more }, model })
const decoder = (type: string, more: Json = {}, model = bpe()) => made({ decoder: { type, ...more }, model })
const sequence = (...pretokenizers: ReadonlyArray<Json>) => preTokenizer("Sequence", { pretokenizers })

const behaviors = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
const flags = ["single_word", "lstrip", "rstrip", "normalized"] as const

/** Tokens with each combination of flags, which lie in the texts. */
const flagged = Array.from({ length: 16 }, (_, bits): readonly [string, Json] => {
  const set = Object.fromEntries(flags.map((flag, i) => [flag, (bits & (1 << i)) !== 0]))
  const names = flags.filter(flag => set[flag]).join(", ")
  return [
    `added tokens: ${names === "" ? "plain" : names}`,
    made({ normalizer: { type: "Lowercase" } }, [
      token("<X>", set),
      token("the", { ...set, special: false }),
      token("İ.", set)
    ])
  ]
})

/** By what they have. */
export const features: ReadonlyArray<readonly [name: string, json: Json]> = [
  ...flagged,
  [
    "added tokens: the longest, and none within another",
    made({}, [token("ab"), token("abc"), token("bcd"), token("a b")])
  ],
  [
    "added tokens: normalised by a prefix",
    made({ normalizer: { type: "Prepend", prepend: "▁" } }, [token("<X>", { normalized: true })])
  ],
  ["normalizer: Lowercase", normalizer("Lowercase")],
  ["normalizer: StripAccents", normalizer("StripAccents")],
  [
    "normalizer: NFD and StripAccents",
    made({ normalizer: { type: "Sequence", normalizers: [{ type: "NFD" }, { type: "StripAccents" }] } })
  ],
  ...["NFC", "NFD", "NFKC", "NFKD"].map(type => [`normalizer: ${type}`, normalizer(type)] as const),
  ...[
    [true, true],
    [true, false],
    [false, true]
  ].map(
    ([left, right]) =>
      [`normalizer: Strip ${left} ${right}`, normalizer("Strip", { strip_left: left, strip_right: right })] as const
  ),
  ["normalizer: Prepend", normalizer("Prepend", { prepend: "▁" })],
  ["normalizer: Replace by a dollar", normalizer("Replace", { pattern: { String: "a" }, content: "$&$1$$" })],
  ["normalizer: Replace a pattern", normalizer("Replace", { pattern: { Regex: "\\s+" }, content: "▁" })],
  ...behaviors.flatMap(behavior => [
    [
      `pre-tokenizer: Split ${behavior}`,
      preTokenizer("Split", { pattern: { Regex: "[0-9]|\\s" }, behavior, invert: false })
    ] as const,
    [
      `pre-tokenizer: Split ${behavior}, inverted`,
      preTokenizer("Split", { pattern: { Regex: "\\p{L}+" }, behavior, invert: true })
    ] as const,
    [
      `pre-tokenizer: Split ${behavior} by a text`,
      preTokenizer("Split", { pattern: { String: "." }, behavior, invert: false })
    ] as const,
    [`pre-tokenizer: Punctuation ${behavior}`, preTokenizer("Punctuation", { behavior })] as const
  ]),
  [
    "pre-tokenizer: Split by an empty match",
    preTokenizer("Split", { pattern: { Regex: "(?=[A-Z])" }, behavior: "Isolated", invert: false })
  ],
  ["pre-tokenizer: Whitespace", preTokenizer("Whitespace", {}, wordPiece)],
  ["pre-tokenizer: WhitespaceSplit", preTokenizer("WhitespaceSplit", {}, wordPiece)],
  ["pre-tokenizer: BertPreTokenizer", preTokenizer("BertPreTokenizer", {}, wordPiece)],
  ["pre-tokenizer: Digits", preTokenizer("Digits", { individual_digits: false })],
  ["pre-tokenizer: Digits one by one", preTokenizer("Digits", { individual_digits: true })],
  ["pre-tokenizer: CharDelimiterSplit", preTokenizer("CharDelimiterSplit", { delimiter: "a" })],
  ["pre-tokenizer: FixedLength", preTokenizer("FixedLength", { length: 3 })],
  ...[true, false].flatMap(prefix =>
    [true, false].map(
      use =>
        [
          `pre-tokenizer: ByteLevel, prefix ${prefix}, pattern ${use}`,
          made(
            {
              pre_tokenizer: { type: "ByteLevel", add_prefix_space: prefix, trim_offsets: true, use_regex: use },
              decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
              model: byteBpe
            },
            [token("<X>", { lstrip: true })]
          )
        ] as const
    )
  ),
  [
    "pre-tokenizer: digits, then bytes with a prefix",
    made({
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Digits", individual_digits: true },
          { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true }
        ]
      },
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: byteBpe
    })
  ],
  [
    "pre-tokenizer: spaces, then punctuation",
    sequence({ type: "WhitespaceSplit" }, { type: "Punctuation", behavior: "Isolated" })
  ],
  ...["always", "first", "never"].flatMap(scheme =>
    [true, false].map(
      split =>
        [
          `pre-tokenizer: Metaspace ${scheme}, split ${split}`,
          made(
            {
              pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split },
              decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split }
            },
            [token("<X>")]
          )
        ] as const
    )
  ),
  [
    "pre-tokenizer: Metaspace with its older field",
    made({
      pre_tokenizer: { type: "Metaspace", replacement: "▁", add_prefix_space: false, prepend_scheme: "never" },
      decoder: { type: "Metaspace", replacement: "▁", add_prefix_space: false, prepend_scheme: "never" }
    })
  ],
  ["decoder: WordPiece", decoder("WordPiece", { prefix: "##", cleanup: true }, wordPiece)],
  ["decoder: WordPiece as it is", decoder("WordPiece", { prefix: "##", cleanup: false }, wordPiece)],
  ["decoder: BPEDecoder", decoder("BPEDecoder", { suffix: "e" })],
  ["decoder: Strip", decoder("Strip", { content: "a", start: 1, stop: 0 })],
  ["decoder: Replace", decoder("Replace", { pattern: { String: "a" }, content: "$&" })],
  ["decoder: none", made({ decoder: null })],
  [
    "decoder: ByteLevel of tokens that are no bytes",
    decoder("ByteLevel", { add_prefix_space: true, trim_offsets: true, use_regex: true })
  ],
  ...[true, false].map(
    fuse =>
      [
        `model: bytes of unknown characters, unknown ones fused ${fuse}`,
        made({
          model: bpe({ byte_fallback: true, fuse_unk: fuse }, bytesFallback),
          decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] }
        })
      ] as const
  ),
  ["model: unknown ones fused", made({ pre_tokenizer: { type: "Whitespace" }, model: bpe({ fuse_unk: true }) })],
  ["model: no token for unknown ones", made({ model: bpe({ unk_token: null }) })],
  [
    "model: merges passed over",
    made({ pre_tokenizer: { type: "Whitespace" }, model: bpe({ ignore_merges: true }, ["dog", "fox"]) })
  ],
  [
    "model: WordPiece",
    made({ normalizer: { type: "Lowercase" }, pre_tokenizer: { type: "Whitespace" }, model: wordPiece })
  ],
  [
    "model: Unigram",
    made({
      pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
      model: unigram()
    })
  ]
]

/** Files with features that are not computed here, and what a message says of them. */
export const refusedFeatures: ReadonlyArray<readonly [name: string, json: Json, says: RegExp]> = [
  [
    "a normalizer of BERT's",
    normalizer("BertNormalizer", { clean_text: true }),
    /normalizer\.type is "BertNormalizer", which is not computed here; supported are Sequence, NFC/
  ],
  [
    "a compiled normalizer",
    normalizer("Precompiled", { precompiled_charsmap: "" }),
    /normalizer\.type is "Precompiled"/
  ],
  [
    "a pre-tokenizer by scripts",
    sequence({ type: "UnicodeScripts" }),
    /pre_tokenizer\.pretokenizers\[0\]\.type is "UnicodeScripts"/
  ],
  [
    "a behaviour that nobody has",
    preTokenizer("Punctuation", { behavior: "Doubled" }),
    /pre_tokenizer\.behavior is "Doubled"/
  ],
  [
    "two schemes",
    preTokenizer("Metaspace", { add_prefix_space: false, prepend_scheme: "always" }),
    /add_prefix_space is false, and pre_tokenizer\.prepend_scheme is "always"/
  ],
  ["a decoder of speech", decoder("CTC", { pad_token: "a" }), /decoder\.type is "CTC"/],
  ["dropout", made({ model: bpe({ dropout: 0.1 }) }), /model\.dropout is 0\.1/],
  ["a suffix of words", made({ model: bpe({ end_of_word_suffix: "</w>" }) }), /model\.end_of_word_suffix is "<\/w>"/],
  ["a prefix within words", made({ model: bpe({ continuing_subword_prefix: "##" }) }), /continuing_subword_prefix/],
  [
    "bytes that are not all there",
    made({ model: bpe({ byte_fallback: true }, bytesFallback.slice(0, 0xd0)) }),
    /byte_fallback is true, but model\.vocab has no <0xD0>/
  ],
  ["bytes of Unigram", made({ model: unigram({ byte_fallback: true }) }), /model\.byte_fallback is true/]
]

const pieces = [
  "<X>",
  " <X>",
  "<X> ",
  "  <X>\u0085",
  "\ufeff<X>\ufeff",
  "a<X>b",
  "<x>",
  "the",
  " the",
  "Σας ΟΔΟΣ ΟΔΟΣ.",
  "İ.",
  "i\u0307.",
  "\ufeff",
  "\u0085",
  "\u00a0",
  "\u3000",
  "..",
  "don't",
  "½²",
  "12",
  "e\u0301",
  "é",
  "日本",
  "한",
  "🙂",
  "\u0301",
  "\n",
  "\t",
  "_",
  "ab",
  "abcd",
  "a b",
  "</s>",
  "▁",
  "ς",
  "Ω",
  "\u200d",
  "x\u200dy",
  "A",
  "AB",
  "$&"
]

/** All pieces, each before each other, and the awkward texts of the corpus. */
export const texts: ReadonlyArray<string> = [
  ...new Set([...pieces, ...pieces.flatMap(a => pieces.map(b => a + b)), ...tokenizerCorpus().slice(0, 300)])
]
