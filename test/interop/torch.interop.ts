/** The torch engine on the processor, eager and compiled, and our gradients against PyTorch's own. */
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import type { Engine } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { evaluate, fromNumbers, toNumbers } from "../../src/engines/reference/evaluate.ts"
import { makeTorch } from "../../src/engines/torch/torch.ts"
import { vjp } from "../../src/tensor/autodiff.ts"
import { encodeProgram } from "../../src/tensor/encode.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { allOps, type Case, casesOf, draw, traced } from "../engines/cases.ts"
import { conformanceSuite, conformanceTogether } from "../engines/conformanceSuite.ts"
import { lifecycleSuite } from "../engines/lifecycleSuite.ts"
import { interpreterVariable, python } from "./python.ts"
import { trainTiny } from "../support/tinyTraining.ts"

const interpreter = process.env[interpreterVariable]!

/** One process for all tests of a kind: importing PyTorch takes seconds. */
const shared = (compiled: boolean) => {
  const scope = Effect.runSync(Scope.make())
  let engine: Engine | undefined
  beforeAll(async () => {
    engine = await Effect.runPromise(
      Effect.provideService(makeTorch({ python: interpreter, device: "cpu", compiled, threads: 2 }), Scope.Scope, scope)
    )
  }, 120_000)
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return () => Effect.sync(() => engine!)
}

describe("eager", () => {
  const make = shared(false)
  conformanceSuite("torch", make)
  lifecycleSuite("torch", make)
})

describe("compiled", () => {
  const make = shared(true)
  conformanceTogether("torch", make, 8)
  lifecycleSuite("torch", make)
})

interface Differentiated {
  /** For each case, for each wanted input. */
  readonly gradients: ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>>
}

/** What a case's gradients are by our rules, and the question to PyTorch. */
const differentiated = (op: string, each: Case, seedOf: number) => {
  const { inputs } = each
  const { outputs, x } = traced(op, each)
  const y = Object.values(outputs)[0]!
  if (y.dtype !== "f32") return undefined
  const program = makeProgram({ y })
  const names = program.inputs.map(({ name }) => name)
  const wanted = x.flatMap((tensor, i) =>
    inputs[i]!.dtype === "f32" && names.includes(`${op}/x${i}`) ? [{ tensor, name: `${op}/x${i}` }] : []
  )
  if (wanted.length === 0) return undefined
  const values: { readonly [name: string]: Float64Array } = Object.fromEntries(
    inputs.map((input, i) => [`${op}/x${i}`, toNumbers(input.dtype, fromNumbers(input.dtype, draw(input, seedOf + i)))])
  )
  const seed = draw({ dtype: "f32", shape: y.shape }, 99).map(Math.fround)
  const gradients = vjp(
    [y],
    [ops.input("seed", "f32", y.shape)],
    wanted.map(({ tensor }) => tensor)
  )
  // A sum, because a gradient that is an input or a constant is no result.
  const backward = makeProgram(
    Object.fromEntries(gradients.map((gradient, i) => [wanted[i]!.name, ops.add(gradient, 0)]))
  )
  const known = Object.fromEntries(backward.inputs.map(({ name }) => [name, name === "seed" ? seed : values[name]!]))
  return {
    op,
    names: wanted.map(({ name }) => name),
    ours: evaluate(backward, known, { exact: true }),
    question: {
      program: encodeProgram(program),
      inputs: names.map(name => {
        const { dtype, shape } = inputs[Number(name.split("/x")[1])]!
        return { dtype, shape, values: [...values[name]!], wanted: wanted.some(each => each.name === name) }
      }),
      seed: [...seed]
    }
  }
}

describe("gradients are those of PyTorch", () => {
  const all = allOps.flatMap(op =>
    // Quantised weights are frozen: no gradient flows to what they are made from.
    (op === "dequantiseNf4" ? [] : casesOf(op)).flatMap((testCase, c) => differentiated(op, testCase, 10 * c) ?? [])
  )
  let theirs: Differentiated["gradients"] = []
  beforeAll(() => {
    theirs = python<Differentiated>(
      "autograd.py",
      all.map(({ question }) => question)
    ).gradients
  }, 120_000)
  for (const op of new Set(all.map(each => each.op)))
    it(op, () => {
      for (const [i, each] of all.entries()) {
        if (each.op !== op) continue
        for (const [w, name] of each.names.entries()) {
          const expected = theirs[i]![w]!
          const actual = each.ours[name]!
          expect(actual.length).toBe(expected.length)
          for (const [at, value] of expected.entries())
            expect(
              Math.abs(actual[at]! - value),
              `case ${i}, ${name}[${at}]: ${actual[at]} against ${value}`
            ).toBeLessThan(1e-5 * Math.max(1, Math.abs(value)))
        }
      }
    })
})

describe("training", () => {
  const make = shared(false)
  it.live("on torch comes to the losses of ort", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const settings = { steps: 30, microBatchRows: 2 }
        const ort = yield* trainTiny(yield* makeOrt({ threads: 1 }), settings)
        const torch = yield* trainTiny(yield* make(), settings)
        expect(ort.losses.at(-1)!).toBeLessThan(ort.losses[0]! - 0.3)
        for (const [i, loss] of ort.losses.entries())
          expect(Math.abs(torch.losses[i]! / loss - 1), `step ${i}`).toBeLessThan(1e-4)
      })
    )
  )
})
