import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { decodeConfig, loadConfig, parseYaml } from "../../src/config/configFile.ts"
import { refusing } from "../../src/config/refusing.ts"
import * as Origin from "../../src/pipeline/Origin.ts"
import { configError, lines, rendered } from "../support/configErrors.ts"

const Train = Schema.Struct({
  lr: Schema.Finite.check(Schema.isGreaterThan(0)),
  steps: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))),
  style: Schema.optionalKey(Schema.Literals(["constant", "cosine", "linear"])),
  maxSeqLen: Schema.optionalKey(Schema.Int),
  shuffle: Schema.optionalKey(Schema.Boolean),
  layers: Schema.optionalKey(Schema.Array(Schema.Int)),
  name: Schema.optionalKey(Schema.String)
})
const Config = Schema.Struct({ train: Train, defaults: Schema.optionalKey(Schema.Unknown) })

const decode = (...text: ReadonlyArray<string>) => decodeConfig(Config, lines(...text), "configs/a.yaml")

describe("values", () => {
  it("2e-4, 1e6, .5, 1., +1 and 0x10 are numbers", () => {
    assert.deepStrictEqual(parseYaml("[2e-4, 1e6, .5, 1., +1, -1E-3, 0x10, 0o17, 0123, .inf]", "a.yaml"), [
      2e-4,
      1e6,
      0.5,
      1,
      1,
      -1e-3,
      16,
      15,
      123,
      Infinity
    ])
  })

  it("yes, no, on, dates, versions and 1_000 are texts", () => {
    const texts = ["yes", "no", "on", "2024-01-01", "1.2.3", "1_000", "12:30:45", "0b11", "1e"]
    assert.deepStrictEqual(parseYaml(`[${texts.join(", ")}]`, "a.yaml"), texts)
  })

  it("a float keeps being one through anchors and merge keys", () => {
    const config = decode("defaults: &defaults", "  lr: 2e-4", "train:", "  <<: *defaults")
    assert.strictEqual(config.train.lr, 2e-4)
  })

  it("keys of the mapping itself win over merged ones, and earlier merged ones over later", () => {
    const text = lines(
      "a: &a {x: 1, y: 1}",
      "b: &b {x: 2, z: 2}",
      "c: {y: 3, <<: [*a, *b]}",
      "d: {<<: *b, z: 4}",
      "e: &e {<<: *a, w: 5}",
      "f: {<<: *e}"
    )
    const value = parseYaml(text, "a.yaml") as Record<string, unknown>
    assert.deepStrictEqual(value["c"], { x: 1, y: 3, z: 2 })
    assert.deepStrictEqual(value["d"], { x: 2, z: 4 })
    assert.deepStrictEqual(value["f"], { x: 1, y: 1, w: 5 })
  })

  it("a byte order mark and Windows line ends change neither values nor positions", () => {
    assert.deepStrictEqual(parseYaml("\uFEFFa: 1\r\nb: 2\r\n", "a.yaml"), { a: 1, b: 2 })
    assert.strictEqual(configError(() => parseYaml("\uFEFFa: *x", "a.yaml")).at, "a.yaml:1:4")
    assert.strictEqual(configError(() => parseYaml("a: 1\r\nb: *x", "a.yaml")).at, "a.yaml:2:4")
  })

  it("JSON is YAML: what JSON.stringify writes is read as the same value", () => {
    const key = fc
      .string({ maxLength: 12 })
      .filter(key => key !== "__proto__" && !/[\u007f-\u009f\ufffe\uffff]/.test(key))
    const text = fc
      .string({ unit: "grapheme", maxLength: 20 })
      .filter(text => !/[\u007f-\u009f\ufffe\uffff]/.test(text))
    const { value } = fc.letrec<{ value: unknown }>(tie => ({
      value: fc.oneof(
        { depthSize: "small", withCrossShrink: true },
        fc.constantFrom(null, true, false),
        fc.maxSafeInteger(),
        fc.double({ noNaN: true, noDefaultInfinity: true }).filter(n => !Number.isInteger(n)),
        text,
        fc.array(tie("value"), { maxLength: 4 }),
        fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true })
      )
    }))
    fc.assert(fc.property(value, value => assert.deepStrictEqual(parseYaml(JSON.stringify(value), "a.json"), value)))
  })
})

describe("problems of YAML", () => {
  const problem = (...text: ReadonlyArray<string>) => rendered(() => parseYaml(lines(...text), "a.yaml"))

  it("a repeated key names both places", () => {
    assert.strictEqual(
      problem("train:", "  lr: 1", "  lr: 2"),
      lines(
        'a.yaml:3:3: the key "lr" is there twice, first in line 2',
        "  3 |   lr: 2",
        "    |   ^",
        "  remove one of the two"
      )
    )
  })

  it("a repeated key is one in any spelling, and << may stand once", () => {
    assert.match(problem('a: 1\n"a": 2'), /^a\.yaml:2:1: the key "a" is there twice/)
    assert.match(problem("a: &a {x: 1}\nb: {<<: *a, <<: *a}"), /^a\.yaml:2:13: the key "<<" is there twice/)
  })

  it("all repeated keys and bad aliases of a file are reported, by line", () => {
    const error = configError(() =>
      parseYaml(lines("a: 1", "a: 2", "b: *nowhere", "c: 1", "c: 99999999999999999999"), "a.yaml")
    )
    const places = [error.at, ...Array.from(error.message.matchAll(/^a\.yaml:\d+:\d+/gm), ([place]) => place)]
    assert.deepStrictEqual(places, ["a.yaml:2:1", "a.yaml:3:4", "a.yaml:5:1", "a.yaml:5:4"])
  })

  it("an anchor that contains itself is an error at the alias", () => {
    assert.match(problem("a: &x [*x]"), /^a\.yaml:1:8: the anchor &x contains itself/)
    assert.match(problem("a: &x {b: {<<: *x}}"), /^a\.yaml:1:16: the anchor &x contains itself/)
  })

  it("aliases that multiply are an error where they pass the limit", () => {
    const levels = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(",")}]`)
    assert.match(problem("a0: &a0 [1,1,1,1,1,1,1,1,1,1]", ...levels), /^a\.yaml:5:\d+: .* more than 100000 values/)
  })

  it("a long text that aliases repeat is an error, too", () => {
    const text = `a: &a "${"x".repeat(100_000)}"\nb: [${Array(100).fill("*a").join(",")}]`
    assert.match(problem(text), /^a\.yaml:2:\d+: .* more than 100000 values/)
  })

  it("merge keys that multiply are an error", () => {
    const fields = Array.from({ length: 200 }, (_, i) => `k${i}: 1`).join(", ")
    const uses = Array.from({ length: 60 }, (_, i) => `u${i}: {<<: *a}`)
    assert.match(problem(`a: &a {${fields}}`, ...uses), /^a\.yaml:52:\d+: .* more than 10000 keys/)
  })

  it("nesting is limited, through aliases as well", () => {
    assert.match(problem("[".repeat(65) + "]".repeat(65)), /nested deeper than 64 levels/)
    assert.isArray(parseYaml("[".repeat(64) + "]".repeat(64), "a.yaml"))
    assert.match(problem("[".repeat(100_000)), /^a\.yaml:1:\d+: this is not valid YAML: nesting exceeded/)
    const chain = Array.from({ length: 80 }, (_, i) => `a${i + 1}: &a${i + 1} {b: *a${i}}`)
    assert.match(problem("a0: &a0 1", ...chain), /^a\.yaml:65:\d+: .*nested deeper than 64 levels/)
  })

  it("several documents are an error at the second", () => {
    assert.strictEqual(configError(() => parseYaml("a: 1\n---\nb: 2\n", "a.yaml")).at, "a.yaml:2:1")
    assert.strictEqual(configError(() => parseYaml("---\na: 1\n...\n---\n", "a.yaml")).at, "a.yaml:4:1")
  })

  it("an empty document is an error", () => {
    for (const text of ["", "\n\n", "# nothing\n", "\uFEFF"])
      assert.match(problem(text), /^a\.yaml:1:1: the document is empty/)
  })

  it("a text larger than the limit is an error", () => {
    assert.match(problem(`a: ${"x".repeat(1_048_576)}`), /^a\.yaml:1:1: a configuration may have 1048576 bytes/)
  })

  it("keys that would become other keys are errors", () => {
    assert.match(problem("1.0: a"), /^a\.yaml:1:1: a key must be a text, not 1\n[^]*put quotes around it: "1\.0"/)
    assert.match(problem("true: a"), /a key must be a text, not true/)
    assert.match(problem("? [a]\n: b"), /^a\.yaml:1:3: a key must be a text, not a list/)
    assert.match(problem("a: &x 1\n*x : 2"), /^a\.yaml:2:1: a key must be a text, not an alias/)
    assert.match(problem("!!str a: 1"), /a key cannot have a tag/)
    assert.deepStrictEqual(parseYaml('16: a\n"1.0": b\n"<<": c', "a.yaml"), { 16: "a", "1.0": "b", "<<": "c" })
  })

  it("__proto__ is not a key, and changes no prototype", () => {
    for (const text of ["__proto__: {x: 1}", '"__proto__": {x: 1}', "a: &a {__proto__: {x: 1}}\nb: {<<: *a}"]) {
      assert.match(problem(text), /__proto__ cannot be a key/)
    }
    assert.isUndefined(({} as { x?: unknown }).x)
  })

  it("numbers that cannot be held are errors, quoted ones are texts", () => {
    assert.match(problem("a: 9007199254740993"), /^a\.yaml:1:4: the integer 9007199254740993 cannot be held exactly/)
    assert.match(problem("a: 1e999"), /^a\.yaml:1:4: the number 1e999 is too large/)
    assert.deepStrictEqual(parseYaml('["9007199254740993", 9007199254740991, 1e300]', "a"), [
      "9007199254740993",
      9007199254740991,
      1e300
    ])
  })

  it("a wrong merge and an unknown tag are errors at their places", () => {
    assert.match(problem("a:", "  <<: 3"), /^a\.yaml:2:3: << takes a mapping or a list of mappings/)
    assert.match(problem("a: !!js/function x"), /^a\.yaml:1:4: this is not valid YAML: unknown scalar tag/)
  })

  it("an alias without anchor proposes the nearest", () => {
    assert.match(
      problem("a: &defaults 1", "b: *default"),
      /^a\.yaml:2:4: no anchor &default [^]*did you mean \*defaults\?/
    )
  })

  it("a tab and a wrong indentation are errors at their places", () => {
    assert.match(problem("a:", "\tb: 1"), /^a\.yaml:2:1: this is not valid YAML/)
    assert.match(problem("a: b: c"), /^a\.yaml:1:5: this is not valid YAML/)
  })

  it("what cannot be seen is shown as a sign of one column", () => {
    const error = problem('"\u202e": *x')
    assert.notMatch(error, /\u202e/)
    assert.include(error, lines('  1 | "·": *x', "    |      ^"))
  })

  it("a long line is shown around the place", () => {
    const error = problem(`a: [${"1, ".repeat(200)}*x, ${"1, ".repeat(200)}]`)
    const [, line, caret] = error.split("\n")
    assert.isBelow(line!.length, 110)
    assert.strictEqual(line![caret!.indexOf("^")], "*")
  })
})

describe("problems of a schema", () => {
  it("every problem of a file is in the one error, by line, with a line of the file and a caret", () => {
    assert.strictEqual(
      rendered(() =>
        decode(
          "train:",
          "  steps: 1.5",
          "  lr: fast",
          '  "styl": cosine   # in quotes',
          "  layers: [1, two]",
          "tran: {}"
        )
      ),
      lines(
        "configs/a.yaml:2:10: train.steps must be an integer between 1 and 1000, got 1.5",
        "  2 |   steps: 1.5",
        "    |          ^",
        'configs/a.yaml:3:7: train.lr must be a number greater than 0, got "fast"',
        "  3 |   lr: fast",
        "    |       ^",
        "configs/a.yaml:4:3: train.styl is not known",
        '  4 |   "styl": cosine   # in quotes',
        "    |   ^",
        "  did you mean style?",
        'configs/a.yaml:5:15: train.layers[1] must be an integer, got "two"',
        "  5 |   layers: [1, two]",
        "    |               ^",
        "configs/a.yaml:6:1: tran is not known",
        "  6 | tran: {}",
        "    | ^",
        "  did you mean train?"
      )
    )
  })

  it("problems of YAML that leave a value are reported with those of the schema", () => {
    const error = configError(() => decode("train:", "  lr: 1", "  lr: 2", "  stepps: 3"))
    assert.strictEqual(error.at, "configs/a.yaml:3:3")
    assert.match(error.message, /^configs\/a\.yaml:4:3: train\.stepps is not known/m)
  })

  it("one problem keeps its advice apart", () => {
    const error = configError(() => decode("train: {lr: 1, max_seq_len: 5}"))
    assert.strictEqual(error.at, "configs/a.yaml:1:16")
    assert.strictEqual(error.advice, "did you mean maxSeqLen?")
  })

  it("an unknown key that resembles nothing is told what is known", () => {
    const error = configError(() => decode("train: {lr: 1, zebra: 5}"))
    assert.strictEqual(error.advice, "known here: lr, steps, style, maxSeqLen, shuffle, layers, name")
  })

  it("a missing key is reported at the key of what lacks it, with what it must be", () => {
    const missing = configError(() => decode("", "train:", "  steps: 5"))
    assert.strictEqual(missing.at, "configs/a.yaml:2:1")
    assert.match(missing.message, /^train\.lr is missing; it must be a number greater than 0\n/)
    assert.match(configError(() => decode("defaults: 1")).message, /^train is missing; it must be a mapping\n/)
  })

  it("a missing key whose schema is reached through a transformation is told what to write", () => {
    const config = Schema.Struct({ train: refusing(Train, { fp8: "not implemented" }) })
    assert.match(
      configError(() => decodeConfig(config, "{}", "configs/a.yaml")).message,
      /^train is missing; it must be a mapping(?:\n|$)/
    )
  })

  it("a quoted number is a text and an error, also through a merge key; both places are shown", () => {
    assert.strictEqual(
      rendered(() => decode("defaults: &d", '  lr: "2e-4"', "train:", "  <<: *d")),
      lines(
        'configs/a.yaml:2:7: train.lr must be a number greater than 0, got "2e-4"',
        '  2 |   lr: "2e-4"',
        "    |       ^",
        "  4 |   <<: *d",
        "    |       ^ used here",
        "  write 2e-4 without quotes"
      )
    )
  })

  it("an aliased value is shown where it is written and where it is used", () => {
    const error = configError(() => decode("defaults: &rate -1", "train:", "  lr: *rate"))
    assert.strictEqual(error.at, "configs/a.yaml:1:17")
    assert.include(error.message, lines("  3 |   lr: *rate", "    |       ^ used here"))
  })

  it("the place of use is the outermost alias: of a list of merges, and of anchors inside anchors", () => {
    const used = (...text: ReadonlyArray<string>) => {
      const { at, message } = configError(() => decode(...text))
      return [at, /\n {2}(\d+) \| .*\n +\| ( *)\^ used here/.exec(message)?.slice(1)]
    }
    assert.deepStrictEqual(used("defaults: &d", "  lr: x", "train:", "  <<: [*d]"), [
      "configs/a.yaml:2:7",
      ["4", " ".repeat(7)]
    ])
    assert.deepStrictEqual(used("defaults:", "  - &x {lr: x}", "  - &y", "    <<: *x", "train: *y"), [
      "configs/a.yaml:2:13",
      ["5", " ".repeat(7)]
    ])
    assert.deepStrictEqual(used("defaults:", "  - &x {lr: x}", "  - &both [*x]", "train: {<<: *both}"), [
      "configs/a.yaml:2:13",
      ["4", " ".repeat(12)]
    ])
    assert.deepStrictEqual(used("train:", "  <<: {lr: x}"), ["configs/a.yaml:2:12", undefined])
  })

  it("advice follows from what was written", () => {
    const advice = (field: string) => configError(() => decode("train:", "  lr: 1", `  ${field}`)).advice
    assert.strictEqual(advice("shuffle: yes"), "write true")
    assert.strictEqual(advice("shuffle: off"), "write false")
    assert.strictEqual(advice("style: cosin"), "did you mean cosine?")
    assert.strictEqual(advice("name: 5"), 'for a text, put it in quotes: "5"')
  })

  it("a value that is left out is shown at its key, a block of text as well", () => {
    assert.strictEqual(configError(() => decode("train:", "  lr:", "  steps: 1")).at, "configs/a.yaml:2:3")
    assert.strictEqual(configError(() => decode("train:", "  lr: |", "    fast")).at, "configs/a.yaml:2:3")
  })

  it("a document that is no mapping is an error at its beginning", () => {
    assert.match(
      rendered(() => decode("", "- 1")),
      /^configs\/a\.yaml:2:1: the file must be a mapping, got \[1\]/
    )
    assert.match(
      rendered(() => decode("~")),
      /^configs\/a\.yaml:1:1: the file must be a mapping, got null/
    )
  })

  it("alternatives are named together, and the tag of a record chooses its alternative", () => {
    const Optimizer = Schema.Union([
      Schema.Struct({ type: Schema.Literal("adamw"), beta: Schema.Finite }),
      Schema.Struct({ type: Schema.Literal("sgd"), momentum: Schema.Finite })
    ])
    const schema = Schema.Struct({ optimizer: Optimizer, rate: Schema.Union([Schema.Finite, Schema.Literal("auto")]) })
    const message = (text: string) => configError(() => decodeConfig(schema, text, "a.yaml")).message.split("\n")[0]
    assert.strictEqual(
      message("{rate: 1, optimizer: {type: sgd, momentum: x}}"),
      'optimizer.momentum must be a number, got "x"'
    )
    assert.strictEqual(
      message("{rate: 1, optimizer: {type: adam}}"),
      'optimizer must be a mapping with type "adamw" or a mapping with type "sgd", got {"type":"adam"}'
    )
    assert.strictEqual(
      message("{optimizer: {type: sgd, momentum: 1}, rate: off}"),
      'rate must be a number or "auto", got "off"'
    )
  })

  it("of several alternatives without a tag, the one that fits best is reported", () => {
    const schema = Schema.Struct({
      size: Schema.Union([
        Schema.Struct({ width: Schema.Finite, height: Schema.Finite, depth: Schema.Finite }),
        Schema.Struct({ side: Schema.Finite }),
        Schema.Struct({ radius: Schema.Finite, unit: Schema.String })
      ])
    })
    const { message } = configError(() => decodeConfig(schema, "size: {side: x}", "a.yaml"))
    assert.strictEqual(message.split("\n")[0], 'size.side must be a number, got "x"')
  })

  it("a message of the schema's author is kept", () => {
    const schema = Schema.Struct({ a: Schema.Boolean, b: Schema.Boolean }).check(
      Schema.makeFilter(({ a, b }) => (a && b ? "a and b exclude each other" : undefined))
    )
    assert.match(
      rendered(() => decodeConfig(schema, "a: true\nb: true", "a.yaml")),
      /^a\.yaml:1:1: the file: a and b exclude each other/
    )
  })

  it("a value of any size is shown in one short line", () => {
    const error = configError(() => decode(`train: {lr: [${"1, ".repeat(30_000)}]}`))
    assert.isBelow(error.message.split("\n")[0]!.length, 140)
  })

  it("a file with thousands of problems has a message of bearable length", () => {
    const error = configError(() => decode("train: {lr: 1}", ...Array.from({ length: 3000 }, (_, i) => `k${i}: 1`)))
    assert.match(error.message, /\nand 2900 more problems$/)
  })
})

describe("origins", () => {
  const text = lines("defaults: &d", "  lr: 2e-4", "  layers: [1, 2]", "train:", "  <<: *d", "  steps: 7")

  it("objects of the decoded value remember where their fields are written", () => {
    const { train } = decodeConfig(Config, text, "configs/a.yaml")
    assert.include(Origin.find(train, ["steps"]), { file: "configs/a.yaml", line: 6, column: 10 })
    assert.include(Origin.find(train, ["steps"], "key"), { line: 6, column: 3 })
    assert.include(Origin.find(train, ["lr"]), { line: 2, column: 7 })
    assert.include(Origin.find(train, ["layers", 1]), { line: 3, column: 15 })
    assert.include(Origin.find({ config: { train } }, ["config", "train", "steps"]), { line: 6, column: 10 })
    assert.include(Origin.find(train.layers, [0]), { line: 3, column: 12 })
  })

  it("what is not there is at the key of what is around it", () => {
    const { train } = decodeConfig(Config, text, "configs/a.yaml")
    assert.include(Origin.find(train, ["style"]), { line: 4, column: 1 })
    assert.include(Origin.find(train, ["layers", 7]), { line: 3, column: 3 })
  })

  it("values that a schema changes on the way keep the place of what they were made of", () => {
    const schema = Schema.Struct({
      point: Schema.Struct({ x: Schema.FiniteFromString }).pipe(Schema.encodeKeys({ x: "x" })),
      made: Schema.Struct({ a: Schema.Int }).pipe(Schema.withDecodingDefaultKey(Effect.succeed({ a: 1 })))
    })
    const value = decodeConfig(schema, 'point:\n  x: "5"', "a.yaml")
    assert.strictEqual(value.point.x, 5)
    assert.include(Origin.find(value, ["point", "x"]), { line: 2, column: 6 })
    assert.include(Origin.find(value, ["made", "a"]), { line: 1, column: 1 })
  })

  it("values that a schema moves to another key keep their place", () => {
    const schema = Schema.Struct({ renamed: Schema.Unknown }).pipe(Schema.encodeKeys({ renamed: "name_in_file" }))
    const { renamed } = decodeConfig(schema, "name_in_file:\n  x: 5", "a.yaml")
    assert.include(Origin.find(renamed, ["x"]), { line: 2, column: 6 })
  })

  it("parseYaml records origins as well", () => {
    const value = parseYaml("a:\n  - b: 1\n", "x.yaml")
    assert.include(Origin.find(value, ["a", 0, "b"]), { file: "x.yaml", line: 2, column: 8 })
  })

  it("every path of any value has a place whose text is that value", () => {
    const leaf = fc.oneof(
      fc.integer(),
      fc.stringMatching(/^[a-z]{1,8}$/).map(text => `t${text}`)
    )
    const { value } = fc.letrec<{ value: unknown }>(tie => ({
      value: fc.oneof(
        { depthSize: "small" },
        leaf,
        fc.array(tie("value"), { minLength: 1, maxLength: 3 }),
        fc.dictionary(fc.stringMatching(/^k[a-z]{1,5}$/), tie("value"), {
          minKeys: 1,
          maxKeys: 3,
          noNullPrototype: true
        })
      )
    }))
    const pretty = fc.constantFrom(0, 2)
    fc.assert(
      fc.property(value, pretty, (value, indent) => {
        const text = JSON.stringify({ root: value }, null, indent)
        const source = text.split("\n")
        const read = parseYaml(text, "a.json")
        const visit = (below: unknown, path: ReadonlyArray<PropertyKey>) => {
          if (typeof below === "object" && below !== null) {
            for (const [key, item] of Object.entries(below))
              visit(item, [...path, Array.isArray(below) ? Number(key) : key])
            return
          }
          const { line, column } = Origin.find(read, path)!
          assert.isTrue(source[line - 1]!.slice(column - 1).startsWith(JSON.stringify(below)))
        }
        visit(read, [])
      })
    )
  })

  it("through any aliases and merge keys, the place of a value is where that value is written", () => {
    const key = fc.constantFrom("x", "y", "z")
    const number = fc.constant("#")
    const alias = fc.nat().map(n => `*${n}`)
    const field = fc.oneof(
      fc.tuple(key, fc.oneof(number, alias)),
      fc.tuple(
        fc.constant("<<"),
        fc.oneof(
          alias,
          fc.array(alias, { maxLength: 3 }).map(list => `[${list.join(", ")}]`)
        )
      )
    )
    const mapping = fc.uniqueArray(field, { selector: ([key]) => key, maxLength: 4 })
    const document = fc.array(mapping, { minLength: 1, maxLength: 8 }).map(mappings => {
      let next = 1000
      const mapped = mappings.map((fields, i) => {
        const text = fields.map(([key, value]) => `${key}: ${value}`).join(", ")
        // Aliases go to earlier anchors only; each number that is written is another one.
        return `m${i}: &a${i} {${text.replaceAll(/\*(\d+)/g, (_, n) => (i === 0 ? "{}" : `*a${Number(n) % i}`)).replaceAll("#", () => String(next++))}}`
      })
      return mapped.join("\n")
    })
    fc.assert(
      fc.property(document, text => {
        const source = text.split("\n")
        const read = parseYaml(text, "a.yaml")
        const visit = (below: unknown, path: ReadonlyArray<string>) => {
          if (typeof below === "object" && below !== null) {
            for (const [key, item] of Object.entries(below)) visit(item, [...path, key])
            return
          }
          const { line, column } = Origin.find(read, path)!
          assert.strictEqual(source[line - 1]!.slice(column - 1, column + 3), String(below))
        }
        visit(read, [])
      }),
      { numRuns: 500 }
    )
  })
})

describe("files", () => {
  let folder = ""
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "config-"))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string, content: string | Uint8Array) => {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }

  it("a file is decoded", () => {
    assert.deepStrictEqual(loadConfig(Config, file("good.yaml", "train: {lr: .5}\n")), { train: { lr: 0.5 } })
  })

  it("a file that does not exist proposes the nearest of its directory", () => {
    const path = file("compare_50x.yaml", "a: 1")
    const error = configError(() => loadConfig(Config, join(folder, "compare50x.yml")))
    assert.strictEqual(error.at, join(folder, "compare50x.yml"))
    assert.strictEqual(error.message, "there is no such file")
    assert.strictEqual(error.advice, `did you mean ${path}?`)
    assert.isUndefined(configError(() => loadConfig(Config, join(folder, "no/such/folder.yaml"))).advice)
  })

  it("a directory and a device are errors", () => {
    mkdirSync(join(folder, "directory"))
    assert.match(configError(() => loadConfig(Config, join(folder, "directory"))).message, /it is a directory/)
    assert.match(configError(() => loadConfig(Config, "/dev/zero")).message, /it is a device/)
  })

  it("a file beyond the limit is refused before it is read", () => {
    const error = configError(() => loadConfig(Config, file("large.yaml", "#".repeat(1_048_577))))
    assert.match(error.message, /may have 1048576 bytes, this file has 1048577/)
  })

  it("bytes that are not UTF-8 are an error at their place", () => {
    const bytes = Buffer.concat([Buffer.from("train:\n  näme: "), Buffer.from([0xff, 0x41])])
    const error = configError(() => loadConfig(Config, file("latin.yaml", bytes)))
    assert.strictEqual(error.at, `${join(folder, "latin.yaml")}:2:9`)
    assert.match(error.message, /byte 16 is not UTF-8/)
  })
})
