/** NF4 against its published codes and the bytes of bitsandbytes, and the product with such weights. */
import { createHash } from "node:crypto"
import { describe, expect, it } from "vitest"
import { evaluate, evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import {
  dequantisedAbsmax,
  dequantisedNf4,
  dynamicMap,
  nf4Codes,
  quantiseAbsmax,
  quantiseNf4
} from "../../src/tensor/nf4.ts"
import { input, matmul, mul, sum } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { matmulNf4, nestedAbsmax } from "../../src/tensor/quantised.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"

const sha256 = ({ buffer, byteLength, byteOffset }: ArrayBufferView): string =>
  createHash("sha256")
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest("hex")
const codesOf = (packed: Uint8Array): ReadonlyArray<number> => [...packed].flatMap(byte => [byte >> 4, byte & 15])

describe("quantisation to NF4", () => {
  it("gives the codes and bytes of a short block", () => {
    const { absmax, packed } = quantiseNf4(Float32Array.of(0.5, -0.25, 0.1, 0))
    expect([...absmax]).toEqual([0.5])
    expect(codesOf(packed)).toEqual([15, 2, 9, 7])
    expect([...packed]).toEqual([0xf2, 0x97])
    const back = dequantisedNf4({ packed, absmax }, 4)
    for (const [i, value] of [0.5, -0.262_536_53, 0.080_465_1, 0].entries()) expect(back[i]).toBeCloseTo(value, 7)
  })

  it("is that of bitsandbytes 0.50.2 to the bit", () => {
    const n = 300 * 131
    const values = Float32Array.from({ length: n }, (_, i) => ((((i * 7919) % 10_007) - 5003) / 5003) * (1 + (i % 13)))
    const quantised = quantiseNf4(values)
    expect(sha256(quantised.packed)).toBe("b29b03c47a80d23985c8fe9a0f05a31dab65a2b958eea08d30ecf93e8b88ff89")
    expect(sha256(quantised.absmax)).toBe("55e10a1bd37a32f9340d13b859e90828035f5e4c0281299818c960d38d1ad8dd")
    expect(sha256(dequantisedNf4(quantised, n))).toBe(
      "47dce50c00b955fa5141d25a24022a89545865c8ea0844249cf37f2831aa9adf"
    )
    expect(sha256(dynamicMap)).toBe("e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c")
    const { indices, nestedAbsmax: nested, offset } = quantiseAbsmax(quantised.absmax)
    expect([...indices.subarray(0, 16)]).toEqual([
      94, 167, 59, 58, 178, 204, 221, 12, 237, 231, 27, 215, 198, 39, 90, 54
    ])
    expect([...nested]).toEqual([1.403_800_010_681_152_3, 1.368_620_872_497_558_6, 6.671_839_237_213_135])
    expect(offset).toBe(11.836_540_222_167_969)
  })

  it("returns every code as itself, and takes the lower code halfway between two", () => {
    const codes = Float32Array.from(nf4Codes)
    expect(codesOf(quantiseNf4(codes).packed)).toEqual([...Array(16).keys()])
    for (let i = 0; i < 15; i++) {
      // The threshold is the f32 next to the middle.
      const middle = Math.fround((nf4Codes[i]! + nf4Codes[i + 1]!) / 2)
      expect(codesOf(quantiseNf4(Float32Array.of(1, middle - 1e-6)).packed)[1]).toBe(i)
      expect(codesOf(quantiseNf4(Float32Array.of(1, middle + 1e-6)).packed)[1]).toBe(i + 1)
    }
    expect(codesOf(quantiseNf4(Float32Array.of(-0.848_096_400_499_343_9, 1)).packed)[0]).toBe(0)
  })

  it("packs odd numbers of values, short blocks and blocks of zeros", () => {
    // What is missing is 0, and a short block of zeros has an absmax that one can divide by.
    expect([...quantiseNf4(Float32Array.of(-1, 1, 0)).packed]).toEqual([0x0f, 0x77])
    expect([...quantiseNf4(Float32Array.of(0.5, -0.25, 0.1)).packed]).toEqual([0xf2, 0x97])
    const zeros = quantiseNf4(new Float32Array(65))
    expect([...zeros.absmax]).toEqual([0, Math.fround(1e-38)])
    expect(codesOf(zeros.packed)).toEqual(Array(66).fill(7))
    expect([...dequantisedNf4(zeros, 65)]).toEqual(Array(65).fill(0))
    expect(quantiseNf4(new Float32Array(0)).packed).toHaveLength(0)
  })

  it("misses no number by more than half the widest gap between codes", () => {
    const values = normals(randomKey(1, "nf4"), 6400)
    const quantised = quantiseNf4(values)
    const back = dequantisedNf4(quantised, values.length)
    const widest = Math.max(...nf4Codes.slice(1).map((code, i) => code - nf4Codes[i]!))
    for (const [i, value] of values.entries())
      expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual((widest / 2 + 1e-6) * quantised.absmax[i >> 6]!)
  })
})

describe("double quantisation", () => {
  const absmax = normals(randomKey(2, "absmax"), 1000).map(x => Math.abs(x) + 1)

  it("misses no absmax by more than half the widest gap of the map", () => {
    const nested = quantiseAbsmax(absmax)
    const back = dequantisedAbsmax(nested)
    const widest = dynamicMap.subarray(1).reduce((most, x, i) => Math.max(most, x - dynamicMap[i]!), 0)
    for (const [i, value] of absmax.entries())
      expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual((widest / 2 + 1e-6) * nested.nestedAbsmax[i >> 8]!)
    expect([...dynamicMap]).toEqual([...dynamicMap].sort((a, b) => a - b))
    expect(new Set(dynamicMap).size).toBe(256)
  })

  it("gives a block without spread the index 0, and its mean back", () => {
    const same = quantiseAbsmax(new Float32Array(300).fill(0.75))
    expect([...same.indices]).toEqual(Array(300).fill(0))
    expect([...same.nestedAbsmax]).toEqual([0, 0])
    expect([...dequantisedAbsmax(same)]).toEqual(Array(300).fill(0.75))
  })

  it("is undone by a program as on the host", () => {
    const { indices, nestedAbsmax: nested, offset } = quantiseAbsmax(absmax)
    const y = nestedAbsmax(input("indices", "u8", [1000]), input("nested", "f32", [4]), input("offset", "f32", []))
    const { y: actual } = evaluateTensors({ y }, { indices, nested, offset: [offset] })
    expect([...actual!]).toEqual([...dequantisedAbsmax({ indices, nestedAbsmax: nested, offset })])
  })
})

describe("the product with weights in NF4", () => {
  const [rows, inSize, out] = [5, 24, 11]
  const values = normals(randomKey(3, "weight"), inSize * out)
  const quantised = quantiseNf4(values)
  const weight = {
    packed: input("packed", "u8", quantised.packed.length === 0 ? [0] : [quantised.packed.length]),
    absmax: input("absmax", "f32", [quantised.absmax.length]),
    out
  }
  const x = input("x", "f32", [rows, inSize])
  const known = {
    x: normals(randomKey(3, "x"), rows * inSize),
    seed: normals(randomKey(3, "seed"), rows * out),
    ...quantised
  }
  const outputs = (y: Tensor) => {
    const loss = sum(mul(y, input("seed", "f32", [rows, out])))
    return { y: mul(y, 1), dx: gradients(loss, [x])[0]! }
  }

  it("and its gradient are those of the dense weight", () => {
    const dense = input("dense", "f32", [out, inSize])
    const expected = evaluateTensors(outputs(matmul(x, dense, { transposeB: true })), {
      ...known,
      dense: dequantisedNf4(quantised, values.length)
    })
    const actual = evaluateTensors(outputs(matmulNf4(x, weight)), known)
    expect(actual).toEqual(expected)
  })

  it("makes the dense weight again for the backward pass instead of keeping it", () => {
    const program = makeProgram(outputs(matmulNf4(x, weight)))
    const made = program.instructions.filter(({ op }) => op === "dequantiseNf4")
    expect(made).toHaveLength(2)
    const waits = program.instructions.find(({ op }) => op === "after")!
    expect(made.some(({ inputs }) => inputs[0] === waits.outputs[0])).toBe(true)
    expect(evaluate(program, known)["dx"]).toHaveLength(rows * inSize)
  })
})
