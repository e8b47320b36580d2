/** The recipe "Adding an op" of CONTRIBUTING.md, tried with an op that only this test knows. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { mayOverwrite } from "../../src/engines/ort/inPlace.ts"
import { lowerings } from "../../src/engines/ort/lowerings.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { evaluate } from "../../src/engines/reference/evaluate.ts"
import { kernels } from "../../src/engines/reference/kernels.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { square } from "../../src/tensor/composites.ts"
import { declare } from "../../src/tensor/declaration.ts"
import { floats } from "../../src/tensor/dtype.ts"
import { decodeProgram, encodeProgram } from "../../src/tensor/encode.ts"
import { apply } from "../../src/tensor/ops/apply.ts"
import { input, mul, sum } from "../../src/tensor/ops.ts"
import { primitives } from "../../src/tensor/primitives.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { rules } from "../../src/tensor/rules.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import { computes } from "./conformanceSuite.ts"
import { samples } from "./samples.ts"

// The name of an op of the same type, as TypeScript knows of no other.
const name = "cube" as "exp"

const declarations: Partial<typeof primitives> = {
  [name]: declare({ dtypes: floats, inPlace: true }, ([x]) => x.shape)
}
const rulesOf: Partial<typeof rules> = { [name]: ({ g, inputs: [x] }) => [() => mul(g, mul(square(x), 3))] }
const kernelsOf: Partial<typeof kernels> = { [name]: ([x]) => x.data.map(value => value ** 3) }
const loweringsOf: Partial<typeof lowerings> = {
  [name]: ({ b, inputs: [x] }) => b.one("Mul", [b.one("Mul", [x, x]), x])
}
const samplesOf: Partial<typeof samples> = {
  [name]: { ulps: 4, draw: c => ({ shapes: [c.shape()], attributes: {} }) }
}
Object.assign(primitives, declarations)
Object.assign(rules, rulesOf)
Object.assign(kernels, kernelsOf)
Object.assign(lowerings, loweringsOf)
Object.assign(samples, samplesOf)

const cube = (x: Tensor): Tensor => apply(name, {}, [x], cube)

describe("an op with its declaration, rule, kernel, lowering and sample", () => {
  const x = input("x", "f32", [2, 3])
  const y = cube(x)
  const program = makeProgram({ y, gradient: gradients(sum(y), [x])[0]! })

  it("is traced, differentiated and computed, and refuses what it does not take", () => {
    expect(evaluate(program, { x: [0, 1, 2, -1, 3, -2] })).toEqual({
      y: Float64Array.of(0, 1, 8, -1, 27, -8),
      gradient: Float64Array.of(0, 3, 12, 3, 27, 12)
    })
    expect(() => cube(input("whole", "i32", [2]))).toThrow("cube: needs a float, got i32")
  })

  it("is written and read", () => {
    expect(Result.getOrThrow(decodeProgram(encodeProgram(program)))).toEqual(program)
  })

  it("may be done in place where it says so", () => {
    expect(mayOverwrite(makeProgram({ y }), "y", "x")).toBe(true)
  })

  it.live("passes the conformance suite", () => Effect.scoped(Effect.flatMap(makeOrt({ threads: 1 }), computes(name))))
})

it("what is missing of an op is an error of types", () => {
  const without = <T extends object>({ ...all }: T): Omit<T, "exp"> => all as Omit<T, "exp">
  // @ts-expect-error: no rule
  const noRule: typeof rules = without(rules)
  // @ts-expect-error: no kernel
  const noKernel: typeof kernels = without(kernels)
  // @ts-expect-error: no lowering
  const noLowering: typeof lowerings = without(lowerings)
  // @ts-expect-error: no sample
  const noSample: typeof samples = without(samples)
  expect([noRule, noKernel, noLowering, noSample]).toHaveLength(4)
})
