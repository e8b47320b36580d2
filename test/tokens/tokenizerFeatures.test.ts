/** Features of `tokenizer.json`: computed as in the reference implementation (`test/interop/tokenizer.interop.ts` compares them all), or refused by name. */
import { Result } from "effect"
import { assert, describe, it } from "vitest"
import { parseTokenizer } from "../../src/tokens/tokenizer.ts"
import { features, refusedFeatures } from "../support/tokenizerFeatures.ts"

const parse = (json: object) => parseTokenizer({ json: JSON.stringify(json) }, { eosToken: "</s>" })
const named = (name: string) => Result.getOrThrow(parse(features.find(feature => feature[0] === name)![1]))
const read = (name: string, text: string): string => named(name).decode(named(name).encode(text))

describe("a feature of tokenizer.json", () => {
  it.each(refusedFeatures)("is refused by name: %s", (_, json, says) => {
    const result = parse(json)
    assert.match(Result.isFailure(result) ? result.failure.message : "accepted", says)
  })

  it.each(features)("is computed: %s", (_, json) => {
    assert.isTrue(Result.isSuccess(parse(json)))
  })

  // What the reference implementation gives.
  it("single_word: a token within a word is none", () => {
    const tokenizer = named("added tokens: single_word")
    const id = tokenizer.idOf("<X>")!
    assert.deepStrictEqual([...tokenizer.encode("<X>")], [id])
    assert.notInclude([...tokenizer.encode("a<X>b")], id)
    assert.include([...tokenizer.encode("a <X>.")], id)
  })

  it("lstrip and rstrip: tokens take White_Space along, which U+0085 is and U+FEFF is not", () => {
    const tokenizer = named("added tokens: lstrip, rstrip")
    const id = tokenizer.idOf("<X>")!
    assert.deepStrictEqual([...tokenizer.encode("\u0085 <X>\u3000\u0085")], [id])
    assert.lengthOf(tokenizer.encode("\ufeff<X>\ufeff"), 3)
  })

  it("Lowercase: a sigma at the end of a word is one like any other", () => {
    assert.strictEqual(read("normalizer: Lowercase", "ΣΣ"), "σσ")
  })

  it("ByteFallback: keeps U+FEFF; bytes that are no text are one U+FFFD each", () => {
    const tokenizer = named("model: bytes of unknown characters, unknown ones fused true")
    const bytes = (...values: ReadonlyArray<string>) => values.map(value => tokenizer.idOf(`<0x${value}>`)!)
    assert.strictEqual(tokenizer.decode(bytes("EF", "BB", "BF", "41")), "\ufeffA")
    assert.strictEqual(tokenizer.decode(bytes("E2", "82", "41")), "\ufffd\ufffd\ufffd")
  })

  it("a replacement is text: a dollar means nothing", () => {
    const tokenizer = named("decoder: Replace")
    assert.strictEqual(tokenizer.decode(tokenizer.encode("ca")), "c$&")
  })
})
