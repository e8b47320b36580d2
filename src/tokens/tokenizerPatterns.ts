/** The regular expressions in a `tokenizer.json`, and those among them that are known to take time in proportion to the text. */

/** What a `ByteLevel` pre-tokenizer with `use_regex` stands for: GPT-2's. */
export const gpt2Pattern = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

const family = (digits: string) =>
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

/** Of GPT-2, of Qwen (2 to 3), and of Llama 3: each alternative goes back over what it took at most once. */
const harmless: ReadonlySet<string> = new Set([gpt2Pattern, family(String.raw`\p{N}`), family(String.raw`\p{N}{1,3}`)])

export const isHarmless = (pattern: string): boolean => harmless.has(pattern)

/** Many times what published tokenizers have: the platform takes time and memory for each when it compiles them, which nothing can stop. */
const longestPattern = 10_000
const mostPatterns = 100

/** What is wrong with the number or the length of patterns. */
export const excess = (patterns: ReadonlyArray<string>): string | undefined => {
  if (patterns.length > mostPatterns) return `it has ${patterns.length} patterns; at most ${mostPatterns} are supported`
  const long = patterns.find(({ length }) => length > longestPattern)
  return long && `it has a pattern of ${long.length} characters; at most ${longestPattern} are supported`
}

/** Every `{"Regex": …}` below a part of the file; with `String`, those that stand for themselves. */
export const patternsIn = (part: unknown, kinds = ["Regex"]): ReadonlyArray<string> => {
  const found: Array<string> = []
  const pending = [part]
  while (pending.length > 0) {
    const value = pending.pop()
    if (typeof value !== "object" || value === null) continue
    for (const [name, below] of Object.entries(value)) {
      if (kinds.includes(name) && typeof below === "string") found.push(below)
      else pending.push(below)
    }
  }
  return found
}
