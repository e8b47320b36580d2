import * as fc from "fast-check"
import { Result } from "effect"
import { describe, expect, it } from "vitest"
import { evaluate } from "../../src/engines/reference/evaluate.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { mean, softmaxCrossEntropy } from "../../src/tensor/composites.ts"
import { decodeProgram, encodeProgram, programDigest } from "../../src/tensor/encode.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram, type Program } from "../../src/tensor/Program.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import { programText } from "../../src/tensor/text.ts"
import { allOps, casesOf, traced } from "../engines/cases.ts"

const opsOf = (program: Program) => program.instructions.map(({ op }) => op)

/** A trace with constants, several dtypes, a checkpoint and its gradient. */
const example = (): Program => {
  const x = ops.input("x", "f32", [2, 3])
  const w = ops.input("w", "f32", [3, 3])
  const loss = ops.sum(
    ops.mul(
      ops.checkpoint(() => ops.tanh(ops.matmul(x, w))),
      ops.constant(Float32Array.of(1, 2, 3), "f32", [3])
    )
  )
  return makeProgram({ loss, g: gradients(loss, [w])[0]!, first: ops.argmax(x) })
}

describe("programs", () => {
  it("compute equal subexpressions once and leave out what no output needs", () => {
    const x = ops.input("x", "f32", [3])
    const unused = ops.input("unused", "f32", [3])
    ops.exp(unused)
    const y = ops.add(ops.exp(x), ops.mul(ops.exp(x), ops.constant(2, "f32")))
    const program = makeProgram({ y, z: ops.mul(ops.exp(x), ops.constant(2, "f32")) })
    expect(opsOf(program)).toEqual(["exp", "mul", "add"])
    expect(program.inputs.map(({ name }) => name)).toEqual(["x"])
    expect(program.constants.length).toBe(1)
  })

  it("are the same for equal traces, with the same digest", () => {
    expect(example()).toEqual(example())
    expect(programDigest(example())).toBe(programDigest(example()))
    const x = ops.input("x", "f32", [3])
    expect(programDigest(makeProgram({ y: ops.exp(x) }))).not.toBe(programDigest(makeProgram({ y: ops.sin(x) })))
  })

  it("hold no annotations for differentiation", () => {
    const x = ops.input("x", "f32", [3])
    expect(opsOf(makeProgram({ y: ops.stopGradient(ops.checkpoint(() => ops.exp(x))) }))).toEqual(["exp"])
  })

  it("reshape once where a trace does it again and again, and not at all on the way back", () => {
    const x = ops.input("x", "f32", [2, 6])
    const flat = ops.stopGradient(ops.reshape(x, [12]))
    const program = makeProgram({ cube: ops.reshape(flat, [3, 2, 2]), back: ops.exp(ops.reshape(flat, [2, 6])) })
    expect(opsOf(program)).toEqual(["reshape", "exp"])
    expect(program.instructions.map(({ inputs }) => inputs)).toEqual([[0], [0]])
    const both = makeProgram({ flat, cube: ops.reshape(flat, [3, 2, 2]) })
    expect(both.instructions.map(({ inputs }) => inputs)).toEqual([[0], [0]])
  })

  it("refuse two inputs of one name", () => {
    const y = ops.add(ops.input("x", "f32", []), ops.input("x", "f32", []))
    expect(() => makeProgram({ y })).toThrow('two inputs of one program are called "x"')
  })

  it("read as one line for each instruction", () => {
    const x = ops.input("x", "f32", [2, 3])
    const y = ops.matmul(x, ops.constant(new Float32Array(12), "f32", [4, 3]), { transposeB: true })
    expect(programText(makeProgram({ y: ops.sum(y, 1) }))).toBe(
      [
        "%0 f32[2, 3] = input x",
        "%1 f32[4, 3] = constant 0 0 0 0 …",
        "%2 f32[2, 4] = matmul(%0, %1; transposeB)",
        "%3 f32[2] = sum(%2; axes [1])",
        "output y = %3",
        ""
      ].join("\n")
    )
  })

  it("do not say twice what the type of a result says, and show 16-bit constants as numbers", () => {
    const x = ops.input("x", "bf16", [2])
    const y = ops.mul(ops.broadcastTo(x, [3, 2]), ops.constant(1.5, "bf16"))
    expect(programText(makeProgram({ y, index: ops.iota("i32", [3], 0) }))).toBe(
      [
        "%0 bf16[2] = input x",
        "%1 bf16[] = constant 1.5",
        "%2 bf16[3, 2] = broadcastTo(%0)",
        "%3 bf16[3, 2] = mul(%2, %1)",
        "%4 i32[3] = iota(axis 0)",
        "output y = %3",
        "output index = %4",
        ""
      ].join("\n")
    )
  })
})

/** What the encoding holds, as far as the tests break it. */
interface EncodedProgram {
  version: number
  readonly inputs: Array<{ shape: Array<number> }>
  readonly constants: Array<{ data: string }>
  readonly instructions: Array<{ op: string; inputs: Array<number>; readonly attributes: Record<string, unknown> }>
  readonly outputs: Array<{ value: number }>
}

describe("encoded programs", () => {
  it("come back as they were, for every op and dtype", () => {
    for (const op of allOps)
      for (const each of casesOf(op)) {
        const program = makeProgram(traced(op, each).outputs)
        expect(Result.getOrThrow(decodeProgram(encodeProgram(program)))).toEqual(program)
      }
    expect(Result.getOrThrow(decodeProgram(encodeProgram(example())))).toEqual(example())
  })

  it("compute the same", () => {
    const values = { x: [1, -2, 3, 0.5, 2, -1], w: [0.1, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7, -0.8, 0.9] }
    const decoded = Result.getOrThrow(decodeProgram(encodeProgram(example())))
    expect(evaluate(decoded, values)).toEqual(evaluate(example(), values))
  })

  const message = (change: (file: EncodedProgram) => void): string => {
    const file = JSON.parse(encodeProgram(example())) as EncodedProgram
    change(file)
    const result = decodeProgram(JSON.stringify(file))
    return Result.isFailure(result) ? result.failure.message : "accepted"
  }

  it("are refused where something is wrong, with its place", () => {
    expect(message(file => (file.version = 2))).toMatch(/version/)
    expect(message(file => (file.instructions[0]!.op = "launch"))).toBe(
      'program: instruction 0: there is no op "launch"'
    )
    expect(message(file => (file.instructions[0]!.op = "constructor"))).toMatch(/there is no op/)
    expect(message(file => (file.instructions[0]!.inputs = [0, 99]))).toMatch(
      /^program: instruction 0, \w+: value 99 is not defined before it/
    )
    expect(message(file => (file.instructions[0]!.inputs = []))).toMatch(/takes \d operands, got 0/)
    expect(message(file => (file.instructions[0]!.attributes["surprise"] = 1))).toMatch(/surprise/)
    expect(message(file => (file.inputs[0]!.shape = [7, 7]))).toMatch(/^program: instruction \d+, matmul: inner sizes/)
    const argmax = (file: EncodedProgram) => file.instructions.find(({ op }) => op === "argmax")!
    expect(message(file => (argmax(file).attributes["axis"] = -1))).toMatch(/greater than or equal to 0.*"axis"/s)
    expect(message(file => (argmax(file).attributes["axis"] = 2))).toMatch(
      /argmax: axis 2 is outside of shape \[2, 3\]/
    )
    expect(message(file => (file.constants[0]!.data = "AAAA"))).toMatch(/constant 0, f32 \[.*\], has 3 bytes/)
    expect(message(file => (file.outputs[0]!.value = 1000))).toMatch(/names value 1000, which does not exist/)
    expect(message(file => file.outputs.push(file.outputs[0]!))).toMatch(/two outputs have one name/)
    expect(message(file => file.inputs.reverse())).toMatch(/ascending order/)
  })

  it("never crash the reader, whatever the bytes", () => {
    const text = encodeProgram(example())
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.string({ maxLength: 3 }), fc.nat(4), (at, put, drop) => {
        const broken = text.slice(0, at) + put + text.slice(at + drop)
        const result = decodeProgram(broken)
        if (Result.isSuccess(result)) expect(Result.isSuccess(decodeProgram(encodeProgram(result.success)))).toBe(true)
      }),
      { seed: 5, numRuns: 500 }
    )
  })
})

describe("wrong use of an op", () => {
  const a = ops.input("a", "f32", [2, 3])
  const b = ops.input("b", "f32", [4, 5])
  const whole = ops.input("whole", "i32", [2, 3])
  const wrong: { readonly [message: string]: () => Tensor | object } = {
    "matmul: inner sizes 3 and 4 differ: [2, 3] by [4, 5]": () => ops.matmul(a, b),
    "add: shapes [2, 3] and [4, 5] do not broadcast: sizes 3 and 5 at axis -1": () => ops.add(a, b),
    "add: operands must have one dtype, got f32 and i32: cast one of them": () => ops.add(a, whole),
    "exp: needs a float, got i32": () => ops.exp(whole),
    "sum: axis 2 is outside of shape [2, 3]": () => ops.sum(a, 2),
    "reshape: [2, 3] does not fit into [4, -1]": () => ops.reshape(a, [4, -1]),
    "concat: f32 [4, 5] does not fit f32 [2, 3] along axis 0": () => ops.concat([a, b], 0),
    "gather: indices must be i32 or i64, got f32": () => ops.gather(a, b),
    "topK: k = 4 does not fit the last axis of [2, 3]": () => ops.topK(a, 4),
    "select: the condition must be bool, got f32": () => ops.select(a, a, a),
    "slice: [0, 0] to [2, 4] by [1, 1] does not lie within [2, 3]": () => ops.slice(a, [0, 0], [2, 4]),
    "transpose: [0, 0] does not permute the axes of [2, 3]": () => ops.transpose(a, [0, 0]),
    "broadcastTo: [2, 3] does not broadcast to [3]": () => ops.broadcastTo(a, [3]),
    "constant: f32 [2] needs 2 elements in Float32Array, got 3 in Float32Array": () =>
      ops.constant(new Float32Array(3), "f32", [2]),
    "constant: 1.5 is no i32": () => ops.add(whole, 1.5),
    "constant: 4294967296 is no i32": () => ops.constant(2 ** 32, "i32"),
    "constant: -1 is no u8": () => ops.constant(-1, "u8"),
    "constant: NaN is no i64": () => ops.constant(NaN, "i64"),
    "slice: [0.5, 0] to [2, 3] by [1, 1] does not lie within [2, 3]": () => ops.slice(a, [0.5, 0]),
    "pad: the value must be finite, got Infinity": () => ops.pad(a, [0, 1], [0, 0], Infinity),
    "rmsNorm: epsilon must be finite, got NaN": () => ops.rmsNorm(a, ops.input("w", "f32", [3]), NaN)
  }
  for (const [text, use] of Object.entries(wrong))
    it(`says ${text}`, () => {
      expect(use).toThrow(text)
    })

  it("names the line of the caller, also where an op is made of others", () => {
    const uses = [
      () => ops.add(a, b),
      () => ops.greater(a, whole),
      () => ops.sliceAxis(a, 0, 1, 7),
      () => mean(a, 5),
      () => softmaxCrossEntropy(a, whole)
    ]
    for (const use of uses) expect(use).toThrow(/program\.test\.ts:\d+:\d+/)
  })
})
