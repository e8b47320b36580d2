/** Elementwise programs as WebAssembly: the same bits as one operator after the other, each rounded to f32. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { kernelOf } from "../../src/engines/ort/kernel.ts"
import { allocateForKernels, bindKernel, stagedElements } from "../../src/engines/ort/kernelMemories.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { abs, add, cast, constant, div, exp, input, mul, neg, reshape, sqrt, sub } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"

type Expression =
  | { readonly leaf: "a" | "b" | "s" | "t" }
  | { readonly value: number }
  | { readonly op: "neg" | "abs" | "sqrt"; readonly x: Expression }
  | { readonly op: "add" | "sub" | "mul" | "div"; readonly x: Expression; readonly y: Expression }

const ops = { neg, abs, sqrt, add, sub, mul, div }
const trace = (expression: Expression, leaf: (name: string) => Tensor): Tensor => {
  if ("leaf" in expression) return leaf(expression.leaf)
  if ("value" in expression) return constant(expression.value, "f32")
  const x = trace(expression.x, leaf)
  return "y" in expression ? ops[expression.op](x, trace(expression.y, leaf)) : ops[expression.op](x)
}

const f = Math.fround
const compute = (expression: Expression, leaf: (name: string) => number): number => {
  if ("leaf" in expression) return leaf(expression.leaf)
  if ("value" in expression) return expression.value
  const x = compute(expression.x, leaf)
  if (!("y" in expression)) return { neg: -x, abs: Math.abs(x), sqrt: f(Math.sqrt(x)) }[expression.op]
  const y = compute(expression.y, leaf)
  return f({ add: x + y, sub: x - y, mul: x * y, div: x / y }[expression.op])
}

const expressions = fc.letrec<{ readonly tree: Expression }>(tie => ({
  tree: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.record({ leaf: fc.constantFrom("a", "b", "s", "t") }),
    fc.record({ value: fc.float() }),
    fc.record({ op: fc.constantFrom("neg", "abs", "sqrt"), x: tie("tree") }),
    fc.record({ op: fc.constantFrom("add", "sub", "mul", "div"), x: tie("tree"), y: tie("tree") })
  )
})).tree

const sizes = [1, 3, 4, 5, stagedElements - 1, stagedElements, stagedElements + 1, 2 * stagedElements + 7]

describe("a kernel", () => {
  it("computes any expression to the bit, of arrays of any size and of scalars", () => {
    fc.assert(
      fc.property(expressions, fc.constantFrom(...sizes), fc.nat(), fc.boolean(), (expression, n, seed, direct) => {
        const given: { readonly [name: string]: Float32Array<ArrayBuffer> } = {
          a: normals(randomKey(seed, "a"), n),
          b: normals(randomKey(seed, "b"), n),
          s: normals(randomKey(seed, "s"), 1),
          t: normals(randomKey(seed, "t"), 1)
        }
        const leaves = new Map(Object.keys(given).map(name => [name, input(name, "f32", name < "s" ? [n] : [])]))
        const leaf = (name: string): Tensor => leaves.get(name)!
        const tree = sub(leaf("a"), trace(expression, leaf))
        const program = makeProgram({ tree, scaled: mul(tree, leaf("b")) })
        const outputs = program.outputs.map(() => (direct ? allocateForKernels(n)! : { floats: new Float32Array(n) }))
        bindKernel(
          kernelOf(program)!,
          program.inputs.map(({ name }) => {
            if (!direct || name > "a") return { floats: given[name]! }
            const array = allocateForKernels(n)!
            array.floats.set(given[name]!)
            return array
          }),
          outputs
        )()
        const [root, scaled] = outputs.map(({ floats }) => floats)
        for (let i = 0; i < n; i++) {
          const at = (name: string): number => given[name]![name < "s" ? i : 0]!
          const expected = f(at("a") - compute(expression, at))
          if (!Object.is(root![i], expected)) expect(root![i]).toBe(expected)
          if (!Object.is(scaled![i], f(expected * at("b")))) expect(scaled![i]).toBe(f(expected * at("b")))
        }
      }),
      { numRuns: 200 }
    )
  })

  it("is for elementwise programs of f32 on one shape, with something to fuse", () => {
    const x = input("x", "f32", [4, 3])
    const y = input("y", "f32", [3])
    const one = input("one", "f32", [1])
    const made = (...outputs: ReadonlyArray<Tensor>): boolean =>
      kernelOf(makeProgram(Object.fromEntries(outputs.map((output, i) => [`o${i}`, output])))) !== undefined
    expect(made(neg(mul(x, x)))).toBe(true)
    expect(made(neg(mul(x, one)))).toBe(true)
    expect(made(mul(x, x))).toBe(false)
    expect(made(exp(mul(x, x)))).toBe(false)
    expect(made(neg(add(x, y)))).toBe(false)
    expect(made(neg(mul(x, x)), x)).toBe(false)
    expect(made(neg(mul(x, x)), neg(one))).toBe(false)
    expect(made(reshape(neg(mul(x, x)), [12]))).toBe(false)
    expect(made(neg(mul(cast(x, "bf16"), cast(x, "bf16"))))).toBe(false)
    expect(
      made(
        neg(
          mul(
            x,
            constant(
              Float32Array.from({ length: 12 }, (_, i) => i),
              "f32",
              [4, 3]
            )
          )
        )
      )
    ).toBe(false)
    const long = Array.from({ length: 12_000 }).reduce<Tensor>(y => add(y, x), x)
    expect(made(long)).toBe(false)
    const empty = input("empty", "f32", [0])
    expect(made(neg(mul(empty, empty)))).toBe(false)
  })
})

describe("the engine", () => {
  it.live("runs kernels in place, and on memory that overlaps", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const n = 2 * stagedElements + 7
        const values = normals(randomKey(1, "x"), n + 1)
        const x = input("x", "f32", [n])
        const executable = yield* engine.compile(makeProgram({ y: add(mul(x, x), 1) }))
        const expected = values.map(value => f(f(value * value) + 1))
        const runs = [
          { from: 0, to: 0 },
          { from: 0, to: 1 },
          { from: 1, to: 0 }
        ]
        for (const { from, to } of runs) {
          const buffer = yield* engine.allocate("f32", [n + 1])
          yield* engine.upload(buffer, values)
          const [read, written] = [yield* engine.view(buffer, from, [n]), yield* engine.view(buffer, to, [n])]
          yield* engine.run([yield* engine.bind(executable, { x: read }, { y: written })])
          const after = values.slice()
          after.set(expected.subarray(from, from + n), to)
          expect(yield* engine.download(buffer)).toEqual(after)
        }
      })
    )
  )
})
