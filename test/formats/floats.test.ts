import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { decodeFloats, encodeFloats, floatFormats } from "../../src/formats/floats.ts"
import { bf16Bits, f16Bits, fromBf16Bits, fromF16Bits } from "../../src/tensor/dtype.ts"

const singles = fc.float32Array({ maxLength: 50 })

describe("floating-point numbers in files", () => {
  it("bfloat16 is the nearest one, ties to even, for every f32", () => {
    fc.assert(
      fc.property(singles, values => {
        const bits = new Uint16Array(encodeFloats("BF16", Float32Array.from(values)).buffer)
        for (const [i, value] of values.entries()) expect(bits[i]).toBe(bf16Bits(value))
      })
    )
    // Ties, the largest finite number, infinities, and a NaN whose payload lies in the lost bits.
    const special = [0x3f808000, 0x3f818000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7f800001]
    const values = new Float32Array(Uint32Array.from(special).buffer)
    const bits = new Uint16Array(encodeFloats("BF16", values).buffer)
    expect([...bits].slice(0, 5)).toEqual([0x3f80, 0x3f82, 0x7f80, 0x7f80, 0xff80])
    expect(fromBf16Bits(bits[5]!)).toBeNaN()
  })

  it("come back from every format as what was stored", () => {
    const rounded = {
      F64: Math.fround,
      F32: Math.fround,
      BF16: (x: number) => fromBf16Bits(bf16Bits(x)),
      F16: (x: number) => fromF16Bits(f16Bits(x))
    }
    fc.assert(
      fc.property(singles, fc.constantFrom(...floatFormats), (values, format) => {
        const decoded = decodeFloats(format, encodeFloats(format, Float32Array.from(values)))
        expect(decoded).toEqual(Float32Array.from(values, rounded[format]))
      })
    )
  })

  it("may begin at any byte", () => {
    const bytes = encodeFloats("F32", Float32Array.of(1.5, -2))
    const shifted = new Uint8Array(bytes.length + 3)
    shifted.set(bytes, 3)
    expect(decodeFloats("F32", shifted.subarray(3))).toEqual(Float32Array.of(1.5, -2))
  })
})
