/**
 * Checks that bytes hold one structure of Thrift's compact protocol, in which Parquet writes its footer and page headers,
 * before a parser is let loose on them: damaged lengths could otherwise make it run for minutes or out of memory.
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 */
import { Damage } from "./parquetError.ts"

const deepest = 32

/** The end of the structure that starts at `start`; `undefined` when the bytes stop before it does. Throws `Damage`. */
export const structEnd = (bytes: Uint8Array, start: number): number | undefined => {
  const walk = { bytes, at: start }
  try {
    skipStruct(walk, 0)
    return walk.at
  } catch (error) {
    if (error === outOfBytes) return undefined
    throw error
  }
}

const outOfBytes = Symbol("out of bytes")

interface Walk {
  readonly bytes: Uint8Array
  at: number
}

const byte = (walk: Walk): number => {
  const value = walk.bytes[walk.at]
  if (value === undefined) throw outOfBytes
  walk.at++
  return value
}

/** A number of at most 64 bits, seven in each byte. */
const varint = (walk: Walk): number => {
  const start = walk.at
  let value = 0
  for (let shift = 0; shift < 70; shift += 7) {
    const next = byte(walk)
    value += (next & 0x7f) * 2 ** shift
    if (next < 0x80) return value
  }
  throw new Damage("a number has more than 64 bits", start)
}

const skip = (walk: Walk, length: number) => {
  if (length > walk.bytes.length - walk.at) throw outOfBytes
  walk.at += length
}

const skipStruct = (walk: Walk, depth: number) => {
  if (depth > deepest) throw new Damage("structures are nested too deeply", walk.at)
  for (;;) {
    const header = byte(walk)
    const type = header & 0x0f
    if (type === 0) return
    if (header >> 4 === 0) varint(walk)
    skipValue(walk, type, depth)
  }
}

const skipValue = (walk: Walk, type: number, depth: number) => {
  switch (type) {
    case 1: // true
    case 2: // false
      return
    case 3: // 8 bits
      return skip(walk, 1)
    case 4: // 16 bits
    case 5: // 32 bits
    case 6: // 64 bits
      return void varint(walk)
    case 7: // double
      return skip(walk, 8)
    case 8: // bytes
      return skip(walk, varint(walk))
    case 9: {
      const header = byte(walk)
      const count = header >> 4 === 15 ? varint(walk) : header >> 4
      const element = header & 0x0f
      for (let i = 0; i < count; i++) {
        // In a list, a truth value takes a byte of its own.
        if (element === 1 || element === 2) skip(walk, 1)
        else skipValue(walk, element, depth + 1)
      }
      return
    }
    case 12:
      return skipStruct(walk, depth + 1)
    default:
      throw new Damage(`unknown type ${type} in a structure`, walk.at)
  }
}
