import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as fc from "fast-check"
import {
  type Dtype,
  dtypeBits,
  encodeHeader,
  isDtype,
  readHeader,
  type SafetensorsError,
  type TensorSpec
} from "../../src/formats/safetensors.ts"
import { parseHeader } from "../support/parseHeader.ts"

/** A file of the given header text and as many bytes of data. */
const fileOf = (json: string | Uint8Array, dataBytes: number): Uint8Array => {
  const header = typeof json === "string" ? Buffer.from(json) : json
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([prefix, header, Buffer.alloc(dataBytes)])
}

const parse = (file: Uint8Array) => parseHeader(file, file.length, "model.safetensors")

/** The error for a header text, which the test must provoke. */
const errorOf = (json: string | Uint8Array, dataBytes = 0): SafetensorsError => {
  const result = parse(fileOf(json, dataBytes))
  return Result.isFailure(result) ? result.failure : assert.fail(`accepted: ${String(json)}`)
}

const tensor = (fields: string) => `{"a":${fields}}`

describe("parseHeader", () => {
  it("reads names, types, shapes and places", () => {
    const json =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"a":{"dtype":"BF16","shape":[],"data_offsets":[24,26]} }  '
    const header = Result.getOrThrow(parse(fileOf(json, 26)))
    const dataOffset = 8 + json.length
    assert.strictEqual(header.dataOffset, dataOffset)
    assert.deepStrictEqual([...header.metadata], [["format", "pt"]])
    assert.deepStrictEqual(
      [...header.tensors.values()],
      [
        { name: "b", dtype: "F32", shape: [2, 3], offset: dataOffset, size: 24 },
        { name: "a", dtype: "BF16", shape: [], offset: dataOffset + 24, size: 2 }
      ]
    )
  })

  it("reads a file without tensors, and empty tensors anywhere", () => {
    assert.strictEqual(Result.getOrThrow(parse(fileOf("{}", 0))).tensors.size, 0)
    const json =
      '{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},"z":{"dtype":"F64","shape":[0,9007199254740991,9007199254740991],"data_offsets":[4,4]}}'
    assert.strictEqual(Result.getOrThrow(parse(fileOf(json, 4))).tensors.get("z")!.size, 0)
  })

  it("reads types of less than a byte when they fill whole bytes", () => {
    const json = tensor('{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}')
    assert.strictEqual(Result.getOrThrow(parse(fileOf(json, 3))).tensors.get("a")!.size, 3)
    assert.match(
      errorOf(tensor('{"dtype":"F4","shape":[3],"data_offsets":[0,2]}'), 2).message,
      /3 elements of 4 bits do not fill whole bytes/
    )
  })

  it("escaped names are the names that they stand for", () => {
    const json = '{"\\u0061\\n\\ud83d\\ude42é":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    assert.deepStrictEqual([...Result.getOrThrow(parse(fileOf(json, 1))).tensors.keys()], ["a\n🙂é"])
  })

  it("names of JavaScript's own are names like others", () => {
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty", ""]
    const json = `{${names.map((name, i) => `"${name}":{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`).join(",")},"__metadata__":{"__proto__":"x"}}`
    const { tensors, metadata } = Result.getOrThrow(parse(fileOf(json, names.length)))
    assert.deepStrictEqual([...tensors.keys()], names)
    assert.strictEqual(metadata.get("__proto__"), "x")
    assert.isUndefined(({} as { dtype?: unknown }).dtype)
  })

  it("an error names the file, the tensor and the byte", () => {
    const json =
      '{"first":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"second":{"dtype":"X8","shape":[1],"data_offsets":[1,2]}}'
    const error = errorOf(json, 2)
    const offset = 8 + json.indexOf('"second"')
    assert.strictEqual(error.file, "model.safetensors")
    assert.strictEqual(error.tensor, "second")
    assert.strictEqual(error.offset, offset)
    assert.strictEqual(
      error.message,
      `model.safetensors: not a valid safetensors file: tensor "second": the dtype "X8" is not known (at byte ${offset})`
    )
  })

  it("control characters of a name do not reach the terminal", () => {
    const message = errorOf('{"\\u001b[31m\\u202e":{"dtype":"X","shape":[],"data_offsets":[0,1]}}', 1).message
    assert.notMatch(message, /[\u001b\u202e]/)
  })

  it.each<[what: string, json: string, dataBytes: number, message: RegExp, at: number]>([
    ["no object", "[]", 0, /a header begins with \{/, 0],
    ["blanks before it", " {}", 0, /a header begins with \{/, 0],
    ["an empty header", "", 0, /a header begins with \{/, 0],
    ["text behind it", "{}x", 0, /expected the end of the text, found "x"/, 2],
    ["a cut object", '{"a"', 0, /expected ":" after the key/, 4],
    ["a cut text", '{"a', 0, /the string that begins here never ends/, 1],
    [
      "a trailing comma",
      '{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},}',
      1,
      /expected a key in "double quotes"/,
      52
    ],
    [
      "a repeated tensor",
      '{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}',
      1,
      /the key "a" is there twice/,
      52
    ],
    [
      "a repeated field",
      tensor('{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}'),
      1,
      /the key "dtype" is there twice/,
      19
    ],
    ["repeated metadata", '{"__metadata__":{"a":"1","a":"2"}}', 0, /the key "a" is there twice/, 25],
    ["metadata twice", '{"__metadata__":{},"__metadata__":{}}', 0, /the key "__metadata__" is there twice/, 19],
    ["metadata of other values", '{"__metadata__":{"a":1}}', 0, /a text must stand here/, 21],
    ["metadata that is a list", '{"__metadata__":[]}', 0, /"__metadata__" begins with \{/, 16],
    ["a tensor that is no object", '{"a":5}', 0, /"a" begins with \{/, 5],
    [
      "an unknown field",
      tensor('{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}'),
      1,
      /the field "x" is not known/,
      51
    ],
    ["no dtype", tensor('{"shape":[],"data_offsets":[0,1]}'), 1, /dtype is missing/, 5],
    ["no shape", tensor('{"dtype":"U8","data_offsets":[0,1]}'), 1, /shape is missing/, 5],
    ["no data_offsets", tensor('{"dtype":"U8","shape":[]}'), 1, /data_offsets is missing/, 5],
    [
      "a dtype of an object",
      tensor('{"dtype":"toString","shape":[],"data_offsets":[0,1]}'),
      1,
      /the dtype "toString" is not known/,
      1
    ],
    [
      "a fraction",
      tensor('{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}'),
      1,
      /an integer from 0 must stand here/,
      29
    ],
    [
      "an exponent",
      tensor('{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}'),
      1,
      /an integer from 0 must stand here/,
      29
    ],
    [
      "a negative dimension",
      tensor('{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}'),
      1,
      /an integer from 0 must stand here/,
      28
    ],
    [
      "leading zeros",
      tensor('{"dtype":"U8","shape":[01],"data_offsets":[0,1]}'),
      1,
      /expected "," or "\]", found "1"/,
      29
    ],
    [
      "a huge integer",
      tensor('{"dtype":"U8","shape":[9007199254740992],"data_offsets":[0,1]}'),
      1,
      /the integer is too large/,
      28
    ],
    [
      "too many elements",
      tensor('{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]}'),
      1,
      /more elements than any file holds/,
      1
    ],
    [
      "endlessly many elements",
      tensor(`{"dtype":"U8","shape":[${Array(50).fill("9007199254740991").join()}],"data_offsets":[0,1]}`),
      1,
      /more elements than any file holds/,
      1
    ],
    [
      "too many elements before a 0",
      tensor('{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}'),
      0,
      /more elements than any file holds/,
      1
    ],
    ["one offset", tensor('{"dtype":"U8","shape":[],"data_offsets":[0]}'), 1, /data_offsets must be two integers/, 30],
    [
      "three offsets",
      tensor('{"dtype":"U8","shape":[],"data_offsets":[0,1,2]}'),
      1,
      /data_offsets must be two integers/,
      30
    ],
    ["offsets backwards", tensor('{"dtype":"U8","shape":[],"data_offsets":[1,0]}'), 1, /run backwards, from 1 to 0/, 1],
    [
      "offsets behind the end",
      tensor('{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'),
      1,
      /data_offsets end at 2, the data at 1/,
      1
    ],
    [
      "another size than the shape's",
      tensor('{"dtype":"F32","shape":[2],"data_offsets":[0,4]}'),
      4,
      /F32 of shape \[2\] takes 8 bytes, data_offsets hold 4/,
      1
    ],
    [
      "a lone surrogate",
      '{"\\ud800":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}',
      1,
      /half of a surrogate pair/,
      1
    ],
    ["a wrong escape", '{"\\x":{}}', 0, /an escape that JSON does not know/, 2],
    ["a raw line break in a name", '{"a\n":{}}', 0, /a string holds the raw character/, 3]
  ])("refuses %s", (_, json, dataBytes, message, at) => {
    const error = errorOf(json, dataBytes)
    assert.match(error.message, message)
    assert.strictEqual(error.offset, 8 + at)
  })

  it("refuses what is not UTF-8", () => {
    const error = errorOf(Buffer.concat([Buffer.from('{"a'), Buffer.from([0xff]), Buffer.from('":{}}')]))
    assert.match(error.message, /not UTF-8/)
  })

  it("refuses overlaps, holes, and bytes that belong to no tensor", () => {
    const two = (a: string, b: string) =>
      `{"a":{"dtype":"U8","shape":[2],"data_offsets":[${a}]},"b":{"dtype":"U8","shape":[2],"data_offsets":[${b}]}}`
    assert.strictEqual(parse(fileOf(two("2,4", "0,2"), 4))._tag, "Success")
    const overlap = errorOf(two("0,2", "1,3"), 3)
    assert.match(overlap.message, /tensor "b": its bytes overlap with another tensor's/)
    assert.strictEqual(overlap.offset, 8 + two("0,2", "1,3").length + 1)
    assert.match(errorOf(two("0,2", "0,2"), 2).message, /overlap/)
    assert.match(errorOf(two("0,2", "3,5"), 5).message, /tensor "b": 1 bytes before it belong to no tensor/)
    assert.match(errorOf(two("1,3", "3,5"), 5).message, /tensor "a": 1 bytes before it belong to no tensor/)
    assert.match(errorOf(two("0,2", "2,4"), 7).message, /3 bytes at the end of the file belong to no tensor/)
    assert.match(errorOf("{}", 1).message, /1 bytes at the end of the file/)
  })

  it("refuses lengths that no header can have", () => {
    const claim = (length: bigint, size: number) => {
      const bytes = Buffer.alloc(Math.min(size, 64))
      if (bytes.length >= 8) bytes.writeBigUInt64LE(length)
      const result = parseHeader(bytes, size, "f")
      return Result.isFailure(result) ? result.failure.message : assert.fail("accepted")
    }
    assert.match(claim(2n ** 64n - 1n, 64), /the header would have 18446744073709551615 bytes, more than 100000000/)
    assert.match(claim(100_000_001n, 1e9), /more than 100000000/)
    assert.match(claim(57n, 64), /the header would have 57 bytes, the file has 64/)
    assert.match(claim(0n, 7), /the file has 7 bytes, too few/)
    assert.match(claim(1000n, 2000), /1000 bytes were asked for, 56 came/)
  })
})

describe("readHeader", () => {
  const bytes = fileOf('{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}', 3)

  it.effect("asks for the length, then for the header, and for nothing else", () =>
    Effect.gen(function* () {
      const asked: Array<readonly [number, number]> = []
      const header = yield* readHeader({
        file: "f",
        size: bytes.length,
        readRange: (offset, length) => {
          asked.push([offset, length])
          return Effect.succeed(bytes.subarray(offset, offset + length))
        }
      })
      assert.deepStrictEqual(asked, [
        [0, 8],
        [8, bytes.length - 8 - 3]
      ])
      assert.strictEqual(header.tensors.get("a")!.offset, bytes.length - 3)
    })
  )

  it.effect("a reader that gives fewer bytes, and one that fails, end it", () =>
    Effect.gen(function* () {
      const read = (readRange: (offset: number, length: number) => Effect.Effect<Uint8Array, string>) =>
        Effect.flip(readHeader({ file: "f", size: bytes.length, readRange }))
      const short = yield* read((offset, length) => Effect.succeed(bytes.subarray(offset, offset + length - 1)))
      assert.match((short as SafetensorsError).message, /8 bytes were asked for, 7 came/)
      const shortHeader = yield* read((offset, length) =>
        Effect.succeed(bytes.subarray(offset, offset + Math.min(length, 8)))
      )
      assert.match((shortHeader as SafetensorsError).message, /bytes were asked for, 8 came/)
      assert.strictEqual(yield* read(() => Effect.fail("offline")), "offline")
    })
  )

  it.effect("a file too small to have a header is not read", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        readHeader({ file: "f", size: 7, readRange: () => Effect.die("must not be called") })
      )
      assert.match(error.message, /^f: .*7 bytes, too few/)
    })
  )
})

const dtypes = Object.keys(dtypeBits).filter(isDtype)
const name = fc
  .oneof(
    fc.string({ unit: "grapheme", maxLength: 12 }),
    fc.constantFrom("__proto__", "model.layers.0.weight", "", "constructor")
  )
  .filter(name => name !== "__metadata__" && name.isWellFormed())
const spec: fc.Arbitrary<TensorSpec> = fc
  .record({ name, dtype: fc.constantFrom(...dtypes), shape: fc.array(fc.nat(6), { maxLength: 4 }) })
  // Types of less than a byte need whole bytes.
  .map(({ shape, ...rest }) => ({ ...rest, shape: dtypeBits[rest.dtype] % 8 === 0 ? shape : [...shape, 4] }))
const specs = fc.uniqueArray(spec, { selector: ({ name }) => name, maxLength: 8 })
const metadata = fc.uniqueArray(
  fc.tuple(
    name,
    fc.string({ unit: "grapheme" }).filter(text => text.isWellFormed())
  ),
  {
    selector: ([key]) => key,
    maxLength: 4
  }
)

describe("encodeHeader", () => {
  it("what it writes is read as what it was given", () => {
    fc.assert(
      fc.property(specs, metadata, (specs, metadata) => {
        const { bytes, tensors, size } = encodeHeader(specs, metadata)
        const header = Result.getOrThrow(parseHeader(bytes, size, "f"))
        assert.deepStrictEqual([...header.tensors.values()], [...tensors])
        assert.sameDeepMembers([...header.metadata], metadata)
        assert.sameDeepMembers(
          tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
          specs
        )
        assert.strictEqual(bytes.length % 8, 0)
      })
    )
  })

  it("is JSON of the published form", () => {
    fc.assert(
      fc.property(specs, metadata, (specs, metadata) => {
        const { bytes, tensors } = encodeHeader(specs, metadata)
        const value = new Map(Object.entries(JSON.parse(Buffer.from(bytes.subarray(8)).toString("utf8")) as object))
        for (const { name, dtype, shape, offset, size } of tensors) {
          const begin = offset - bytes.length
          assert.deepStrictEqual(value.get(name), { dtype, shape: [...shape], data_offsets: [begin, begin + size] })
        }
        assert.strictEqual(value.size, specs.length + (metadata.length > 0 ? 1 : 0))
      })
    )
  })

  it("does not depend on the order of tensors and metadata", () => {
    fc.assert(
      fc.property(specs, metadata, (specs, metadata) => {
        const turned = encodeHeader([...specs].reverse(), [...metadata].reverse())
        assert.deepStrictEqual(turned.bytes, encodeHeader(specs, metadata).bytes)
      })
    )
  })

  it("lays tensors out without gaps, each aligned to its element", () => {
    fc.assert(
      fc.property(specs, specs => {
        const { bytes, tensors, size } = encodeHeader(specs)
        let end = bytes.length
        for (const tensor of tensors) {
          assert.strictEqual(tensor.offset, end)
          if (tensor.size > 0 && dtypeBits[tensor.dtype] >= 8)
            assert.strictEqual(end % (dtypeBits[tensor.dtype] / 8), 0)
          end += tensor.size
        }
        assert.strictEqual(size, end)
      })
    )
  })

  it("writes these bytes for a small file, for good", () => {
    const { bytes } = encodeHeader(
      [
        { name: "b", dtype: "U8", shape: [3] },
        { name: "a", dtype: "F32", shape: [1, 2] }
      ],
      [["format", "pt"]]
    )
    const json =
      '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}'
    assert.strictEqual(Buffer.from(bytes).toString("latin1"), `\u0090\0\0\0\0\0\0\0${json.padEnd(144)}`)
  })

  it("refuses what the format cannot hold, by the tensor's name", () => {
    const one = (spec: Partial<TensorSpec>) => () => encodeHeader([{ name: "a", dtype: "U8", shape: [1], ...spec }])
    assert.throws(one({ name: "__metadata__" }), TypeError, /tensor "__metadata__": this is not a name/)
    assert.throws(one({ name: "\ud800" }), TypeError, /this is not a name/)
    assert.throws(one({ dtype: "X" as Dtype }), TypeError, /tensor "a": the dtype "X" is not known/)
    for (const dimension of [-1, 1.5, NaN, Infinity, 2 ** 53])
      assert.throws(one({ shape: [dimension] }), TypeError, /no whole number/)
    assert.throws(one({ shape: [2 ** 40, 2 ** 40] }), TypeError, /more elements than any file holds/)
    assert.throws(one({ dtype: "F4", shape: [3] }), TypeError, /do not fill whole bytes/)
    const twice: TensorSpec = { name: "a", dtype: "U8", shape: [] }
    assert.throws(() => encodeHeader([twice, twice]), TypeError, /the name is there twice/)
    assert.throws(
      () =>
        encodeHeader(
          [],
          [
            ["k", "1"],
            ["k", "2"]
          ]
        ),
      TypeError,
      /the key "k" twice/
    )
  })
})
