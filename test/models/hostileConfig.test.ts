/** A model's files come from outside: sizes that no model has are refused by name before memory is asked for, and nothing in them ends the program. */
import { Effect, Result, Schema } from "effect"
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { readText } from "../../src/formats/textFile.ts"
import { parseTokenizer } from "../../src/tokens/tokenizer.ts"
import type { ModelConfig } from "../../src/models/config.ts"
import { decodeModelConfig } from "../../src/models/families.ts"
import { ldlmFormat } from "../../src/methods/ldlm/networks.ts"
import { LdlmSettings } from "../../src/methods/ldlm/settings.ts"
import type { Statistics } from "../../src/methods/ldlm/statistics.ts"
import { vfmFormat } from "../../src/methods/vfm/networks.ts"

const base = {
  model_type: "qwen3",
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 100
}

const sizes = [
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
  "vocab_size",
  "attention_block_size"
]

const problem = <A, E extends { readonly message: string }>(effect: Effect.Effect<A, E>): string => {
  const result = Effect.runSync(Effect.result(effect))
  return Result.isFailure(result) ? result.failure.message : "accepted"
}

/** A list in a list in a list …, deeper than the stack. */
const deep = (depth: number): unknown => JSON.parse(`${"[".repeat(depth)}${"]".repeat(depth)}`)

describe("config.json", () => {
  it.each(sizes)("%s has bounds", field => {
    for (const value of [1e15, Number.MAX_SAFE_INTEGER, 1e300, 2 ** 31, 0, -1, 1.5, "64", null, [64]]) {
      if (field === "num_key_value_heads" && value === null) continue
      expect(problem(decodeModelConfig({ ...base, [field]: value }))).toContain(field)
    }
  })

  it.each(["rms_norm_eps", "rope_theta", "initializer_range"])("%s is a number that can be computed with", field => {
    for (const value of [1e300, 0, -1, "1", null, Infinity, NaN])
      expect(problem(decodeModelConfig({ ...base, [field]: value }))).toContain(field)
  })

  it("sizes that are possible one by one, but not together, are refused with what they make", () => {
    const message = problem(
      decodeModelConfig({ ...base, hidden_size: 2 ** 20, intermediate_size: 2 ** 20, num_hidden_layers: 1000 })
    )
    expect(message).toMatch(/hidden_size.*at most 2e\+13 parameters; these make \d\.\de\+15/)
  })

  it("the largest models that are published are none too large", () => {
    const largest = { hidden_size: 16_384, intermediate_size: 53_248, num_hidden_layers: 126, num_attention_heads: 128 }
    expect(problem(decodeModelConfig({ ...base, ...largest, vocab_size: 262_144 }))).toBe("accepted")
  })

  it("networks beside the language model have bounds, too", () => {
    const config: ModelConfig = Effect.runSync(decodeModelConfig(base))
    const vfm = { adapter_layers: 2, adapter_heads: 4, max_seq_len: 64, noise_input: "added", token_shift: true }
    expect(problem(vfmFormat.decode({ vfm }, config))).toBe("accepted")
    for (const field of ["adapter_layers", "max_seq_len"] as const)
      for (const value of [1e15, 2 ** 30, 2 ** 21])
        expect(problem(vfmFormat.decode({ vfm: { ...vfm, [field]: value } }, config))).toContain(field)
    expect(problem(ldlmFormat.decode({ ldlm: deep(100_000) }, config))).not.toBe("accepted")
    // What was counted is no size: a training may see as many tokens as it likes.
    const counted: Statistics = [2 ** 40, 0.1, 1.1]
    const networks = Schema.decodeUnknownSync(LdlmSettings)({ seqLen: 8, heads: 4, depth: 1 })
    const long = ldlmFormat.encode({ architecture: networks, statistics: { states: counted, latents: counted } })
    expect(problem(ldlmFormat.decode(long, config))).toBe("accepted")
    const { ldlm } = long as { readonly ldlm: { readonly networks: object } }
    const huge = { ldlm: { ...ldlm, networks: { ...ldlm.networks, seqLen: 2 ** 40 } } }
    expect(problem(ldlmFormat.decode(huge, config))).toMatch(/networks\.\w+ is 1099511627776; at most 1048576/)
  })

  it("values nested without end are shown by their beginning", () => {
    for (const field of ["rope_scaling", "model_type", "layer_types", "hidden_size"])
      expect(problem(decodeModelConfig({ ...base, [field]: deep(100_000) }))).toContain(field)
  })
})

describe("tokenizer.json", () => {
  const definition = {
    added_tokens: [{ id: 3, content: "</s>", special: true }],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
    model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] }
  }

  it.each(["added_tokens", "pre_tokenizer", "normalizer", "decoder", "post_processor", "model"])(
    "nesting without end in %s is an error of the file",
    field => {
      for (const value of [
        deep(100_000),
        { type: "Sequence", pretokenizers: deep(100_000), normalizers: deep(100_000) }
      ]) {
        const result = parseTokenizer({
          json: text({ ...definition, [field]: field === "model" ? { vocab: value } : value })
        })
        if (Result.isFailure(result)) expect(result.failure.message).toMatch(/^tokenizer\.json/)
      }
    }
  )
})

/** `JSON.stringify`, for any depth. */
const text = (value: unknown): string => {
  let depth = 0
  for (let at: unknown = value; Array.isArray(at) && at.length === 1; at = at[0]) depth++
  if (depth > 1000) return `${"[".repeat(depth)}[]${"]".repeat(depth)}`
  if (Array.isArray(value)) return `[${value.map(text).join(",")}]`
  if (typeof value === "object" && value !== null)
    return `{${Object.entries(value)
      .map(([key, below]) => `${JSON.stringify(key)}:${text(below)}`)
      .join(",")}}`
  return JSON.stringify(value)
}

describe("tokenizer.json that would take all time or memory before a text is read", () => {
  const message = (parts: object): string => {
    const json = JSON.stringify({
      added_tokens: [{ id: 3, content: "</s>", special: true }],
      model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] },
      ...parts
    })
    const result = parseTokenizer({ json })
    return Result.isFailure(result) ? result.failure.message : "accepted"
  }
  const added = (count: number, length: number) => ({
    added_tokens: Array.from({ length: count }, (_, i) => ({ id: i, content: String(i).padEnd(length, "x") }))
  })
  const split = (Regex: string) => ({ pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated" } })

  it.each([
    ["many added tokens", added(100_000, 50), /added_tokens has tokens of 5000000 characters/],
    ["one long added token", added(1, 300_000), /added_tokens has tokens of 300000 characters/],
    ["a long pattern", split("\\p{L}".repeat(20_000)), /a pattern of 100000 characters; at most 10000/],
    [
      "a long text to be replaced",
      { normalizer: { type: "Replace", pattern: { String: "x".repeat(20_000) }, content: "" } },
      /a pattern of 20000 characters/
    ],
    [
      "many patterns",
      { pre_tokenizer: Array.from({ length: 200 }, () => split("a")) },
      /pre_tokenizer must be|200 patterns/
    ],
    ["a pattern that is none", split("(".repeat(5000)), /Invalid regular expression.{0,300}$/],
    [
      "long tokens of a unigram model",
      { model: { type: "Unigram", vocab: Array.from({ length: 90 }, (_, i) => [`${i}`.padEnd(100_000, "x"), 0]) } },
      /model\.vocab has tokens of 9000000 characters/
    ]
  ] as const)("%s", (_, parts, what) => expect(message(parts)).toMatch(what))
})

describe("texts that are read whole", () => {
  const directory = mkdtempSync(join(tmpdir(), "text-test-"))
  afterAll(() => rmSync(directory, { recursive: true }))

  it("are refused before they are read, where they are far too large", async () => {
    const path = join(directory, "config.json")
    writeFileSync(path, "{}")
    expect(await Effect.runPromise(readText(path, "config.json"))).toBe("{}")
    truncateSync(path, 2 ** 40)
    const error = await Effect.runPromise(Effect.flip(readText(path, "config.json")))
    expect(error.message).toMatch(/^config\.json has more than 268435456 bytes/)
  })
})
