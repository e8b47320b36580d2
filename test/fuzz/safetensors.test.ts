/** Whatever bytes claim to be a safetensors file: a header that is consistent, or a SafetensorsError with a place. */
import { Result } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { dtypeBits, encodeHeader, SafetensorsError } from "../../src/formats/safetensors.ts"
import { parseHeader } from "../support/parseHeader.ts"

const encoded = encodeHeader(
  [
    { name: "model.embed.weight", dtype: "BF16", shape: [4, 2] },
    { name: "model.norm", dtype: "F32", shape: [3] },
    { name: "ids", dtype: "I64", shape: [] },
    { name: "empty", dtype: "U8", shape: [0, 7] }
  ],
  [
    ["format", "pt"],
    ["note", 'quotes " and é']
  ]
)
const valid = Buffer.concat([encoded.bytes, Buffer.alloc(encoded.size - encoded.bytes.length)])

const withPrefix = (json: Uint8Array, dataBytes: number) => {
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([prefix, json, Buffer.alloc(dataBytes)])
}

const check = (bytes: Uint8Array, size = bytes.length) => {
  const result = parseHeader(bytes, size, "fuzz.safetensors")
  if (Result.isFailure(result)) {
    const error = result.failure
    assert.instanceOf(error, SafetensorsError)
    assert.isTrue(error.message.startsWith("fuzz.safetensors: not a valid safetensors file: "), error.message)
    assert.isTrue(error.message.endsWith(` (at byte ${error.offset})`), error.message)
    assert.isTrue(error.offset >= 0 && error.offset <= size, error.message)
    assert.isTrue(error.message.isWellFormed())
    assert.isBelow(error.message.length, 1200)
    assert.notMatch(error.message, /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]|undefined|node_modules|\.m?[jt]s:\d/)
    return
  }
  // What was accepted covers the file, each byte once.
  const { tensors, dataOffset } = result.success
  let covered = 0
  for (const { dtype, shape, offset, size: bytes } of tensors.values()) {
    assert.strictEqual(bytes, (shape.reduce((a, b) => a * b, 1) * dtypeBits[dtype]) / 8 || 0)
    assert.isTrue(offset >= dataOffset && offset + bytes <= size)
    covered += bytes
  }
  assert.strictEqual(dataOffset + covered, size)
}

const pieces = [
  ...'{}[]:,"\\ 0-1.e\n\t\u0000é',
  '"dtype"',
  '"shape"',
  '"data_offsets"',
  '"__metadata__"',
  '"__proto__"',
  '"F32"',
  '"U8"',
  '"F4"',
  '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}',
  '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}',
  "[0,4]",
  "9007199254740993",
  "1e999",
  "\\u0000",
  "\\ud800",
  "true",
  "null",
  "\u202e"
]

describe("safetensors", () => {
  it("the file that the mutations start from is valid", () => {
    assert.isTrue(Result.isSuccess(parseHeader(valid, valid.length, "f")))
  })

  it("arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), bytes => check(bytes)),
      { numRuns: 500 }
    )
  })

  it("arbitrary bytes behind a right length", () => {
    const json = fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.concat([Buffer.from("{"), bytes]))
    fc.assert(
      fc.property(json, fc.nat(40), (json, data) => check(withPrefix(json, data))),
      { numRuns: 500 }
    )
  })

  it("arbitrary pieces of a header", () => {
    const json = fc
      .array(fc.constantFrom(...pieces), { maxLength: 30 })
      .map(parts => Buffer.from(`{${parts.join("")}}`))
    fc.assert(
      fc.property(json, fc.nat(20), (json, data) => check(withPrefix(json, data))),
      { numRuns: 1500 }
    )
  })

  it("mutated bytes of a valid file", () => {
    const edit = fc.record({ at: fc.nat(valid.length - 1), byte: fc.nat(255) })
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 5 }), edits => {
        const bytes = Buffer.from(valid)
        for (const { at, byte } of edits) bytes[at] = byte
        check(bytes)
      }),
      { numRuns: 1500 }
    )
  })

  it("mutated pieces of a valid header", () => {
    const text = Buffer.from(encoded.bytes.subarray(8)).toString("utf8")
    const edit = fc.record({
      at: fc.nat(text.length),
      length: fc.nat(8),
      insert: fc.oneof(fc.constant(""), fc.constantFrom(...pieces))
    })
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), edits => {
        const changed = edits.reduce(
          (json, { at, length, insert }) => json.slice(0, at) + insert + json.slice(at + length),
          text
        )
        check(withPrefix(Buffer.from(changed), encoded.size - encoded.bytes.length))
      }),
      { numRuns: 1500 }
    )
  })

  it("digits of a valid header exchanged", () => {
    const text = Buffer.from(encoded.bytes.subarray(8)).toString("utf8")
    const digits = [...text.matchAll(/\d/g)].map(found => found.index)
    const edit = fc.tuple(fc.constantFrom(...digits), fc.constantFrom(..."0123456789"))
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), edits => {
        const json = Buffer.from(text)
        for (const [at, digit] of edits) json[at] = digit.charCodeAt(0)
        check(withPrefix(json, encoded.size - encoded.bytes.length))
      }),
      { numRuns: 1000 }
    )
  })

  it("cut and lengthened files, at every byte", () => {
    for (let length = 0; length < valid.length; length++) check(valid.subarray(0, length))
    for (let length = 0; length < encoded.bytes.length; length++) check(valid.subarray(0, length), valid.length)
    for (const more of [1, 7, 100]) check(Buffer.concat([valid, Buffer.alloc(more)]))
  })

  it("any claimed length, in a file of any claimed size", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.maxSafeInteger().map(Math.abs), (length, size) => {
        const bytes = Buffer.from(valid)
        bytes.writeBigUInt64LE(length)
        check(bytes, size)
        check(bytes.subarray(0, 8), size)
      })
    )
  })

  it("deep nesting and endless lists need no stack", () => {
    const n = 200_000
    for (const json of [
      "{".repeat(n),
      `{"a":${"[".repeat(n)}`,
      `{"a":${'{"a":'.repeat(n)}`,
      `{"a":{"shape":[${"1,".repeat(n)}`,
      `{"${"a".repeat(n)}`
    ]) {
      check(withPrefix(Buffer.from(json), 0))
    }
    check(withPrefix(Buffer.from(`{"a":{"dtype":"U8","shape":[${Array(n).fill(1).join()}],"data_offsets":[0,1]}}`), 1))
    const many = Array.from(
      { length: 20_000 },
      (_, i) => `"t${i}":{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`
    )
    check(withPrefix(Buffer.from(`{${many.join()}}`), 20_000))
  })
})
