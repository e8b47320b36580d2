/** A few short documents on disk, and their sequences in a pipeline. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { downloadDocuments, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"

/** Documents that say the same so many times, each with its number before it. */
export const documentTexts = (
  count: number,
  repeats: (i: number) => number,
  words = "the people of the United States "
): ReadonlyArray<string> => Array.from({ length: count }, (_, i) => `Document ${i}: ${words.repeat(repeats(i))}`)

/** Writes `texts.jsonl` and returns its path. */
export const writeTexts = (directory: string, texts: ReadonlyArray<string>): string => {
  const file = join(directory, "texts.jsonl")
  writeFileSync(file, texts.map(text => `${JSON.stringify({ text })}\n`).join(""))
  return file
}

/** The sequences of such a file, by the tokenizer that ships with the program; to be called where a pipeline is built. */
export const tokenizedTexts = (file: string, maxSeqLen: number): ReturnType<typeof tokenize> =>
  tokenize({
    corpus: downloadDocuments({ source: `file:${file}` }),
    tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
    maxSeqLen
  })
