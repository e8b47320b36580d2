/** The loop on small problems: what may not change the result, and what must. */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Schema, type Scope } from "effect"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { type Engine, EngineError } from "../../src/engines/Engine.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialise, initialValues, type ParameterSpec } from "../../src/models/parameters.ts"
import { matmul, mul, sub, sum } from "../../src/tensor/ops.ts"
import { train, type Training, UpdateSettings } from "../../src/training/loop.ts"
import { type Averaging, normalisers, type Objective } from "../../src/training/objective.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { modelConfig } from "../support/tinyModel.ts"

const config = modelConfig()
const specs = parameterSpecs(config)
const sequences = Array.from({ length: 60 }, (_, i) =>
  Int32Array.from({ length: 2 + (i % 9) }, (_token, j) => (i * 3 + j * j) % 11)
)
const length = 12

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const settings = (changes: Partial<typeof UpdateSettings.Encoded> = {}): UpdateSettings =>
  Schema.decodeUnknownSync(UpdateSettings)({ lr: 0.01, lrDecayStyle: "cosine", lrWarmupRatio: 0.2, ...changes })

const objective = (microBatchRows = 4, averaging: Averaging = "tokens"): Objective<never> =>
  causalObjective(config, {
    sequences,
    epochs: makeEpochs(
      sequences.map(sequence => sequence.length),
      { seed: 2, capacity: length, rowsPerStep: 4 }
    ),
    microBatchRows,
    length,
    pad: 0,
    averaging
  })

const training = (folder: string, changes: Partial<Training<never>> = {}): Training<never> => ({
  parameters: specs,
  initial: ({ frozen, parameters }) =>
    Effect.orDie(Effect.andThen(initialise(engineInUse, parameters, 7), initialise(engineInUse, frozen, 7))),
  objective: objective(),
  steps: 8,
  update: settings(),
  directory: join(directory.path, folder),
  progress: () => Effect.void,
  metric: () => Effect.void,
  ...changes
})
let engineInUse: Engine

const inEngine = <A, E>(use: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.scoped(
    Effect.gen(function* () {
      engineInUse = yield* makeOrt({ threads: 1 })
      return yield* use
    })
  )

/** All parameters by name after training. */
const trained = (folder: string, changes: Partial<Training<never>> = {}) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { buffers, state } = yield* train(engineInUse, training(folder, changes))
      const views = { ...buffers.frozen.views, ...buffers.parameters.views }
      const parameters: { [name: string]: Float32Array } = {}
      for (const [name, view] of Object.entries(views))
        parameters[name] = (yield* engineInUse.download(view)) as Float32Array
      return { parameters, state }
    })
  )
const lines = (folder: string): ReadonlyArray<{ readonly [name: string]: number }> =>
  readFileSync(join(directory.path, folder, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as { readonly [name: string]: number })
const losses = (folder: string): ReadonlyArray<number> => lines(folder).map(line => line["training/loss"]!)

const distance = (a: { readonly [name: string]: Float32Array }, b: { readonly [name: string]: Float32Array }): number =>
  Math.max(...Object.entries(a).flatMap(([name, values]) => [...values].map((x, i) => Math.abs(x - b[name]![i]!))))

describe("training", () => {
  it.live("learns: the loss falls, and the log has one line per step", () =>
    inEngine(
      Effect.gen(function* () {
        const points: Array<readonly [string, number, number]> = []
        const metric = (name: string, value: number, step: number) =>
          Effect.sync(() => void points.push([name, value, step]))
        yield* trained("a", { steps: 40, update: settings({ lr: 0.03 }), metric })
        const all = losses("a")
        expect(all).toHaveLength(40)
        expect(all.at(-1)!).toBeLessThan(all[0]! - 0.5)
        expect(points.filter(([name]) => name === "training/loss").map(([, value]) => value)).toEqual(all)
      })
    )
  )

  it.live("resumed from a checkpoint ends in the same bits and the same log", () =>
    inEngine(
      Effect.gen(function* () {
        const whole = yield* trained("whole")
        const stopAt = 5
        const interrupted = Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(
            trained("cut", {
              progress: ({ done }) => (done === stopAt ? Effect.sync(() => void stop()) : Effect.void)
            })
          )
          const stop = () => Effect.runFork(Fiber.interrupt(fiber))
          yield* Fiber.await(fiber)
        })
        yield* interrupted
        expect(readdirSync(join(directory.path, "cut"))).toContain("step-00000005")
        const points: Array<number> = []
        const metric = (name: string, _value: number, step: number) =>
          Effect.sync(() => void (name === "training/loss" && points.push(step)))
        const resumed = yield* trained("cut", { metric })
        expect(resumed).toEqual(whole)
        expect(losses("cut")).toEqual(losses("whole"))
        expect(points).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
        expect(readFileSync(join(directory.path, "cut", "events.out.tfevents.pipeline")).length).toBe(
          readFileSync(join(directory.path, "whole", "events.out.tfevents.pipeline")).length
        )
      })
    )
  )

  it.live("passes over a checkpoint that is damaged, and what a killed process left half written", () =>
    inEngine(
      Effect.gen(function* () {
        const whole = yield* trained("whole")
        yield* trained("cut", { steps: 3, update: settings({ lrDecayStyle: "constant", lrWarmupRatio: 0 }) })
        const root = join(directory.path, "cut")
        const file = join(root, "step-00000003", "model.safetensors")
        truncateSync(file, 100)
        mkdirSync(join(root, "step-00000007.tmp"))
        writeFileSync(join(root, "metrics.jsonl"), '{"step":1,"ti', { flag: "a" })
        expect(yield* trained("cut")).toEqual(whole)
        expect(losses("cut")).toEqual(losses("whole"))
      })
    )
  )

  it.live("goes on from no checkpoint that has other bytes than were written, wherever they are", () =>
    inEngine(
      Effect.gen(function* () {
        const whole = yield* trained("whole")
        const root = join(directory.path, "cut")
        const begin = Effect.gen(function* () {
          rmSync(root, { recursive: true, force: true })
          const fiber = yield* Effect.forkChild(
            trained("cut", {
              checkpointSeconds: 0,
              progress: ({ done }) =>
                done === 5 ? Effect.sync(() => void Effect.runFork(Fiber.interrupt(fiber))) : Effect.void
            })
          )
          yield* Fiber.await(fiber)
          const kept = readdirSync(root).filter(name => name.startsWith("step-"))
          expect(kept).toHaveLength(2)
          return kept.sort().at(-1)!
        })
        const zero = (file: string, from: number, length: number) => {
          const bytes = readFileSync(file)
          const before = Buffer.from(bytes)
          bytes.fill(0, from, from + length)
          expect(bytes.equals(before)).toBe(false)
          writeFileSync(file, bytes)
        }
        const damages: ReadonlyArray<(newest: string) => void> = [
          newest => {
            const file = join(root, newest, "model.safetensors")
            zero(file, statSync(file).size >> 1, 256)
          },
          newest => {
            // Still the state of a training, but of another one.
            const file = join(root, newest, "state.json")
            writeFileSync(file, readFileSync(file, "utf8").replace('"tokens":', '"tokens":1'))
          },
          () => zero(join(root, "metrics.jsonl"), 30, 100)
        ]
        for (const damage of damages) {
          damage(yield* begin)
          expect(yield* trained("cut")).toEqual(whole)
          expect(losses("cut")).toEqual(losses("whole"))
        }
      })
    )
  )

  it.live("keeps a checkpoint that could not be read for a reason of the moment, and says so", () =>
    inEngine(
      Effect.gen(function* () {
        yield* trained("cut", { steps: 3 })
        const kept = readdirSync(join(directory.path, "cut"))
        const sound = engineInUse
        // The engine fails when the checkpoint's tensors are on their way to it.
        let uploads = 0
        engineInUse = {
          ...sound,
          upload: (buffer, data) =>
            ++uploads === specs.length + 2
              ? Effect.fail(new EngineError({ engine: "ort", message: "no memory just now" }))
              : sound.upload(buffer, data)
        }
        const error = yield* Effect.flip(trained("cut"))
        expect(error.message).toBe("no memory just now")
        expect(readdirSync(join(directory.path, "cut"))).toEqual(kept)
        engineInUse = sound
        const first = lines("cut")[0]!
        yield* trained("cut")
        expect(lines("cut")).toHaveLength(8)
        expect(lines("cut")[0]).toEqual(first)
      })
    )
  )

  it.live("leaves frozen parameters as they were, and trains the others as if they were constants", () =>
    inEngine(
      Effect.gen(function* () {
        const { parameters } = yield* trained("a", {
          update: settings({ freeze: ["lm_head", "layers.0."] }),
          aliases: { "lm_head.weight": "model.embed_tokens.weight" }
        })
        for (const spec of specs) {
          const start = initialValues(spec, 7)
          const same =
            Buffer.compare(Buffer.from(start.buffer), Buffer.from(parameters[spec.name]!.slice().buffer)) === 0
          expect(same, spec.name).toBe(/embed|layers\.0\./.test(spec.name))
        }
      })
    )
  )

  it.live("with k micro-batches is training with one of k times the rows", () =>
    inEngine(
      Effect.gen(function* () {
        const one = yield* trained("one", { steps: 3 })
        const four = yield* trained("four", { steps: 3, objective: objective(1) })
        expect(distance(one.parameters, four.parameters)).toBeLessThan(2e-6)
        for (const [i, loss] of losses("four").entries()) expect(loss).toBeCloseTo(losses("one")[i]!, 5)
        expect(four.state.tokens).toBe(one.state.tokens)
        const means = yield* trained("means", { steps: 3, objective: objective(1, "micro-batches") })
        expect(distance(one.parameters, means.parameters)).toBeGreaterThan(1e-4)
      })
    )
  )

  it("weighs tokens or micro-batches", () => {
    expect(normalisers([3, 0, 1], "tokens")).toEqual([1 / 4, 1 / 4, 1 / 4])
    expect(normalisers([3, 0, 1], "micro-batches")).toEqual([1 / 6, 0, 1 / 2])
    expect(normalisers([0, 0], "tokens")).toEqual([0, 0])
  })

  it.live("computes layers again in the backward pass without changing the result", () =>
    inEngine(
      Effect.gen(function* () {
        const kept = yield* trained("kept", { steps: 3 })
        const again = yield* trained("again", { steps: 3, update: settings({ gradientCheckpointing: true }) })
        expect(distance(kept.parameters, again.parameters)).toBeLessThan(2e-6)
      })
    )
  )

  it.live("evaluates every few steps and at the end", () =>
    inEngine(
      Effect.gen(function* () {
        let calls = 0
        yield* trained("a", {
          evaluation: { every: 3, prepare: () => Effect.succeed(Effect.sync(() => ({ calls: ++calls }))) }
        })
        const found = lines("a").flatMap(line => ("eval/calls" in line ? [[line["step"], line["eval/calls"]]] : []))
        expect(found).toEqual([
          [3, 1],
          [6, 2],
          [8, 3]
        ])
      })
    )
  )
})

/** Least squares in two numbers, w: loss = scale * sum((w - target)^2), of which everything is known. */
const parabola = (scales: ReadonlyArray<number>): Objective<never> => ({
  inputs: { scale: { dtype: "f32", shape: [] } },
  losses: (parameter, data) => {
    const difference = sub(parameter("w"), 3)
    return { loss: mul(sum(mul(difference, difference)), data("scale")) }
  },
  microBatches: step => Effect.succeed([{ inputs: { scale: Float32Array.of(scales[step]!) }, tokens: 1 }])
})
const w: ParameterSpec = { name: "w", shape: [2], initial: "zeros" }

describe("steps", () => {
  const run = (scales: ReadonlyArray<number>, update: UpdateSettings, folder = "a") =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        const { buffers, state } = yield* train<never>(engine, {
          parameters: [w],
          initial: () => Effect.void,
          objective: parabola(scales),
          steps: scales.length,
          update,
          directory: join(directory.path, folder),
          progress: () => Effect.void,
          metric: () => Effect.void
        })
        return { w: [...((yield* engine.download(buffers.parameters.flat)) as Float32Array)], state }
      })
    )

  it.live("add up the operations of their matrix products, of every micro-batch", () =>
    inEngine(
      Effect.gen(function* () {
        const [n, d, k, steps] = [5, 3, 2, 3] as const
        const microBatch = { inputs: { x: new Float32Array(n * d).fill(1) }, tokens: n }
        const { state } = yield* Effect.scoped(
          train<never>(engineInUse, {
            parameters: [{ name: "w", shape: [d, k], initial: "zeros" }],
            initial: () => Effect.void,
            objective: {
              inputs: { x: { dtype: "f32", shape: [n, d] } },
              losses: (parameter, data) => {
                const difference = sub(matmul(data("x"), parameter("w")), 1)
                return { loss: sum(mul(difference, difference)) }
              },
              // What a micro-batch says of itself is for the rate alone.
              microBatches: () => Effect.succeed([microBatch, { ...microBatch, flops: 1 }])
            },
            steps,
            update: settings(),
            directory: join(directory.path, "a"),
            progress: () => Effect.void,
            metric: () => Effect.void
          })
        )
        // x w, and x' times the gradient of the product: 2 n d k each.
        const perStep = 2 * 4 * n * d * k
        expect(state.flops).toBe(steps * perStep)
        expect(lines("a").map(line => line["consume_flops(T)"])).toEqual([1, 2, 3].map(step => (step * perStep) / 1e12))
      })
    )
  )

  it.effect("report the norm of the gradients before they are clipped", () =>
    Effect.gen(function* () {
      yield* run([1, 1], settings({ maxGradNorm: 0.5 }))
      // Gradient -6 in both elements.
      expect(lines("a")[0]!["training/grad_norm"]).toBeCloseTo(6 * Math.SQRT2, 5)
    })
  )

  it.effect(
    "scale gradients to the largest norm: seen in the moments, which AdamW's own scale hides in the first step",
    () =>
      Effect.gen(function* () {
        // A small gradient after a large one moves further when the large one was clipped.
        const unclipped = yield* run([100, 1], settings({ lrWarmupRatio: 0, maxGradNorm: 0 }), "unclipped")
        const clipped = yield* run([100, 1], settings({ lrWarmupRatio: 0, maxGradNorm: 1 }), "clipped")
        const byHand = (gradients: ReadonlyArray<number>) => {
          let [p, m, v] = [0, 0, 0]
          for (const [i, g] of gradients.entries()) {
            const lr = 0.01 * (1e-5 + (1 - 1e-5) * 0.5 * (1 + Math.cos((Math.PI * i) / 2)))
            m = 0.9 * m + 0.1 * g
            v = 0.95 * v + 0.05 * g * g
            p -= (lr * (m / (1 - 0.9 ** (i + 1)))) / (Math.sqrt(v / (1 - 0.95 ** (i + 1))) + 1e-8)
          }
          return p
        }
        const second = (p: number) => 2 * (p - 3)
        expect(unclipped.w[0]).toBeCloseTo(byHand([-600, second(0.01)]), 6)
        expect(clipped.w[0]).toBeCloseTo(byHand([-Math.SQRT1_2, -Math.SQRT1_2]), 6)
      })
  )

  it.effect(
    "without a finite loss change nothing, are counted, and end the training when there are three in a row",
    () =>
      Effect.gen(function* () {
        const constant = settings({ lrDecayStyle: "constant", lrWarmupRatio: 0 })
        const clean = yield* run([1, 1], constant, "clean")
        const disturbed = yield* run([1, NaN, Infinity, 1], constant, "disturbed")
        expect(disturbed.w).toEqual(clean.w)
        expect(disturbed.state).toMatchObject({ step: 4, updates: 2, skipped: 2, skippedInARow: 0 })
        expect(lines("disturbed")[1]!["training/loss"]).toBeNull()
        const error = yield* Effect.flip(run([1, NaN, NaN, NaN, 1], constant, "diverged"))
        expect(error.message).toMatch(/not finite for 3 steps in a row, up to step 4; a lower learning rate/)
      })
  )
})
