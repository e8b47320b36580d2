import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { canonical, fromBytes, isDigest, sha256, short, toBytes } from "../../src/pipeline/Digest.ts"

/** JSON values; numbers without -0, which JSON does not tell from 0. */
const json = fc.jsonValue({ maxDepth: 5, noUnicodeString: false }).filter(value => !hasNegativeZero(value))

const hasNegativeZero = (value: unknown): boolean =>
  Object.is(value, -0) || (typeof value === "object" && value !== null && Object.values(value).some(hasNegativeZero))

/** The same value with the keys of all objects in reverse order of insertion. */
const reversed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== "object" || value === null) return value
  const copy: Record<string, unknown> = {}
  for (const [key, field] of Object.entries(value).reverse()) {
    Object.defineProperty(copy, key, { value: reversed(field), enumerable: true, configurable: true, writable: true })
  }
  return copy
}

describe("canonical", () => {
  it("is JSON of the same value", () => {
    fc.assert(
      fc.property(json, value => assert.deepEqual(JSON.parse(canonical(value)), value)),
      { numRuns: 500 }
    )
  })

  it("is a fixed point: the text of what it parses to is itself", () => {
    fc.assert(
      fc.property(json, value => {
        const text = canonical(value)
        assert.strictEqual(canonical(JSON.parse(text)), text)
      })
    )
  })

  it("does not depend on the order of keys", () => {
    fc.assert(fc.property(json, value => assert.strictEqual(canonical(reversed(value)), canonical(value))))
  })

  it("differs for different values", () => {
    fc.assert(
      fc.property(json, json, (a, b) => {
        const equal = JSON.stringify(JSON.parse(canonical(a))) === JSON.stringify(JSON.parse(canonical(b)))
        assert.strictEqual(canonical(a) === canonical(b), equal)
      })
    )
  })

  it("has no blanks, one spelling per number, sorted keys", () => {
    assert.strictEqual(
      canonical({ b: [1, 2.5, 1e21, 1e-7, -0], a: { z: null, y: "ü\n" } }),
      '{"a":{"y":"ü\\n","z":null},"b":[1,2.5,1e+21,1e-7,0]}'
    )
    assert.strictEqual(canonical({ 10: 1, 9: 1, é: 1, Z: 1, a: 1 }), '{"10":1,"9":1,"Z":1,"a":1,"é":1}')
  })

  it("an undefined field is the same as none; fields of prototypes do not count", () => {
    assert.strictEqual(canonical({ a: 1, b: undefined }), '{"a":1}')
    const bare = Object.assign(Object.create(null) as object, { a: 1 })
    assert.strictEqual(canonical(bare), '{"a":1}')
    assert.strictEqual(canonical(JSON.parse('{"__proto__":{"a":1}}')), '{"__proto__":{"a":1}}')
  })

  it("halves of surrogate pairs stay apart", () => {
    assert.notStrictEqual(sha256(canonical("\ud800")), sha256(canonical("\udfff")))
  })

  it("what JSON cannot hold is an error that names its path", () => {
    const cyclic: Record<string, unknown> = {}
    cyclic["self"] = cyclic
    const deep = Array.from({ length: 70 }).reduce<unknown>(below => ({ a: below }), 1)
    const cases: ReadonlyArray<readonly [value: unknown, message: RegExp]> = [
      [NaN, /^the value: NaN is not a finite number$/],
      [{ a: { b: [1, Infinity] } }, /^a\.b\[1\]: Infinity is not a finite number$/],
      [{ a: [undefined] }, /^a\[0\]: undefined has no JSON form$/],
      [{ a: () => 1 }, /^a: a function has no JSON form$/],
      [{ a: 1n }, /^a: a bigint has no JSON form$/],
      [{ a: Symbol("s") }, /^a: a symbol has no JSON form$/],
      [{ a: new Date(0) }, /^a: only plain objects have a JSON form$/],
      [{ a: new Map() }, /^a: only plain objects have a JSON form$/],
      [cyclic, /^self: the value holds itself$/],
      [deep, /^a\.a\.a[.a]{0,60}…: nested deeper than 64 levels$/],
      [undefined, /^the value: undefined has no JSON form$/]
    ]
    for (const [value, message] of cases) assert.throws(() => canonical(value), TypeError, message)
  })

  it("a hole in a list is an error, as it is no value", () => {
    const list = [1]
    list[2] = 3
    assert.throws(() => canonical({ list }), TypeError, /^list\[1\]: undefined has no JSON form$/)
  })
})

describe("digests", () => {
  it("are those of SHA-256", () => {
    assert.strictEqual(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert.strictEqual(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert.strictEqual(sha256(new Uint8Array([0x61, 0x62, 0x63])), sha256("abc"))
  })

  it("come back from bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes => {
        const digest = fromBytes(bytes)
        assert.isTrue(isDigest(digest))
        assert.deepStrictEqual(new Uint8Array(toBytes(digest)), bytes)
        assert.strictEqual(short(digest), digest.slice(0, 12))
      })
    )
  })

  it("64 lower-case hexadecimal digits are one, anything else is none", () => {
    const digest = sha256("x")
    assert.isTrue(isDigest(digest))
    for (const text of [
      digest.toUpperCase(),
      digest.slice(1),
      `${digest}0`,
      `${digest}\n`,
      "",
      `g${digest.slice(1)}`
    ]) {
      assert.isFalse(isDigest(text))
    }
  })
})
