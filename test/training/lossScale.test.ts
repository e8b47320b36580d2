/** Scaling of losses, on an engine that computes in f32 under the name of one in f16. */
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import type { Engine } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { initialise, type ParameterSpec } from "../../src/models/parameters.ts"
import { mul, sub, sum } from "../../src/tensor/ops.ts"
import { train, UpdateSettings } from "../../src/training/loop.ts"
import { initialLossScale, nextLossScale, tooLarge } from "../../src/training/lossScale.ts"
import type { Objective } from "../../src/training/objective.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const specs: ReadonlyArray<ParameterSpec> = [{ name: "w", shape: [6], initial: { normal: 1 } }]

/** sum (a w - 1)^2, whose gradient grows with a. */
const objective = (a: number): Objective<never> => ({
  inputs: { a: { dtype: "f32", shape: [] } },
  losses: (parameter, data) => {
    const error = sub(mul(parameter("w"), data("a")), 1)
    return { loss: sum(mul(error, error)) }
  },
  microBatches: () => Effect.succeed([{ inputs: { a: Float32Array.of(a) }, tokens: 1 }])
})

const trained = (folder: string, halfPrecision: boolean, a: number, steps: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const ort = yield* makeOrt({ threads: 1 })
      const engine: Engine = halfPrecision ? { ...ort, numericClass: "torch/cpu/f16" } : ort
      const { buffers, state } = yield* train<never>(engine, {
        parameters: specs,
        initial: ({ parameters }) => Effect.orDie(initialise(engine, parameters, 2)),
        objective: objective(a),
        steps,
        update: Schema.decodeUnknownSync(UpdateSettings)({ lr: 0.01, lr_warmup_ratio: 0 }),
        directory: join(directory.path, folder),
        progress: () => Effect.void,
        metric: () => Effect.void
      })
      return { weights: [...((yield* engine.download(buffers.parameters.flat)) as Float32Array)], state }
    })
  )

describe("the scale of a loss", () => {
  it("begins at 65,536 where products are in f16, halves on overflow, doubles after 2,000 good steps", () => {
    expect(initialLossScale("torch/cuda/bf16")).toBeUndefined()
    expect(initialLossScale("ort/cpu/f32")).toBeUndefined()
    let scale = initialLossScale("torch/cuda/f16")!
    expect(scale).toEqual({ scale: 65_536, good: 0 })
    scale = nextLossScale(scale, false)
    expect(scale).toEqual({ scale: 32_768, good: 0 })
    for (let i = 0; i < 1999; i++) scale = nextLossScale(scale, true)
    expect(scale).toEqual({ scale: 32_768, good: 1999 })
    expect(nextLossScale(scale, true)).toEqual({ scale: 65_536, good: 0 })
    expect(nextLossScale({ scale: 1, good: 5 }, false)).toEqual({ scale: 1, good: 0 })
    expect([tooLarge({ scale: 2, good: 0 }), tooLarge({ scale: 1, good: 0 })]).toEqual([true, false])
  })

  it.live("changes nothing but the range of the gradients: powers of two are exact", () =>
    Effect.gen(function* () {
      const plain = yield* trained("plain", false, 1, 5)
      const scaled = yield* trained("scaled", true, 1, 5)
      expect(scaled.weights).toEqual(plain.weights)
      expect(scaled.state).toEqual({ ...plain.state, lossScale: { scale: 65_536, good: 5 } })
    })
  )

  it.live("falls until the gradients fit, and the steps until then change nothing and end nothing", () =>
    Effect.gen(function* () {
      // Gradients near 1e16, whose squares are summed in f32: beyond 1e19 or so they overflow.
      const { state } = yield* trained("large", true, 1e8, 16)
      expect(state.skipped).toBeGreaterThan(3)
      expect(state.updates).toBe(16 - state.skipped)
      expect(state.updates).toBeGreaterThan(0)
      expect(state.lossScale!.scale).toBe(65_536 / 2 ** state.skipped)
    })
  )
})
