import { readFileSync } from "node:fs"
import * as fc from "fast-check"
import { snappyCompress } from "hyparquet-writer/src/snappy.js"
import { describe, expect, it } from "vitest"
import { compressors } from "../../src/formats/parquet/codecs.ts"
import { Damage } from "../../src/formats/parquet/damage.ts"
import { decodeColumn } from "../../src/formats/parquet/decode.ts"
import { parseFooter } from "../../src/formats/parquet/footer.ts"

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

const unpack = (codec: "SNAPPY" | "LZ4" | "LZ4_RAW", input: Uint8Array, length: number) =>
  compressors[codec]!(input, length)

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 2000 }),
  fc
    .array(fc.constantFrom("ab", "abcabc", "x", "\0\0\0\0\0\0\0\0"), { maxLength: 200 })
    .map(parts => Buffer.from(parts.join("")))
)

describe("compressors", () => {
  it.each(["SNAPPY", "LZ4_RAW"] as const)("unpacks what another implementation packed: %s", codec => {
    const output = unpack(codec, Buffer.from(packed[codec], "base64"), phrase.length)
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
    expect(Buffer.from(unpack("LZ4", framed, 2 * phrase.length)).equals(Buffer.concat([phrase, phrase]))).toBe(true)
    expect(Buffer.from(unpack("LZ4", block, phrase.length)).equals(phrase)).toBe(true)
  })

  it("unpacks Snappy of any bytes", () => {
    fc.assert(
      fc.property(bytes, input => {
        const output = unpack("SNAPPY", snappyCompress(input), input.length)
        expect(Buffer.from(output).equals(input)).toBe(true)
      })
    )
  })

  it("gives the announced number of bytes or an error, whatever the input", () => {
    const codec = fc.constantFrom("LZ4" as const, "LZ4_RAW" as const)
    const damaged = fc
      .tuple(codec, fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }))
      .map(([name, changes]) => {
        const input = Uint8Array.from(Buffer.from(packed.LZ4_RAW, "base64"))
        for (const [at, value] of changes) input[at % input.length] = value
        return [name, input] as const
      })
    fc.assert(
      fc.property(
        fc.oneof(damaged, fc.tuple(codec, fc.uint8Array({ maxLength: 60 }))),
        fc.nat(400),
        ([name, input], length) => {
          try {
            expect(unpack(name, input, length)).toHaveLength(length)
          } catch (error) {
            expect(error).toBeInstanceOf(Damage)
          }
        }
      ),
      { numRuns: 3000 }
    )
  })

  it("ends on lengths that would make it go backwards", () => {
    expect(() => unpack("LZ4", Uint8Array.of(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xf8, 1, 2), 10)).toThrow(Damage)
  })

  it("refuses copies of bytes from before the start", () => {
    expect(() => unpack("SNAPPY", Uint8Array.of(5, 0, 97, 1, 5), 5)).toThrow("before start")
    expect(() => unpack("LZ4_RAW", Uint8Array.of(0x10, 97, 5, 0, 0), 5)).toThrow(Damage)
  })
})

describe("decodeColumn", () => {
  const fixtures = ["v1-snappy.parquet", "v2-zstd.parquet", "v1-lz4-plain.parquet", "v1-gzip-deltas.parquet"]
  const read = (name: string) => readFileSync(new URL(`fixtures/parquet/${name}`, import.meta.url))
  const rows = JSON.parse(read("rows.json").toString()) as ReadonlyArray<Record<string, unknown>>

  it.each(fixtures)("takes only as much of a column as its first rows need, and never less: %s", async name => {
    const file = Uint8Array.from(read(name))
    const footerStart = file.length - 8 - new DataView(file.buffer).getUint32(file.length - 8, true)
    const footer = parseFooter(file.slice(footerStart), footerStart)
    let saved = 0
    for (const [group, firstRow] of [0, 25, 50].entries()) {
      const { chunks, rowCount } = footer.shape.groups[group]!
      for (const column of footer.shape.columns) {
        const own = chunks.filter(chunk => chunk.column === column)
        for (const wanted of [1, 2, 7, rowCount]) {
          let given: ReadonlyArray<number> = own.map(() => 0)
          for (;;) {
            const bytes = own.map(({ start }, i) => file.subarray(start, start + given[i]!))
            const found = await decodeColumn(footer, group, column, wanted, bytes)
            if ("values" in found) {
              expect(found.values).toEqual(rows.slice(firstRow, firstRow + wanted).map(row => row[column]))
              break
            }
            // What is asked for is more than there was, and not more than there is.
            expect(found.needed.some((least, i) => least > given[i]!)).toBe(true)
            for (const [i, { end, start }] of own.entries()) expect(found.needed[i]).toBeLessThanOrEqual(end - start)
            given = given.map((had, i) => Math.min(own[i]!.end - own[i]!.start, had + 37))
          }
          saved += own.reduce((sum, { end, start }, i) => sum + end - start - given[i]!, 0)
        }
      }
    }
    expect(saved).toBeGreaterThan(0)
  })

  it("says which codec is not supported", () => {
    const file = Uint8Array.from(read("v1-snappy.parquet"))
    // Of the first column: its path in the schema, then its codec, SNAPPY and then LZO.
    const at = Buffer.from(file).indexOf(Buffer.from([0x18, 4, ...Buffer.from("text"), 0x15, 2]))
    expect(at).toBeGreaterThan(0)
    file[at + 7] = 6
    const footerStart = file.length - 8 - new DataView(file.buffer).getUint32(file.length - 8, true)
    expect(() => parseFooter(file.slice(footerStart), footerStart)).toThrow(
      "compressed with LZO, which is not supported"
    )
  })
})
