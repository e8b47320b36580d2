/** The torch engine on the processor, eager and compiled, and our gradients against PyTorch's own. */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { makeEpochs } from "../../src/data/epochs.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { evaluate, fromNumbers, toNumbers } from "../../src/engines/reference/evaluate.ts"
import { makeTorch } from "../../src/engines/torch/torch.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialise } from "../../src/models/parameters.ts"
import { vjp } from "../../src/tensor/autodiff.ts"
import { encodeProgram } from "../../src/tensor/encode.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { causalObjective } from "../../src/training/objectives/causal.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { type Case, conformance, draw } from "../engines/conformance.ts"
import { conformanceSuite } from "../engines/conformanceSuite.ts"
import { lifecycleSuite } from "../engines/lifecycleSuite.ts"
import { interpreterVariable, python } from "./python.ts"
import { modelConfig } from "../support/tinyModel.ts"

const interpreter = process.env[interpreterVariable]!

const config = modelConfig({ hiddenSize: 16, intermediateSize: 24, headDim: 8, vocabSize: 31, initializerRange: 0.2 })

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
  lifecycleSuite("torch", make)
})

interface Differentiated {
  /** For each case, for each wanted input. */
  readonly gradients: ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>>
}

/** What a case's gradients are by our rules, and the question to PyTorch. */
const differentiated = (op: string, { f, inputs }: Case, seedOf: number) => {
  const traced = inputs.map(({ dtype, shape }, i) => ops.input(`x${i}`, dtype, shape))
  const y = f(...traced)
  if (y.dtype !== "f32") return undefined
  const program = makeProgram({ y })
  const names = program.inputs.map(({ name }) => name)
  const wanted = traced.flatMap((tensor, i) =>
    inputs[i]!.dtype === "f32" && names.includes(`x${i}`) ? [{ tensor, name: `x${i}` }] : []
  )
  if (wanted.length === 0) return undefined
  const values: { readonly [name: string]: Float64Array } = Object.fromEntries(
    inputs.map((input, i) => [`x${i}`, toNumbers(input.dtype, fromNumbers(input.dtype, draw(input, seedOf + i)))])
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
        const { dtype, shape } = inputs[Number(name.slice(1))]!
        return { dtype, shape, values: [...values[name]!], wanted: wanted.some(each => each.name === name) }
      }),
      seed: [...seed]
    }
  }
}

describe("gradients are those of PyTorch", () => {
  const all = Object.entries(conformance).flatMap(([op, cases]) =>
    cases.flatMap((testCase, c) => differentiated(op, testCase, 10 * c) ?? [])
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
        const sequences = Array.from({ length: 40 }, (_, s) =>
          Int32Array.from({ length: 3 + (s % 9) }, (_token, i) => (s * 5 + i * i) % 31)
        )
        const length = 12
        const lossesOn = (engine: Engine) =>
          Effect.gen(function* () {
            const buffers = yield* allocateTraining(engine, parameterSpecs(config), [])
            yield* initialise(engine, buffers.parameters, 3)
            const objective = causalObjective(config, {
              sequences,
              epochs: makeEpochs(
                sequences.map(sequence => sequence.length),
                { seed: 2, capacity: length, rowsPerStep: 4 }
              ),
              microBatchRows: 2,
              length,
              pad: 0,
              averaging: "tokens"
            })
            const trainer = yield* makeTrainer(engine, objective, buffers, {
              optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
              groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
              maxGradNorm: 1,
              checkpointLayers: true
            })
            const losses: Array<number> = []
            for (let step = 0; step < 30; step++) {
              const outcome = yield* trainer.step(yield* objective.microBatches(step), { lr: 0.01, update: step + 1 })
              losses.push(outcome.losses["loss"]!)
            }
            return losses
          })
        const ort = yield* lossesOn(yield* makeOrt({ threads: 1 }))
        const torch = yield* lossesOn(yield* make())
        expect(ort.at(-1)!).toBeLessThan(ort[0]! - 0.3)
        for (const [i, loss] of ort.entries()) expect(Math.abs(torch[i]! / loss - 1), `step ${i}`).toBeLessThan(1e-4)
      })
    )
  )
})

describe("the process", () => {
  const messageOf = (options: Parameters<typeof makeTorch>[0]) =>
    Effect.map(Effect.flip(Effect.scoped(makeTorch(options))), ({ message }) => message)

  it.live("that cannot be started, has no PyTorch or no GPU is an error that says what to do", () =>
    Effect.gen(function* () {
      expect(yield* messageOf({ python: "/nowhere/python", device: "cpu" })).toMatch(
        /^\/nowhere\/python cannot be started: .*PIPELINE_TORCH_PYTHON/
      )
      // An interpreter that sees no installed packages.
      const bare = join(mkdtempSync(join(tmpdir(), "bare-")), "python")
      writeFileSync(bare, `#!/bin/sh\nshift\nexec "${interpreter}" -I -S "$@"\n`, { mode: 0o755 })
      expect(yield* messageOf({ python: bare, device: "cpu" })).toMatch(/python has no PyTorch. Name an interpreter/)
      expect(yield* messageOf({ python: interpreter, device: "cuda" })).toMatch(/finds no GPU here/)
    })
  )

  it.live("that is killed fails what waits, and what comes after", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const pidOf = join(mkdtempSync(join(tmpdir(), "pid-")), "python")
        const pidFile = `${pidOf}.pid`
        writeFileSync(pidOf, `#!/bin/sh\necho $$ > ${pidFile}\nexec "${interpreter}" "$@"\n`, { mode: 0o755 })
        const engine = yield* makeTorch({ python: pidOf, device: "cpu" })
        yield* engine.allocate("f32", [3])
        process.kill(Number(readFileSync(pidFile, "utf8")), "SIGKILL")
        const { message } = yield* Effect.flip(Effect.scoped(engine.allocate("f32", [3])))
        expect(message).toMatch(/was ended by SIGKILL/)
      })
    )
  )
})
