/** Texts on which tokenizers like to differ: scripts, emoji, white space, code, numbers, long words, random characters. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { below, seeded } from "./random.ts"

const scripts = [
  "The quick brown fox jumps over the lazy dog. It's 3 o'clock; they'll've DON'T WE'RE I'm he'd",
  "Zażółć gęślą jaźń, Příliš žluťoučký kůň, Ævar, Straße, İstanbul, ŉ, ǅ, ﬁn, ſmall, 'ſ",
  "Съешь же ещё этих мягких французских булок, да выпей чаю. Ђурђевак. ѝ и̂",
  "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ᾧ ἄνθρωπος",
  "الحمد لله رب العالمين، ﷽ مَرْحَبًا ١٢٣٤",
  "עברית עם נִקּוּד ושלום 42",
  "हिन्दी में क्षत्रिय, मराठी ऱ्य, বাংলা য়, ਪੰਜਾਬੀ, ગુજરાતી, ଓଡ଼ିଆ",
  "தமிழ் క్ష ಕನ್ನಡ മലയാളം සිංහල ๑๒๓ ภาษาไทยไม่มีวรรค ລາວ བོད་སྐད ဗမာ",
  "ქართული Ⴀ Ა ՀԱՅԵՐԵՆ հայ አማርኛ ትግርኛ ᎣᏏᏲ ꮳꮃꭹ",
  "中文没有空格，漢字繁體；「引號」。𠮷野家 龍𪚥",
  "ひらがなカタカナ ﾊﾝｶｸ ー〜・、。が か゛ ヷ 々",
  "한국어 조선말 ᄒᆞᆫ글 각 ㄱㅏ",
  "Tiếng Việt: Người ta nói rằng ế ề ể ễ ệ",
  "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, 𝔸𝕓𝒞 ½ ² ₃ Ⅷ ① ㉑ ½ 3⁴ ∑∏∫ ≠ ≮ ±",
  "🙂😀👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇯🇵1️⃣❤️☺︎ 🫠",
  "a\u0301 e\u0323\u0302 \u1e9b\u0323 q\u0307\u0323 \u0344 \u2126 \u212b \ufb01 \uac00\u11a8"
]

const shapes = [
  "",
  " ",
  "  ",
  "\n",
  "\r",
  "\r\n\r\n",
  "\t\t\tx\t y",
  " a  b   c    d     ",
  "\n\n  indented\n    more\n\t\ttabs \n \n",
  "\u00a0\u2000\u2003\u2028\u2029\u202f\u205f\u3000\u1680 x \u0085\u0085y \ufeffz\u200b\u200d\u2060",
  "\u0000\u0001\u001b[0m\u007f\u0080\u009f",
  "0 12 345 6789 01234567890123456789 3.14159 1e-10 0xFF 1_000 1,234,567.89 ٣٫١٤ १२३ ½¾",
  "function f(a, b) {\n  return a?.[0] ?? `${b}` // 'x'\n}\n",
  "SELECT * FROM \"t\" WHERE a<>b AND c LIKE '%_x';--",
  "for (int i=0;i<n;++i){x[i]^=~y[i]>>3;}",
  '{"key": [1, 2.5, null, true], "s": "\\u00e9\\n"}',
  "<p class='a'>&amp;&lt;/p&gt;</p><!-- x -->",
  "https://user@example.org:8080/a/b.c?d=e&f=%20#g mailto:x@y.z C:\\Users\\x /usr/lib",
  "x".repeat(2000),
  "ab".repeat(700),
  "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
  "antidisestablishmentarianism".repeat(20),
  "ACGT".repeat(300),
  "!".repeat(100),
  "-".repeat(81),
  " ".repeat(500),
  "\n".repeat(300),
  "=== --- *** ___ ... ,,, ;;; :::",
  "'s't'll 'S'T'LL ''s ’s `s",
  "<|endoftext|>",
  "a<|endoftext|><|im_start|>b<|im_end|> <|endoftext|> ",
  "<|endoftext| <|im_start <| |> <think>x</think>",
  "<tool_call>\n{}\n</tool_call>"
]

/** Stretches of characters that every implementation has known for years, whatever its version of Unicode. */
const ranges: ReadonlyArray<readonly [number, number]> = [
  [0x20, 0x7e],
  [0x20, 0x7e],
  [0x20, 0x7e],
  [0x09, 0x0d],
  [0x80, 0x17f],
  [0x300, 0x33f],
  [0x391, 0x3a1],
  [0x400, 0x45f],
  [0x5d0, 0x5ea],
  [0x621, 0x652],
  [0x905, 0x94d],
  [0xe01, 0xe3a],
  [0x1100, 0x1112],
  [0x1161, 0x1175],
  [0x2000, 0x206f],
  [0x2100, 0x218b],
  [0x3041, 0x3096],
  [0x30a1, 0x30fa],
  [0x4e00, 0x9fcc],
  [0xac00, 0xd7a3],
  [0xe000, 0xe0ff],
  [0xff01, 0xff5e],
  [0x1d400, 0x1d7ff],
  [0x1f300, 0x1f5ff],
  [0x1f600, 0x1f64f],
  [0x20000, 0x2a6d6],
  [0xfff9, 0xffff]
]

const pieces = ["'s", "'Ll", "  ", "\r\n", "\n\n", "123", "é", "e\u0301", "<|endoftext|>", "the ", " of", "://", "/*"]

const randomText = (random: () => number): string => {
  let text = ""
  const length = 1 + below(random, 40)
  for (let i = 0; i < length; i += 1) {
    if (random() < 0.2) text += pieces[below(random, pieces.length)] ?? ""
    const [low, high] = ranges[below(random, ranges.length)] ?? [0x20, 0x7e]
    text += String.fromCodePoint(low + below(random, high - low + 1))
  }
  return text
}

/** The texts of one shipped file of JSON Lines. */
export const shippedTexts = (path: string, field: string): ReadonlyArray<string> =>
  readFileSync(join(import.meta.dirname, "../../assets", path), "utf8")
    .trimEnd()
    .split("\n")
    .map(line => String(JSON.parse(line)[field]))

/** The corpus, the same on every machine. No text contains `<M>`. */
export const tokenizerCorpus = (): ReadonlyArray<string> => {
  const random = seeded(2048)
  return [
    ...scripts,
    ...shapes,
    ...scripts.map(text => text.normalize("NFD")),
    ...scripts.map(text => text.toUpperCase()),
    [...scripts, ...shapes].join("\n"),
    ...shippedTexts("web50/documents.jsonl", "text"),
    ...shippedTexts("heldout/documents.jsonl", "text"),
    ...shippedTexts("reason500/problems.jsonl", "response"),
    ...Array.from({ length: 20_000 }, () => randomText(random))
  ]
}
