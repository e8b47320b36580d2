import { Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { formatSource, parseSource, type Source, SourceError } from "../../src/hub/source.ts"

const parsed = (text: string): Source => {
  const result = parseSource(text)
  if (Result.isFailure(result)) throw result.failure
  return result.success
}

const problem = (text: string): SourceError => {
  const result = parseSource(text)
  if (Result.isSuccess(result)) throw new Error(`${text} was understood as ${JSON.stringify(result.success)}`)
  return result.failure
}

describe("parseSource", () => {
  it("understands each kind of source", () => {
    expect(parsed("embedded:web50")).toEqual({ _tag: "Embedded", name: "web50" })
    expect(parsed("file:data/a b.jsonl")).toEqual({ _tag: "File", path: "data/a b.jsonl" })
    expect(parsed("file:/srv/a")).toEqual({ _tag: "File", path: "/srv/a" })
    expect(parsed("file:///srv/a%20b")).toEqual({ _tag: "File", path: "/srv/a b" })
    expect(parsed("https://example.org/a.bin")).toEqual({ _tag: "Https", url: "https://example.org/a.bin" })
    expect(parsed("https://example.org/a.bin?download=true")).toMatchObject({
      url: "https://example.org/a.bin?download=true"
    })
    const signed = { _tag: "Https", url: "https://example.org/a.bin", queryFrom: "SIGNED" } as const
    expect(parsed("https://example.org/a.bin?$SIGNED")).toEqual(signed)
    expect(parsed("https://example.org/a.bin?${SIGNED}")).toEqual(signed)
    expect(parsed("hf://models/Qwen/Qwen3-0.6B@main")).toEqual({
      _tag: "Hub",
      type: "models",
      repo: "Qwen/Qwen3-0.6B",
      revision: "main"
    })
    expect(parsed("hf://datasets/a/b@v1.0/data/train 50%25.parquet")).toEqual({
      _tag: "Hub",
      type: "datasets",
      repo: "a/b",
      revision: "v1.0",
      path: "data/train 50%.parquet"
    })
  })

  it("takes a percent-encoded revision with slashes", () => {
    expect(parsed("hf://datasets/a/b@refs%2Fconvert%2Fparquet/default/train/0000.parquet")).toMatchObject({
      revision: "refs/convert/parquet",
      path: "default/train/0000.parquet"
    })
  })

  it("takes http for loopback hosts only", () => {
    expect(parsed("http://localhost:8080/x")).toMatchObject({ _tag: "Https" })
    expect(parsed("http://127.0.0.1/x")).toMatchObject({ _tag: "Https" })
    expect(parsed("http://[::1]:1/x")).toMatchObject({ _tag: "Https" })
    expect(problem("http://example.org/x").message).toContain("unencrypted")
    expect(problem("http://127.0.0.1.example.org/x").message).toContain("unencrypted")
  })

  it.each([
    "https://example.org/x?X-Amz-Signature=verysecret",
    "https://example.org/x?page=verysecret",
    "https://example.org/x?$A=verysecret",
    "https://example.org/x?a b=verysecret and verysecret",
    "https://user:verysecret@example.org/x",
    "https://verysecret@example.org/x?$QUERY",
    "https://example.org/x#access_token=verysecret",
    "HTTPS://user:verysecret@example.org/x",
    " https://user:verysecret@example.org/x",
    "s3://key:verysecret@bucket/x?sig=verysecret",
    "example.org/x?token=verysecret",
    "https://user:verysecret@exa mple.org/x"
  ])("refuses %j and keeps its secret", text => {
    const error = problem(text)
    expect(`${error.message} ${error.source}`).not.toContain("verysecret")
    expect(error.source).toHaveLength(text.length)
  })

  it.each([
    ["", 0, "a source starts with"],
    ["web50", 0, "a source starts with"],
    ["s3://bucket/x", 0, 'unknown kind of source "s3:"'],
    ["embedded:", 9, "the name is missing"],
    ["embedded:a/b", 10, "a name has only"],
    ["file:", 5, "the path is missing"],
    ["file:a\0b", 6, "NUL"],
    ["file://host/x", 7, "no other host"],
    ["https://user:secret@example.org/x", 0, "user name or password"],
    ["https://example.org/x?a=1", 21, "environment variable"],
    ["https://example.org/x#y", 21, "fragment"],
    ["hf:models/a/b@main", 3, "two slashes"],
    ["hf://spaces/a/b@main", 5, '"spaces" is not a kind of repository'],
    ["hf://models", 11, "the repository is missing"],
    ["hf://models/", 12, "the repository is missing"],
    ["hf://models/gpt2@main", 16, "ORG/NAME"],
    ["hf://models/a b/c@main", 13, '"a b" is not a name'],
    ["hf://models/a/b/c@main", 15, '"b/c" is not a name'],
    ["hf://models/../b@main", 12, '".." is not a name'],
    ["hf://models/a/b", 15, "the revision is missing"],
    ["hf://models/a/b@", 16, "the revision is missing"],
    ["hf://models/a/b@/x", 16, "the revision is missing"],
    ["hf://models/a/b@100%", 16, "not percent-encoded"],
    ["hf://models/a/b@..", 16, "cannot be a revision"],
    ["hf://models/a/b@x%2F..%2Fy", 16, "cannot be a revision"],
    ["hf://models/a/b@main/", 21, "it is empty"],
    ["hf://models/a/b@main/../x", 21, '".."'],
    ["hf://models/a/b@main/x%2F..%2Fy", 21, '".."'],
    ["hf://models/a/b@main//etc/passwd", 21, "absolute"],
    ["hf://models/a/b@main/C:%5Cx", 21, "backslash"],
    ["hf://models/a/b@main/C:x", 21, "Windows"],
    ["hf://models/a/b@main/a%00b", 21, "control character"]
  ])("refuses %j at %i", (text, offset, what) => {
    const error = problem(text)
    expect(error.message).toContain(what)
    expect(error.offset).toBe(offset)
    const [, shown, caret] = error.message.split("\n")
    expect(shown).toHaveLength(2 + text.length)
    expect(caret).toBe(`${" ".repeat(2 + offset)}^`)
    expect(error.message).toContain("for example")
  })

  it("never throws, whatever the text", () => {
    const pieces = fc.constantFrom(
      "hf://",
      "models/",
      "datasets/",
      "file:",
      "https://",
      "embedded:",
      "a",
      "/",
      "@",
      "%",
      "..",
      "\0",
      "é",
      "\ud800"
    )
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(pieces, { maxLength: 12 }).map(parts => parts.join(""))
    )
    fc.assert(
      fc.property(text, input => {
        const result = parseSource(input)
        if (Result.isFailure(result)) {
          expect(result.failure).toBeInstanceOf(SourceError)
          expect(result.failure.offset).toBeLessThanOrEqual(input.length)
        }
      }),
      { numRuns: 500 }
    )
  })
})

describe("formatSource", () => {
  const segment = fc
    .string({ unit: "binary", minLength: 1, maxLength: 12 })
    .filter(text => text.isWellFormed() && !/[\u0000-\u001f\u007f\\/:]/.test(text) && text !== "." && text !== "..")
  const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map(segments => segments.join("/"))
  const name = fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9_-])?$/)
  const revision = fc
    .array(fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9._%-]{0,8}[A-Za-z0-9])?$/), { minLength: 1, maxLength: 3 })
    .map(parts => parts.join("/"))
  const source: fc.Arbitrary<Source> = fc.oneof(
    fc.record({ _tag: fc.constant("Embedded" as const), name: fc.stringMatching(/^[A-Za-z0-9._-]{1,12}$/) }),
    fc.record({ _tag: fc.constant("File" as const), path }),
    fc.record({
      _tag: fc.constant("Https" as const),
      url: path.map(file => new URL(`https://example.org/${encodeURIComponent(file)}`).href)
    }),
    fc.record({
      _tag: fc.constant("Https" as const),
      url: fc.constant("https://example.org/x"),
      queryFrom: fc.stringMatching(/^[A-Za-z_]\w{0,8}$/)
    }),
    fc.record(
      {
        _tag: fc.constant("Hub" as const),
        type: fc.constantFrom("models" as const, "datasets" as const),
        repo: fc.tuple(name, name).map(names => names.join("/")),
        revision,
        path
      },
      { requiredKeys: ["_tag", "type", "repo", "revision"] }
    )
  )

  it("is read back as the same source", () => {
    fc.assert(
      fc.property(source, value => {
        expect(parsed(formatSource(value))).toEqual(value)
      })
    )
  })
})
