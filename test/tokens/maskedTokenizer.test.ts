/** Tokenizer files with their mask: the same ids as before, for every reader of the files. */
import { Result } from "effect"
import { assert, describe, it } from "vitest"
import { withMask } from "../../src/tokens/maskedTokenizer.ts"
import { parseTokenizer } from "../../src/tokens/tokenizer.ts"
import { filesIn, loadFrom, qwen3Directory, shippedDirectory } from "../support/tokenizers.ts"

describe("a tokenizer that is handed on", () => {
  it("names the mask that it had no token for, under the id that it has here", () => {
    const before = loadFrom(qwen3Directory)
    assert.isTrue(before.maskAdded)
    const files = withMask(filesIn(qwen3Directory), before)
    const after = Result.getOrThrow(parseTokenizer(files))
    assert.isFalse(after.maskAdded)
    for (const part of ["maskId", "maskToken", "vocabSize", "eosId", "padId"] as const)
      assert.strictEqual(after[part], before[part], part)
    const text = "Hello <M> world, 12 + 30 = 42.\n\n<|endoftext|>"
    assert.deepStrictEqual(after.encode(text), before.encode(text))
    const config = JSON.parse(files.config!) as { readonly [field: string]: unknown }
    assert.strictEqual(config["mask_token"], "<M>")
    assert.deepInclude((config["added_tokens_decoder"] as { readonly [id: string]: unknown })[String(before.maskId)], {
      content: "<M>",
      special: true
    })
    assert.deepStrictEqual(withMask(files, after), files)
  })

  it("is left as it is where it has one", () => {
    const files = filesIn(shippedDirectory)
    assert.strictEqual(withMask(files, loadFrom(shippedDirectory)), files)
  })
})
