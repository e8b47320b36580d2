/** Objectives that learn from their own losses: their state is part of the training's state. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { type ParameterSpec, untrained } from "../../src/models/parameters.ts"
import { matmulFlops } from "../../src/tensor/flops.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { groupedMatmul, input, matmul, mul, sub, sum } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { train, type Training, UpdateSettings } from "../../src/training/loop.ts"
import type { ObjectiveState, Objective } from "../../src/training/objective.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const w: ParameterSpec = { name: "w", shape: [2], initial: "zeros" }
const target: ParameterSpec = { name: "target", shape: [2], initial: "zeros" }
const steps = 8

/** loss = scale * sum((w - target)^2), with a scale that follows the squares seen so far; in step `broken` it is not finite. */
const following = (broken = -1): Objective<never> => ({
  inputs: { scale: { dtype: "f32", shape: [] } },
  losses: (parameter, data) => {
    const difference = sub(parameter("w"), parameter("target"))
    const squares = mul(difference, difference)
    return { loss: mul(sum(squares), data("scale")), squares }
  },
  objectiveState: {
    initial: { mean: [1, 1], told: [0] },
    next: ({ mean, told }, step, observations) => ({
      mean: mean!.map((value, i) => 0.9 * value + (0.1 * (step + 1) * observations[1]!["squares"]![i]!) / 3),
      told: [told![0]! + observations.length]
    })
  },
  microBatches: (step, objectiveState) => {
    const scale = step === broken ? NaN : objectiveState!["mean"]![0]! + objectiveState!["mean"]![1]!
    return Effect.succeed(Array.from({ length: 2 }, () => ({ inputs: { scale: Float32Array.of(scale) }, tokens: 1 })))
  }
})

const run = (folder: string, changes: Partial<Training<never>> = {}) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = makeReference()
      let seen: () => ObjectiveState = () => ({})
      const { buffers, state } = yield* train<never>(engine, {
        parameters: [w, ...untrained([target])],
        initial: ({ frozen }) => Effect.orDie(engine.upload(frozen.views["target"]!, Float32Array.of(3, -1))),
        objective: following(),
        steps,
        update: Schema.decodeUnknownSync(UpdateSettings)({ lr: 0.1 }),
        directory: join(directory.path, folder),
        progress: () => Effect.void,
        metric: () => Effect.void,
        evaluation: {
          every: 3,
          prepare: (_buffers, memory) => {
            seen = memory
            return Effect.succeed(Effect.sync(() => ({ told: memory()["told"]![0]! })))
          }
        },
        ...changes
      })
      const download = (buffer: typeof buffers.parameters.flat) =>
        Effect.map(engine.download(buffer), data => [...(data as Float32Array)])
      expect(seen()).toEqual(state.memory)
      return { w: yield* download(buffers.parameters.flat), target: yield* download(buffers.frozen.flat), state }
    })
  )

describe("an objective's memory", () => {
  it.effect("is told after every step, of every micro-batch, and the next step's data follow it", () =>
    Effect.gen(function* () {
      const { state, target: kept, w: trained } = yield* run("a")
      expect(state.memory!["told"]).toEqual([2 * steps])
      expect(kept).toEqual([3, -1])
      expect(trained[0]).toBeGreaterThan(0.5)
      const lines = readFileSync(join(directory.path, "a", "metrics.jsonl"), "utf8")
        .trim()
        .split("\n")
      const first = JSON.parse(lines[0]!) as { readonly [name: string]: number }
      // Both micro-batches: scale 2 times 9 + 1. What is no scalar is not reported.
      expect(first["training/loss"]).toBeCloseTo(40, 4)
      expect(Object.keys(first).filter(name => name.includes("squares"))).toEqual([])
      expect(JSON.parse(lines[2]!)).toMatchObject({ "eval/told": 6 })
    })
  )

  it.effect("is part of a checkpoint: resumed, a training ends in the same bits", () =>
    Effect.gen(function* () {
      const whole = yield* run("whole")
      const fiber = yield* Effect.forkChild(
        run("cut", { progress: ({ done }) => (done === 5 ? Effect.sync(() => void stop()) : Effect.void) })
      )
      const stop = () => Effect.runFork(Fiber.interrupt(fiber))
      yield* Fiber.await(fiber)
      const resumed = yield* run("cut")
      expect(resumed).toEqual(whole)
    })
  )

  it.effect("does not change in a step that changes nothing", () =>
    Effect.gen(function* () {
      const { state } = yield* run("a", { objective: following(4) })
      expect(state).toMatchObject({ skipped: 1, memory: { told: [2 * (steps - 1)] } })
    })
  )
})

it("the operations of matrix products are counted, forward and backward", () => {
  const a = input("a", "f32", [5, 3])
  const b = input("b", "f32", [2, 3, 7])
  const product = matmul(a, b)
  expect(matmulFlops(makeProgram({ product }))).toBe(2 * 2 * 5 * 3 * 7)
  const [ga, gb] = gradients(sum(mul(product, product)), [a, b])
  expect(matmulFlops(makeProgram({ ga: ga!, gb: gb! }))).toBe(3 * 2 * 2 * 5 * 3 * 7)
  // Rows of groups, each with one matrix of eight.
  const grouped = groupedMatmul(a, input("c", "f32", [8, 3, 7]), input("sizes", "i32", [8]))
  const [gc] = gradients(sum(mul(grouped, grouped)), [a])
  expect(matmulFlops(makeProgram({ grouped, gc: gc! }))).toBe(2 * 2 * 5 * 3 * 7)
})
