import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import { actionKey, itemFamily, itemKey, type KeyComponents, type KeyInput, keyText } from "../../src/pipeline/Key.ts"

const components: KeyComponents = {
  stage: "train",
  code: sha256("code"),
  engine: "ort/cpu/f32",
  parameters: '{"lr":0.0001}',
  inputs: [
    { port: "tokens", digest: sha256("tokens") },
    { port: "rows", name: "a", digest: sha256("a") },
    { port: "rows", name: "b", digest: sha256("b") }
  ]
}

/** Texts that look like pieces of a key's text: separators, line ends, quotes, whole lines, halves of surrogate pairs. */
const hostile = fc.oneof(
  fc.constantFrom(
    "",
    "a",
    "b",
    "a=b",
    'a["x"]',
    "x",
    "\n",
    '"',
    "\\",
    "a\nb",
    "=",
    "]",
    '","',
    "[",
    "\ud800",
    "\udfff",
    "\ufffd"
  ),
  fc
    .array(fc.constantFrom("a", "\n", '"', ",", "[", "]", "=", "engine ", "parameters ", "\\", "{}", "\ud800"), {
      maxLength: 6
    })
    .map(parts => parts.join(""))
)
const input: fc.Arbitrary<KeyInput> = fc.oneof(
  fc.record({ port: hostile, digest: hostile as fc.Arbitrary<Digest> }),
  fc.record({ port: hostile, name: hostile, digest: hostile as fc.Arbitrary<Digest> })
)
const anyComponents: fc.Arbitrary<KeyComponents> = fc.record({
  stage: hostile,
  code: hostile as fc.Arbitrary<Digest>,
  engine: hostile,
  parameters: hostile,
  inputs: fc.array(input, { maxLength: 3 })
})

/** Moves one piece of text from a component to its neighbour, as an injection would. */
const twoAlike = fc.tuple(anyComponents, anyComponents, fc.nat(63)).map(
  ([a, b, mask]) =>
    [
      a,
      {
        stage: mask & 1 ? a.stage : b.stage,
        code: mask & 2 ? a.code : b.code,
        engine: mask & 4 ? a.engine : b.engine,
        parameters: mask & 8 ? a.parameters : b.parameters,
        inputs: mask & 16 ? a.inputs : b.inputs
      }
    ] as const
)

const same = (a: KeyComponents, b: KeyComponents) => JSON.stringify(a) === JSON.stringify(b)

describe("action keys", () => {
  it("are these, for good: a change here makes all cached results invalid", () => {
    assert.strictEqual(actionKey(components), "79862f9a6b88a9b8ce0bd8aa3e6747554505e5bdd20986929781b62f25d8ffa9")
    assert.strictEqual(
      itemFamily({ ...components, output: "anchors" }),
      "dd87cfe6231cbd6cf029c010b21e21a8f34618a8446619fb4c9d6c1d54bef3eb"
    )
    assert.strictEqual(itemKey("chunk 7"), "ecd7c028d064a06f6c61f3d1c7288a0adb87c10b183e66c908f3e33683dc4a75")
  })

  it("every component changes the key", () => {
    const [tokens, a, b] = components.inputs as [KeyInput, KeyInput, KeyInput]
    const others: ReadonlyArray<Partial<KeyComponents>> = [
      { stage: "tran" },
      { code: sha256("other code") },
      { engine: "ort/cpu/bf16" },
      { parameters: '{"lr":0.0002}' },
      { inputs: [tokens, a] },
      { inputs: [tokens, b, a] },
      { inputs: [tokens, a, { ...b, digest: sha256("c") }] },
      { inputs: [tokens, a, { ...b, name: "c" }] },
      { inputs: [{ ...tokens, port: "ids" }, a, b] },
      { inputs: [{ ...tokens, name: "a" }, a, b] },
      { inputs: [] }
    ]
    const keys = new Set([components, ...others.map(other => ({ ...components, ...other }))].map(actionKey))
    assert.strictEqual(keys.size, others.length + 1)
  })

  it("nothing but the components is in them: labels, paths and times of the caller do not count", () => {
    const noisy = { ...components, label: "train/with_align", path: "/tmp/x", host: "node7", time: 1 }
    assert.strictEqual(actionKey(noisy), actionKey(components))
    const inputs = components.inputs.map(entry => ({ ...entry, label: "x", path: "/tmp/y" }))
    assert.strictEqual(actionKey({ ...components, inputs }), actionKey(components))
  })

  it("an absent name and an undefined one are the same, an empty one is another", () => {
    const key = (entry: KeyInput) => actionKey({ ...components, inputs: [entry] })
    const digest = sha256("x")
    assert.strictEqual(key({ port: "a", digest }), key({ port: "a", name: undefined, digest }))
    assert.notStrictEqual(key({ port: "a", digest }), key({ port: "a", name: "", digest }))
  })

  it("a port cannot pass itself off as a port with a name", () => {
    const key = (entry: KeyInput) => actionKey({ ...components, inputs: [entry] })
    const digest = sha256("x")
    assert.notStrictEqual(key({ port: 'a["x"]', digest }), key({ port: "a", name: "x", digest }))
  })

  it("a line break in one component cannot stand for the next one", () => {
    const forged = { ...components, engine: `none\nparameters ${components.parameters}`, parameters: "{}" }
    const other = { ...components, engine: "none", parameters: `${components.parameters}\nparameters {}` }
    assert.notStrictEqual(actionKey(forged), actionKey(other))
  })

  it("different components never share their text, nor their key", () => {
    fc.assert(
      fc.property(twoAlike, ([a, b]) => {
        assert.strictEqual(keyText(a) === keyText(b), same(a, b))
        assert.strictEqual(actionKey(a) === actionKey(b), same(a, b))
      }),
      { numRuns: 2000 }
    )
  })
})

describe("item keys", () => {
  it("the family depends on the output and on every component", () => {
    const family = (other: Partial<KeyComponents & { output: string }>) =>
      itemFamily({ ...components, output: "a", ...other })
    const families = [{}, { output: "b" }, { engine: "none" }, { parameters: "{}" }, { inputs: [] }].map(family)
    assert.strictEqual(new Set(families).size, families.length)
  })

  it("different outputs or components never share a family", () => {
    fc.assert(
      fc.property(twoAlike, hostile, hostile, ([a, b], outputA, outputB) => {
        const equal = same(a, b) && outputA === outputB
        const family = itemFamily({ ...a, output: outputA })
        assert.strictEqual(family === itemFamily({ ...b, output: outputB }), equal)
        assert.notStrictEqual(family, actionKey(a))
      }),
      { numRuns: 1000 }
    )
  })

  it("different materials never share a key", () => {
    fc.assert(fc.property(hostile, hostile, (a, b) => assert.strictEqual(itemKey(a) === itemKey(b), a === b)))
  })

  it("the same material has the same key in every family, so that equal sets have equal digests", () => {
    assert.strictEqual(itemKey.length, 1)
    assert.notStrictEqual(itemKey("x"), sha256("x"))
  })
})
