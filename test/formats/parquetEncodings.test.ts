import * as fc from "fast-check"
import { type FileMetaData, parquetSchema } from "hyparquet"
import { readRleBitPackedHybrid } from "hyparquet/src/encoding.js"
import { ByteWriter } from "hyparquet-writer"
import { writePageHeader } from "hyparquet-writer/src/datapage.js"
import { deltaBinaryPack } from "hyparquet-writer/src/delta.js"
import { writeRleBitPackedHybrid } from "hyparquet-writer/src/encoding.js"
import { snappyCompress } from "hyparquet-writer/src/snappy.js"
import { describe, expect, it } from "vitest"
import { decompress } from "../../src/formats/parquet/codecs.ts"
import { Damage } from "../../src/formats/parquet/parquetError.ts"
import { walkPages } from "../../src/formats/parquet/pages.ts"
import { bitWidth, checkDeltas, checkRuns } from "../../src/formats/parquet/runs.ts"
import { structEnd } from "../../src/formats/parquet/thrift.ts"

/** Text with repetitions near and far, as compressors like it. */
const phrase = Buffer.concat([
  Buffer.from("the quick brown fox ".repeat(8)),
  Buffer.alloc(32, "a"),
  Uint8Array.from({ length: 64 }, (_, i) => i),
  Buffer.from("the quick brown fox jumps")
])

// Made with pyarrow 26.0.1: pyarrow.compress(phrase, codec=…).
const packed = {
  SNAPPY:
    "mQJMdGhlIHF1aWNrIGJyb3duIGZveCD+FAD+FAAuFAAAYXoBAPBAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P3RKAAEQanVtcHM=",
  LZ4_RAW:
    "/wV0aGUgcXVpY2sgYnJvd24gZm94IBQAeR9hAQAM/zEAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/7AABUGp1bXBz"
} as const

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 2000 }),
  fc
    .array(fc.constantFrom("ab", "abcabc", "x", "\0\0\0\0\0\0\0\0"), { maxLength: 200 })
    .map(parts => Buffer.from(parts.join("")))
)

describe("decompress", () => {
  it.each(["SNAPPY", "LZ4_RAW"] as const)("unpacks what another implementation packed: %s", codec => {
    const output = decompress(codec, Buffer.from(packed[codec], "base64"), phrase.length)
    expect(Buffer.from(output).equals(phrase)).toBe(true)
  })

  it("unpacks both framings of LZ4", () => {
    const block = Buffer.from(packed.LZ4_RAW, "base64")
    const frame = (data: Uint8Array, length: number) => {
      const header = Buffer.alloc(8)
      header.writeUInt32BE(length)
      header.writeUInt32BE(data.length, 4)
      return Buffer.concat([header, data])
    }
    const framed = Buffer.concat([frame(block, phrase.length), frame(block, phrase.length)])
    expect(Buffer.from(decompress("LZ4", framed, 2 * phrase.length)).equals(Buffer.concat([phrase, phrase]))).toBe(true)
    expect(Buffer.from(decompress("LZ4", block, phrase.length)).equals(phrase)).toBe(true)
  })

  it("unpacks Snappy of any bytes", () => {
    fc.assert(
      fc.property(bytes, input => {
        const output = decompress("SNAPPY", snappyCompress(input), input.length)
        expect(Buffer.from(output).equals(input)).toBe(true)
      })
    )
  })

  it("gives the announced number of bytes or an error, whatever the input", () => {
    const codec = fc.constantFrom("SNAPPY" as const, "LZ4" as const, "LZ4_RAW" as const)
    const damaged = fc
      .tuple(codec, fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }))
      .map(([name, changes]) => {
        const input = Uint8Array.from(Buffer.from(packed[name === "LZ4" ? "LZ4_RAW" : name], "base64"))
        for (const [at, value] of changes) input[at % input.length] = value
        return [name, input] as const
      })
    fc.assert(
      fc.property(
        fc.oneof(damaged, fc.tuple(codec, fc.uint8Array({ maxLength: 60 }))),
        fc.nat(400),
        ([name, input], length) => {
          try {
            expect(decompress(name, input, length)).toHaveLength(length)
          } catch (error) {
            expect(error).toBeInstanceOf(Damage)
          }
        }
      ),
      { numRuns: 3000 }
    )
  })

  it("ends on lengths that would make it go backwards", () => {
    expect(() => decompress("SNAPPY", Uint8Array.of(10, 0xfc, 0xfb, 0xff, 0xff, 0xff, 1, 2, 3), 10)).toThrow(Damage)
    expect(() => decompress("LZ4", Uint8Array.of(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xf8, 1, 2), 10)).toThrow(Damage)
  })

  it("refuses copies of bytes from before the start", () => {
    expect(() => decompress("SNAPPY", Uint8Array.of(5, 0, 97, 1, 5), 5)).toThrow(Damage)
    expect(() => decompress("LZ4_RAW", Uint8Array.of(0x10, 97, 5, 0, 0), 5)).toThrow(Damage)
  })

  it("says which codec is not supported", () => {
    expect(() => decompress("LZO", new Uint8Array(1), 1)).toThrow("LZO is not supported")
  })
})

describe("checkRuns", () => {
  const levels = fc.tuple(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 400 })).chain(([max, count]) =>
    fc.record({
      max: fc.constant(max),
      values: fc.oneof(
        fc.array(fc.nat(max), { minLength: count, maxLength: count }),
        fc
          .array(fc.tuple(fc.nat(max), fc.integer({ min: 1, max: 40 })), { minLength: 1, maxLength: 20 })
          .map(runs => runs.flatMap(([value, length]) => Array.from({ length }, () => value)))
      )
    })
  )

  it("counts what a decoder finds", () => {
    fc.assert(
      fc.property(levels, ({ max, values }) => {
        const writer = new ByteWriter()
        writeRleBitPackedHybrid(writer, values, bitWidth(max))
        const page = writer.getBytes()
        const result = checkRuns(page, 0, page.length, bitWidth(max), values.length, max, "levels")
        expect(result.zeros).toBe(values.filter(value => value === 0).length)
        expect(result.maxima).toBe(values.filter(value => value === max).length)
      })
    )
  })

  it("finds values that are too large", () => {
    fc.assert(
      fc.property(levels, ({ max, values }) => {
        const writer = new ByteWriter()
        writeRleBitPackedHybrid(writer, [...values, max + 1], bitWidth(max + 1))
        const page = writer.getBytes()
        const check = () => checkRuns(page, 0, page.length, bitWidth(max + 1), values.length + 1, max, "levels")
        expect(check).toThrow(`${max + 1} is larger than ${max}`)
      })
    )
  })

  it("accepts only what a decoder reads without writing more than it should", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.integer({ min: 0, max: 24 }),
        fc.integer({ min: 1, max: 100 }),
        (page, width, count) => {
          try {
            checkRuns(page, 0, page.length, width, count, 2 ** width - 1, "levels")
          } catch (error) {
            expect(error).toBeInstanceOf(Damage)
            return
          }
          const output = Array.from<number>({ length: count })
          try {
            readRleBitPackedHybrid(
              { view: new DataView(page.buffer, page.byteOffset, page.length), offset: 0 },
              width,
              output,
              page.length
            )
          } catch (error) {
            // A last group that is cut off behind the values needed.
            expect(error).toBeInstanceOf(RangeError)
          }
          expect(output).toHaveLength(count)
        }
      ),
      { numRuns: 5000 }
    )
  })

  it("refuses an empty run, after which a decoder would lose its place", () => {
    expect(() => checkRuns(Uint8Array.of(1, 49, 62, 0), 0, 4, 1, 1, 1, "levels")).toThrow("an empty run")
  })
})

describe("checkDeltas", () => {
  const numbers = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 400 })

  it("finds the end of what a writer wrote, and notices another count", () => {
    fc.assert(
      fc.property(numbers, values => {
        const writer = new ByteWriter()
        deltaBinaryPack(writer, Int32Array.from(values), "INT32")
        const { length } = writer.getBytes()
        writer.appendBytes(Uint8Array.of(1, 2, 3))
        expect(checkDeltas(writer.getBytes(), 0, values.length)).toBe(length)
        expect(() => checkDeltas(writer.getBytes(), 0, values.length + 1)).toThrow(Damage)
      })
    )
  })

  it("gives an end within the bytes or an error, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.integer({ min: 1, max: 200 }), (page, count) => {
        try {
          expect(checkDeltas(page, 0, count)).toBeLessThanOrEqual(page.length)
        } catch (error) {
          expect(error).toBeInstanceOf(Damage)
        }
      }),
      { numRuns: 2000 }
    )
  })
})

describe("walkPages", () => {
  /** A page of a column of lists, as the first version of the format has it: rows may continue in the next page. */
  const listPage = (repetition: ReadonlyArray<number>) => {
    const levels = (values: ReadonlyArray<number>) => {
      const runs = new ByteWriter()
      writeRleBitPackedHybrid(runs, [...values], 1)
      const prefixed = new ByteWriter()
      prefixed.appendUint32(runs.offset)
      prefixed.appendBytes(runs.getBytes())
      return prefixed.getBytes()
    }
    const data = Buffer.concat([
      levels(repetition),
      levels(repetition.map(() => 1)),
      Buffer.from(Int32Array.from(repetition, (_, i) => i).buffer)
    ])
    const page = new ByteWriter()
    writePageHeader(page, {
      type: "DATA_PAGE",
      uncompressed_page_size: data.length,
      compressed_page_size: data.length,
      data_page_header: {
        num_values: repetition.length,
        encoding: "PLAIN",
        definition_level_encoding: "RLE",
        repetition_level_encoding: "RLE"
      }
    })
    page.appendBytes(data)
    return page.getBytes()
  }

  const schema = [
    { name: "root", num_children: 1 },
    { name: "list", type: "INT32" as const, repetition_type: "REPEATED" as const }
  ]
  const root = parquetSchema({ schema } as unknown as FileMetaData)
  const leaf = {
    path: ["list"],
    schemaPath: [root, root.children[0]!],
    flat: false,
    maxRepetition: 1,
    maxDefinition: 1
  }

  it("takes the next page, too, in which the last row wanted may continue", () => {
    // Three rows: the first has three values, in two pages.
    const pages = [listPage([0, 1]), listPage([1, 0]), listPage([0])]
    const bytes = Uint8Array.from(Buffer.concat(pages))
    const chunk = { leaf, codec: "UNCOMPRESSED" as const, valueCount: 5, start: 0, end: bytes.length }
    const endAfter = (rows: number) => {
      const walk = walkPages(chunk, rows)
      expect(walk.advance(bytes)).toEqual({ done: true })
      return walk.end()
    }
    expect(endAfter(1)).toBe(pages[0]!.length + pages[1]!.length)
    expect(endAfter(2)).toBe(bytes.length)
  })

  it("asks for as many bytes as the next page takes", () => {
    const bytes = Uint8Array.from(Buffer.concat([listPage([0, 1]), listPage([1, 0])]))
    const chunk = { leaf, codec: "UNCOMPRESSED" as const, valueCount: 4, start: 0, end: bytes.length }
    const walk = walkPages(chunk, 9)
    let given = 0
    for (;;) {
      const step = walk.advance(bytes.slice(0, given))
      if (step.done) break
      expect(step.needed).toBeGreaterThan(given)
      given = Math.min(step.needed, bytes.length)
    }
    expect(walk.end()).toBe(bytes.length)
    expect(() => walkPages({ ...chunk, valueCount: 5 }, 9).advance(bytes)).toThrow("ends after 4 of 5 values")
  })
})

describe("structEnd", () => {
  // {1: i32 5, 2: "abc", 3: [1, 2] of i64, 4: {1: true}, 300: double}
  const struct = Uint8Array.of(
    0x15,
    0x0a,
    0x18,
    3,
    97,
    98,
    99,
    0x19,
    0x26,
    2,
    4,
    0x1c,
    0x11,
    0,
    0x07,
    0xd8,
    4,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0
  )

  it("finds the end, and does not find it in any part that is cut off", () => {
    expect(structEnd(struct, 0)).toBe(struct.length)
    expect(structEnd(Uint8Array.of(1, 2, ...struct, 3, 4), 2)).toBe(2 + struct.length)
    for (let length = 0; length < struct.length; length++) expect(structEnd(struct.slice(0, length), 0)).toBeUndefined()
  })

  it("refuses numbers without end, nesting without end, and unknown types", () => {
    expect(() => structEnd(new Uint8Array(1e6).fill(0xff).fill(0x16, 0, 1), 0)).toThrow("more than 64 bits")
    expect(() => structEnd(new Uint8Array(1e6).fill(0x1c), 0)).toThrow("nested too deeply")
    expect(() => structEnd(Uint8Array.of(0x1e), 0)).toThrow("unknown type 14")
  })

  it("ends on any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), input => {
        try {
          expect(structEnd(input, 0) ?? 0).toBeLessThanOrEqual(input.length)
        } catch (error) {
          expect(error).toBeInstanceOf(Damage)
        }
      }),
      { numRuns: 2000 }
    )
  })
})
