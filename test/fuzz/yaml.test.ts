/** Whatever stands in a configuration file or behind `--set`: a value, or a ConfigError that names the file and a place. */
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { decodeConfig, loadConfig, parseYaml } from "../../src/config/configFile.ts"
import { ConfigError, render } from "../../src/pipeline/ConfigError.ts"
import { canonical } from "../../src/pipeline/Digest.ts"
import * as Origin from "../../src/pipeline/Origin.ts"

const Config = Schema.Struct({
  train: Schema.Struct({
    lr: Schema.Finite,
    style: Schema.Literals(["cosine", "linear"]),
    layers: Schema.Array(Schema.Int),
    optimizer: Schema.Union([
      Schema.Struct({ type: Schema.Literal("adamw"), beta: Schema.Finite }),
      Schema.Struct({ type: Schema.Literal("sgd") })
    ]),
    size: Schema.NumberFromString,
    steps: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(5)))
  }),
  notes: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
})

const valid = `# a comment
defaults: &defaults
  lr: 2e-4
  style: "cosine"
  layers: [1, 2, 3]
  optimizer: &o {type: adamw, beta: .9}
train:
  <<: *defaults
  size: '12'
  style: linear
notes:
  text: |
    two
    lines
  folded: >-
    one
    line
  list:
    - a: 1
      b: [x, {y: z}]
    - *o
`

/** Runs `read`; when it throws, the error must be fit for people. */
const attempt = (file: string, read: () => unknown): unknown => {
  try {
    return read()
  } catch (cause) {
    assert.instanceOf(cause, ConfigError)
    const text = render(cause)
    assert.isTrue(cause.at!.startsWith(`${file}:`), text)
    assert.match(cause.at!.slice(file.length), /^:[1-9]\d*:[1-9]\d*$/)
    assert.notMatch(text, /\n\s+at \S+ \(|node:internal|node_modules|\.m?[jt]s:\d/)
    assert.notMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/)
    assert.isTrue(text.isWellFormed())
    assert.notInclude(text, "undefined")
    assert.notInclude(text, "[object Object]")
    return undefined
  }
}

/** A value that was accepted has a key, and places for all that is in it. */
const check = (text: string) => {
  const value = attempt("fuzz.yaml", () => parseYaml(text, "fuzz.yaml"))
  if (typeof value === "object" && value !== null) {
    assert.isDefined(Origin.find(value, []))
    for (const key of Object.keys(value)) assert.isDefined(Origin.find(value, [key], "key"))
    // Numbers that YAML has and JSON lacks (.inf, .nan) are all that may keep a value from having a key.
    if (!/\.(?:inf|nan)/i.test(text)) canonical(value)
  }
  attempt("fuzz.yaml", () => decodeConfig(Config, text, "fuzz.yaml"))
}

const runs = { numRuns: 300 }

/** What YAML gives a meaning. */
const pieces = [
  ..."{}[],:?-&*!|>'\"%@`#~ \n\t\r=<.0 1a",
  "\n  ",
  "\n    ",
  ": ",
  "- ",
  "? ",
  "&a ",
  "*a",
  "&b ",
  "*b",
  "<<: ",
  "<<: *a\n",
  "key: ",
  "key: &a ",
  "!!str ",
  "!!int ",
  "!<x> ",
  "---\n",
  "...\n",
  "%YAML 1.2\n",
  "%TAG ! x\n",
  "null",
  "true",
  "yes",
  "1e3",
  "0x1F",
  ".inf",
  ".nan",
  "1e999",
  "9".repeat(30),
  "|\n  x\n",
  ">-\n  x\n",
  "|2\n",
  '"\\x00"',
  '"\\ud800"',
  '"\\U00110000"',
  "__proto__: ",
  "constructor: ",
  "\u0000",
  "\u0007",
  "\u0085",
  "\u2028",
  "\u202e",
  "\ufeff",
  "\ufffe",
  "\ud800",
  "🙂",
  "é",
  "train:\n",
  "  lr: ",
  "  layers: ",
  "  optimizer: ",
  "  type: adamw\n"
]
const pieced = fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map(parts => parts.join(""))

/** A text with some of its parts cut, doubled, moved or replaced. */
const mutated = (text: string) =>
  fc
    .array(
      fc.record({
        at: fc.nat(text.length),
        length: fc.nat(12),
        insert: fc.oneof(
          fc.constant(""),
          fc.constantFrom(...pieces),
          fc.nat(text.length).map(from => text.slice(from, from + 15))
        )
      }),
      { minLength: 1, maxLength: 4 }
    )
    .map(edits =>
      edits.reduce((edited, { at, length, insert }) => edited.slice(0, at) + insert + edited.slice(at + length), text)
    )

describe("YAML", () => {
  it("the text that the mutations start from is valid", () => {
    assert.deepInclude(
      decodeConfig(Schema.Struct({ ...Config.fields, defaults: Schema.Unknown }), valid, "a.yaml").train,
      {
        lr: 2e-4,
        style: "linear",
        size: 12
      }
    )
  })

  it("arbitrary text", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), check), runs)
  })

  it("arbitrary pieces of YAML", () => {
    fc.assert(fc.property(pieced, check), { numRuns: 1500 })
  })

  it("mutations of a valid text", () => {
    fc.assert(fc.property(mutated(valid), check), { numRuns: 1500 })
  })

  it("JSON of any shape", () => {
    fc.assert(fc.property(fc.json({ maxDepth: 6 }), check), runs)
  })

  it("deep nesting of every sort", () => {
    const openers = [
      "[",
      "{",
      "- ",
      "? ",
      "a: ",
      "[a: ",
      "{a: ",
      "[? ",
      "- - ",
      "&a [",
      "!!seq [",
      "[[a]: ",
      "{[",
      '{"a": ',
      "a:\n "
    ]
    const deep = fc.tuple(
      fc.constantFrom(...openers),
      fc.constantFrom(3, 63, 64, 65, 100, 5000),
      fc.constantFrom("", "]", "}", "x", "]}")
    )
    fc.assert(
      fc.property(deep, ([opener, depth, closer]) => check(opener.repeat(depth) + closer.repeat(depth))),
      runs
    )
  })

  it("ever deeper blocks", () => {
    for (const depth of [10, 63, 64, 65, 300]) {
      check(Array.from({ length: depth }, (_, i) => `${" ".repeat(i)}k:\n`).join(""))
      check(Array.from({ length: depth }, (_, i) => `${" ".repeat(i)}-\n`).join(""))
    }
  })

  it("aliases and merges in any graph", () => {
    const reference = fc.nat(11)
    const item = fc.oneof(
      reference.map(n => `*a${n}`),
      fc.constant("1")
    )
    const node = fc.oneof(
      fc.array(item, { maxLength: 12 }).map(items => `[${items.join(", ")}]`),
      fc
        .array(fc.tuple(fc.constantFrom("x", "y", "<<"), item), { maxLength: 4 })
        .map(fields => `{${fields.map(([k, v]) => `${k}: ${v}`).join(", ")}}`),
      fc.array(reference, { maxLength: 4 }).map(list => `{<<: [${list.map(n => `*a${n}`).join(", ")}], x: 1}`),
      fc.constant("{x: 1, y: 2}")
    )
    const document = fc
      .array(node, { maxLength: 12 })
      .map(nodes => nodes.map((text, i) => `k${i}: &a${i} ${text}\n`).join(""))
    fc.assert(fc.property(document, check), { numRuns: 500 })
  })

  it("backward references only, so that most graphs are accepted, or are bombs", () => {
    const document = fc
      .array(fc.array(fc.nat(), { minLength: 1, maxLength: 10 }), { maxLength: 30 })
      .map(lists =>
        [
          "k0: &a0 {x: 1}\n",
          ...lists.map((list, i) => `k${i + 1}: &a${i + 1} [${list.map(n => `*a${n % (i + 1)}`).join(", ")}]\n`)
        ].join("")
      )
    fc.assert(fc.property(document, check), { numRuns: 200 })
  })

  it("numbers of any size and spelling", () => {
    const digits = fc.string({ unit: fc.constantFrom(..."0123456789"), maxLength: 400 })
    const number = fc
      .tuple(fc.constantFrom("", "-", "+", "0x", "0o", "."), digits, fc.constantFrom("", ".", "e", "e-", "E+"), digits)
      .map(parts => parts.join(""))
    fc.assert(
      fc.property(number, text => check(`train: {lr: ${text}}\nn: [${text}]`)),
      runs
    )
  })

  it("long lines, many lines, many keys, long words", () => {
    const n = 50_000
    const texts = [
      "x".repeat(n),
      "\n".repeat(n),
      "- x\n".repeat(n),
      "a ".repeat(n),
      '"'.repeat(n),
      "'".repeat(n),
      "#".repeat(n),
      " ".repeat(n)
    ]
    texts.push(
      "&a ".repeat(n),
      "!a ".repeat(n),
      "*a ".repeat(n),
      "? ".repeat(n),
      ": ".repeat(n),
      "%A b\n".repeat(n),
      "---\n".repeat(n)
    )
    texts.push(
      Array.from({ length: n / 5 }, (_, i) => `k${i}: v`).join("\n"),
      `[${"a: 1, ".repeat(n / 5)}]`,
      `"${"\\u0041".repeat(n)}"`
    )
    for (const text of texts) check(text)
  })
})

describe("configuration files of arbitrary bytes", () => {
  let folder = ""
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "fuzz-"))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("are a value, or an error with a place", () => {
    const path = join(folder, "fuzz.yaml")
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.tuple(fc.nat(valid.length), fc.uint8Array({ minLength: 1, maxLength: 4 })).map(([at, noise]) => {
        const file = Buffer.from(valid)
        file.set(noise.subarray(0, file.length - at), at)
        return file
      })
    )
    fc.assert(
      fc.property(bytes, bytes => {
        writeFileSync(path, bytes)
        attempt(path, () => loadConfig(Config, path))
      }),
      { numRuns: 200 }
    )
  })
})
