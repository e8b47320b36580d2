/**
 * Event files of TensorBoard: records of `tensorflow.Event`, each framed as length, masked CRC-32C of the length, bytes, masked CRC-32C of
 * the bytes (TFRecord, little-endian).
 */
import { BinaryWriter } from "@bufbuild/protobuf/wire"

/** Table of CRC-32C (Castagnoli), reflected polynomial. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc
})

export const crc32c = (bytes: Uint8Array): number => {
  let crc = 0xffffffff
  for (const byte of bytes) crc = table[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}

/** Checksums of data that hold checksums themselves are rotated and shifted. */
const masked = (bytes: Uint8Array): number => {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

const framed = (bytes: Uint8Array): Uint8Array => {
  const record = Buffer.alloc(16 + bytes.length)
  record.writeBigUInt64LE(BigInt(bytes.length), 0)
  record.writeUInt32LE(masked(record.subarray(0, 8)), 8)
  record.set(bytes, 12)
  record.writeUInt32LE(masked(bytes), 12 + bytes.length)
  return record
}

/** `Event.wall_time`, in seconds. */
const event = (seconds: number): BinaryWriter => new BinaryWriter().tag(1, 1).double(seconds)

/** What a file begins with. */
export const firstRecord = (seconds: number): Uint8Array =>
  framed(event(seconds).tag(3, 2).string("brain.Event:2").finish())

/** Scalars of one step: `Event.step`, and `Event.summary` with a tag and a `simple_value` for each. */
export const scalarsRecord = (
  seconds: number,
  step: number,
  scalars: { readonly [tag: string]: number }
): Uint8Array => {
  const summary = new BinaryWriter()
  for (const [tag, value] of Object.entries(scalars))
    summary.tag(1, 2).bytes(new BinaryWriter().tag(1, 2).string(tag).tag(2, 5).float(value).finish())
  return framed(event(seconds).tag(2, 0).int64(step).tag(5, 2).bytes(summary.finish()).finish())
}
