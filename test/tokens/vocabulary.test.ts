import { Result } from "effect"
import { assert, describe, it } from "vitest"
import { parseTokenizer } from "../../src/tokens/tokenizer.ts"
import { vocabularyDigest } from "../../src/tokens/vocabulary.ts"
import { filesIn, qwen3Directory, shippedDirectory } from "../support/tokenizers.ts"

interface Json {
  readonly model: { readonly vocab: { [token: string]: number }; type?: string; merges: ReadonlyArray<unknown> }
  added_tokens: ReadonlyArray<{ readonly id: number; readonly content: string }>
  pre_tokenizer?: unknown
}
const { config, json } = filesIn(shippedDirectory)

/** Of the shipped tokenizer, edited. */
const digest = (edit: (json: Json) => void = () => {}, settings: string | undefined = config) => {
  const edited = JSON.parse(json) as Json
  edit(edited)
  const files = { json: JSON.stringify(edited), config: settings }
  return Result.getOrThrow(vocabularyDigest(files, Result.getOrThrow(parseTokenizer(files))))
}

describe("vocabularyDigest", () => {
  it("is another one when an id stands for another token", () => {
    const plain = digest()
    assert.match(plain, /^[0-9a-f]{64}$/)
    const swapped = digest(({ model: { vocab } }) => {
      ;[vocab["a"], vocab["b"]] = [vocab["b"]!, vocab["a"]!]
    })
    const renamed = digest(each => {
      each.added_tokens = each.added_tokens.map(token =>
        token.content === "<|im_end|>" ? { ...token, content: "<|stop|>" } : token
      )
    })
    const qwen3 = filesIn(qwen3Directory)
    const other = Result.getOrThrow(vocabularyDigest(qwen3, Result.getOrThrow(parseTokenizer(qwen3))))
    assert.strictEqual(new Set([plain, swapped, renamed, other]).size, 4)
  })

  it("is the same however the file is written, and whether the mask stands in it or is added", () => {
    const rewritten = digest(({ model }) => {
      const entries = Object.entries(model.vocab).reverse()
      for (const [token] of entries) delete model.vocab[token]
      for (const [token, id] of entries) model.vocab[token] = id
    })
    const withoutMask = digest(each => {
      each.added_tokens = each.added_tokens.filter(({ content }) => content !== "<M>")
    }, undefined)
    assert.strictEqual(rewritten, digest())
    assert.strictEqual(withoutMask, digest())
  })
})
