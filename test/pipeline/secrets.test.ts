/** No text that went through `redact` holds a secret of an address, of the environment, or one that the process came to know. */
import { Schema } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { render } from "../../src/pipeline/ConfigError.ts"
import { redact, redactCommand, rememberSecret, secretIn, secretsOf } from "../../src/pipeline/Secrets.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { configError } from "../support/configErrors.ts"
import { planOf, Tokens } from "../support/stages.ts"

describe("redact", () => {
  it.each([
    ["see https://u:pw@host/a?b=c#d.", "see https://…@host/a?…"],
    ["two https://a/x?sig=1 and https://b/y?z", "two https://a/x?… and https://b/y?…"],
    ["postgres://u:pw@host/db", "postgres://…@host/db"],
    ["//u:pw@host/db", "//…@host/db"],
    ["/f?X-Amz-Signature=abc&b=1", "/f?X-Amz-Signature=…&b=1"],
    ["Authorization: Bearer abcdefgh12345678", "Authorization: Bearer …"],
    ["hf_abcdefghijklmnopqrstuvwxyz012345", "…"],
    [`"https://h/p?sig=1" 'https://h/q?sig=2'`, `"https://h/p?…" 'https://h/q?…'`]
  ])("%j becomes %j", (text, clean) => expect(redact(text)).toBe(clean))

  it.each([
    "hf://models/Qwen/Qwen3-0.6B@main/a.json",
    "https://example.org/a/@scope/b",
    "https://example.org/a#section-2",
    "https://example.org/a?$NAME",
    "https://example.org/a?download=true",
    "what is this? a=b // c@d",
    "train.lr=2e-4 & more"
  ])("%j stays", text => expect(redact(text)).toBe(text))

  it("hides what the process came to know, also percent-encoded and decoded", () => {
    rememberSecret("s3cr3t/+=x")
    rememberSecret("%2Fdec%2Foded")
    expect(redact("a s3cr3t/+=x b s3cr3t%2F%2B%3Dx c /dec/oded")).toBe("a … b … c …")
  })

  it.each(["a", "?a", "&token", "//", "hf_", "a:", "Bearer ", "/@", "?$"])(
    "takes time in proportion to a text of %j",
    part => {
      const long = part.repeat(1_000_000 / part.length)
      expect(redact(`// ${long} = hf_`).length).toBeGreaterThan(0)
      expect(redactCommand([`https://${long}`]).length).toBeGreaterThan(0)
      secretIn(`// ${long}`)
    }
  )

  it("leaves what was hidden before as it is", () => {
    const line = "https://u:pw@h/p?sig=1 &token=2 Bearer abcdefgh12345678"
    for (const options of [{}, { keepLength: true }]) {
      const once = redact(line, options)
      expect([redact(once), redact(once, { keepLength: true })]).toEqual([once, once])
    }
  })

  it("can keep the length of lines, for the carets below them", () => {
    fc.assert(
      fc.property(fc.string(), fc.webUrl({ withQueryParameters: true, withFragments: true }), (text, url) => {
        const line = `${text} ${url} ${text}`
        expect(redact(line, { keepLength: true })).toHaveLength(line.length)
      })
    )
  })

  it("leaves no query in the words of a command, whatever it holds", () => {
    fc.assert(
      fc.property(
        fc.string().filter(query => /\S/.test(query)),
        query => {
          const shown = redactCommand(["run", `d.source=https://host/p?a=secret${query}secret`, "--jobs", "2"])
          expect(shown).toBe("run 'd.source=https://host/p?…' --jobs 2")
        }
      )
    )
  })
})

describe("the environment", () => {
  it.each([
    [{ HF_TOKEN: "verysecret" }, ["verysecret"]],
    [{ AWS_SESSION_TOKEN: "a", WANDB_API_KEY: "b ", AWS_SECRET_ACCESS_KEY: "c" }, ["a", "b", "c"]],
    [{ DB_PASSWORD: "pw", MY_SECRET: "s" }, ["pw", "s"]],
    [{ HTTPS_PROXY: "http://user:pass@proxy:80", http_proxy: "http://proxy" }, ["user", "pass", "", ""]],
    [{ HF_ENDPOINT: "https://mirror/x?token=abc" }, ["", "", "token=abc", "abc"]],
    [{ HF_ENDPOINT: "https://mirror/huggingface/abcdefghij0123456789/x" }, ["", "", "abcdefghij0123456789"]]
  ] as ReadonlyArray<readonly [Record<string, string>, ReadonlyArray<string>]>)(
    "%j has secrets",
    (environment, secrets) => expect(secretsOf(environment)).toEqual(secrets)
  )

  it.each(["HF_TOKEN_PATH", "AWS_ACCESS_KEY_ID", "PATH", "HOME", "TOKENIZERS_PARALLELISM", "SECRET_FILE", "KEYBOARD"])(
    "%s is none",
    name => expect(secretsOf({ [name]: "somevalue" })).toEqual([])
  )
})

describe("parameters", () => {
  const fetch = Stage.make("fetch", {
    inputs: {},
    parameters: Schema.Struct({ from: Schema.Struct({ urls: Schema.Array(Schema.String) }) }),
    outputs: { tokens: Tokens },
    run: () => undefined as never
  })

  it.each([
    "https://u:verysecret@host/x",
    "see https://host/x?X-Amz-Signature=verysecret",
    "https://host/x?a=1&X%2DAmz-Security-Token=verysecret",
    "https://host/x#access_token=verysecret",
    "hf_verysecretverysecretverysecret"
  ])("with a secret are refused, which the message does not repeat: %s", url => {
    expect(secretIn(url)).toBeDefined()
    const error = configError(() => planOf(() => fetch({ from: { urls: ["https://host/ok?page=1", url] } })))
    expect(render(error)).toContain("fetch.from.urls.1 holds")
    expect(render(error)).not.toContain("verysecret")
  })
})
