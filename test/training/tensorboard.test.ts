import { describe, expect, it } from "vitest"
import { crc32c, firstRecord, scalarsRecord } from "../../src/training/tensorboard.ts"

describe("TensorBoard event files", () => {
  it("are checked by CRC-32C: the vectors of RFC 3720 and of Castagnoli's check value", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283)
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e)
  })
  it("frame a record by its length and two checksums, which are rotated right by 15 bits and moved by a constant", () => {
    const record = Buffer.from(firstRecord(0))
    const length = Number(record.readBigUInt64LE(0))
    expect(record.length).toBe(16 + length)
    const unmasked = (value: number): number => {
      const rotated = (value - 0xa282ead8) >>> 0
      return ((rotated << 15) | (rotated >>> 17)) >>> 0
    }
    expect(unmasked(record.readUInt32LE(8))).toBe(crc32c(record.subarray(0, 8)))
    expect(unmasked(record.readUInt32LE(12 + length))).toBe(crc32c(record.subarray(12, 12 + length)))
    // wall_time = 0 (fixed64), then file_version (field 3, 13 bytes).
    expect(record.subarray(12, 12 + length).toString("latin1")).toBe(`\x09${"\0".repeat(8)}\x1a\x0dbrain.Event:2`)
  })
  it("hold scalars as a summary of simple values", () => {
    const record = Buffer.from(scalarsRecord(0, 300, { a: 1 }))
    const body = record.subarray(12, record.length - 4).toString("latin1")
    // step = 300 (field 2, varint), summary (field 5) of one value (field 1) with tag (field 1) and simple_value (field 2, fixed32).
    expect(body).toBe(`\x09${"\0".repeat(8)}\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01a\x15\x00\x00\x80\x3f`)
  })
})
