/** Trains a byte-level BPE vocabulary, by the rules of the usual implementation, so that its trainer finds the same merges. */

/** How GPT-2 cuts text into words; merges never cross a word's end. */
export const wordPattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

/**
 * The printable character that stands for each byte in a vocabulary: itself where it is printable, else one of the
 * characters from U+0100 on, in the order of the bytes.
 */
export const byteCharacters: ReadonlyArray<string> = (() => {
  const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()

export interface Vocabulary {
  /** Tokens in the order of their ids: the 256 byte characters, sorted, then one for each merge. */
  readonly tokens: ReadonlyArray<string>
  readonly merges: ReadonlyArray<readonly [string, string]>
}

interface Word {
  ids: Array<number>
  readonly count: number
}

/** Two ids as one number; ids stay far below 2^20. */
const pairOf = (left: number, right: number): number => left * 2 ** 20 + right

/** Every word of the texts and how often it occurs, in bytes spelled as characters. */
const countWords = (texts: Iterable<string>): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const text of texts) {
    for (const word of text.match(wordPattern) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return counts
}

/**
 * Merges the most frequent pair of neighbours, again and again, until the vocabulary has `size` tokens or no pair is left. Among
 * equally frequent pairs, the one with the lower ids is merged.
 */
export const trainBpe = (texts: Iterable<string>, size: number): Vocabulary => {
  const tokens = [...byteCharacters].sort()
  const idOf = new Map(tokens.map((token, id) => [token, id]))
  const idOfByte = byteCharacters.map(character => idOf.get(character) ?? 0)
  const words = [...countWords(texts)].map(([word, count]): Word => ({
    ids: Array.from(Buffer.from(word, "utf8"), byte => idOfByte[byte] ?? 0),
    count
  }))

  const counts = new Map<number, number>()
  /** The words in which a pair has occurred; some may have lost it since. */
  const wordsOf = new Map<number, Set<Word>>()
  const countPairs = (word: Word, sign: 1 | -1) => {
    for (let i = 0; i + 1 < word.ids.length; i += 1) {
      const pair = pairOf(word.ids[i] ?? 0, word.ids[i + 1] ?? 0)
      counts.set(pair, (counts.get(pair) ?? 0) + sign * word.count)
      if (sign === -1) continue
      const holders = wordsOf.get(pair)
      if (holders === undefined) wordsOf.set(pair, new Set([word]))
      else holders.add(word)
    }
  }
  for (const word of words) countPairs(word, 1)

  const merges: Array<readonly [string, string]> = []
  while (tokens.length < size) {
    let best = -1
    let most = 0
    for (const [pair, count] of counts) {
      if (count > most || (count === most && most > 0 && pair < best)) {
        best = pair
        most = count
      }
    }
    if (most === 0) break
    const left = Math.floor(best / 2 ** 20)
    const right = best % 2 ** 20
    const parts = [tokens[left] ?? "", tokens[right] ?? ""] as const
    const merged = parts.join("")
    // The same token can come about by two different merges.
    const id = idOf.get(merged) ?? tokens.push(merged) - 1
    idOf.set(merged, id)
    merges.push(parts)
    for (const word of wordsOf.get(best) ?? []) {
      countPairs(word, -1)
      word.ids = mergePair(word.ids, left, right, id)
      countPairs(word, 1)
    }
    counts.delete(best)
    wordsOf.delete(best)
  }
  return { tokens, merges }
}

/** Replaces each occurrence of the pair, from the left. */
const mergePair = (ids: ReadonlyArray<number>, left: number, right: number, merged: number): Array<number> => {
  const result: Array<number> = []
  for (let i = 0; i < ids.length; i += 1) {
    if (ids[i] === left && ids[i + 1] === right) {
      result.push(merged)
      i += 1
    } else {
      result.push(ids[i] ?? 0)
    }
  }
  return result
}

/** Tokens that are matched in a text as a whole; they have the ids after the vocabulary, in this order. */
export const specialTokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<M>"] as const

/** The vocabulary as a `tokenizer.json`. */
export const tokenizerJson = ({ merges, tokens }: Vocabulary): string => {
  const definition = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, i) => ({
      id: tokens.length + i,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: "vocab",
      merges: "merges"
    }
  }
  // By hand, one entry a line: an object would move tokens that look like numbers to its front.
  const vocab = tokens.map((token, id) => `${JSON.stringify(token)}: ${id}`)
  const pairs = merges.map(pair => JSON.stringify(pair))
  return `${JSON.stringify(definition, undefined, 1)
    .replace('"vocab": "vocab"', () => `"vocab": {\n${vocab.join(",\n")}\n}`)
    .replace('"merges": "merges"', () => `"merges": [\n${pairs.join(",\n")}\n]`)}\n`
}

/** What other libraries want to know beside the `tokenizer.json`. */
export const tokenizerConfigJson = (): string => {
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_bos_token: false,
    add_prefix_space: false,
    bos_token: null,
    eos_token: "<|endoftext|>",
    pad_token: "<|endoftext|>",
    mask_token: "<M>",
    unk_token: null,
    clean_up_tokenization_spaces: false
  }
  return `${JSON.stringify(config, undefined, 2)}\n`
}
