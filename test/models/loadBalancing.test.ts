/** The load-balancing loss beside its definition, and as a training adds it. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { randomMasking } from "../../src/methods/shared/masks/corruption.ts"
import { diffusionObjective, DiffusionSettings } from "../../src/methods/shared/masks/objective.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { forward, weightsOf } from "../../src/models/decoder.ts"
import { loadBalancingLoss } from "../../src/models/loadBalancing.ts"
import { initialValues, parameterInputs } from "../../src/models/parameters.ts"
import { inputsOf } from "../../src/sessions/session.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { input } from "../../src/tensor/ops.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import type { Objective } from "../../src/training/objective.ts"
import { expertsConfig } from "../support/tinyModel.ts"

type Rows = ReadonlyArray<ReadonlyArray<number>>

/** f and P of all layers' tokens, and their product. */
const byHand = (layers: ReadonlyArray<Rows>, k: number, counted: ReadonlyArray<boolean>): number => {
  const rows = layers.flatMap(layer => layer.filter((_, i) => counted[i]))
  const experts = rows[0]!.length
  const used = Array<number>(experts).fill(0)
  const probable = Array<number>(experts).fill(0)
  for (const row of rows) {
    const e = row.map(Math.exp)
    const total = e.reduce((sum, x) => sum + x, 0)
    for (const [i, x] of e.entries()) probable[i]! += x / total / rows.length
    const order = [...row.keys()].sort((a, b) => row[b]! - row[a]!)
    for (const i of order.slice(0, k)) used[i]! += 1 / rows.length
  }
  return experts * used.reduce((sum, f, i) => sum + f * probable[i]!, 0)
}

const [tokens, experts, k] = [7, 5, 2]
const drawn = (seed: number): ReadonlyArray<number> => [...normals(randomKey(seed, "router logits"), tokens * experts)]
const asRows = (flat: ReadonlyArray<number>): Rows =>
  Array.from({ length: tokens }, (_, i) => flat.slice(i * experts, (i + 1) * experts))
const layers = [1, 2].map(drawn)
const logits = [input("l0", "f32", [tokens, experts]), input("l1", "f32", [tokens, experts])] as const
const counted = input("counted", "f32", [tokens])

describe("the load-balancing loss", () => {
  it("is E sum of f P over the tokens of all layers, without padding", () => {
    const values = { l0: layers[0]!, l1: layers[1]!, counted: [1, 1, 0, 1, 1, 1, 0] }
    const found = evaluateTensors(
      { all: loadBalancingLoss(logits, k), real: loadBalancingLoss(logits, k, counted) },
      values,
      { exact: true }
    )
    const rows = layers.map(asRows)
    expect(found["all"]![0]).toBeCloseTo(byHand(rows, k, Array(tokens).fill(true)), 10)
    expect(found["real"]![0]).toBeCloseTo(
      byHand(
        rows,
        k,
        values.counted.map(x => x === 1)
      ),
      10
    )
  })

  it("is k where all experts are as likely, and E where all tokens go to the same ones for sure", () => {
    const [first] = logits
    const loss = (values: ReadonlyArray<number>): number =>
      evaluateTensors({ loss: loadBalancingLoss([first], k) }, { l0: values }, { exact: true })["loss"]![0]!
    expect(loss(Array(tokens * experts).fill(0))).toBeCloseTo(k, 10)
    expect(loss(asRows(layers[0]!).flatMap(() => [100, 100, 0, 0, 0]))).toBeCloseTo(experts, 10)
  })

  it("has the gradients of the central differences, and none at padding", () => {
    const [first] = logits
    const loss = loadBalancingLoss([first], k, counted)
    const values = { l0: layers[0]!, counted: [1, 1, 0, 1, 1, 1, 0] }
    const [gradient] = gradients(loss, [first])
    const found = evaluateTensors({ gradient: gradient! }, values, { exact: true })["gradient"]!
    const step = 1e-6
    for (const [i, at] of values.l0.entries()) {
      const moved = (to: number): number =>
        evaluateTensors({ loss }, { ...values, l0: values.l0.with(i, to) }, { exact: true })["loss"]![0]!
      expect(found[i]).toBeCloseTo((moved(at + step) - moved(at - step)) / (2 * step), 7)
      if (values.counted[Math.floor(i / experts)] === 0) expect(found[i]).toBe(0)
    }
  })
})

const sequences = [
  [3, 1, 4, 1, 5],
  [9, 2, 6],
  [5, 3, 5, 8, 9, 7, 9]
].map(ids => Int32Array.from(ids))
const length = 9
const batch = {
  sequences,
  epochs: makeEpochs(
    sequences.map(ids => ids.length),
    { seed: 1, capacity: length, rowsPerStep: 2 }
  ),
  length,
  pad: 0,
  averaging: "tokens"
} as const
const masked = Schema.decodeUnknownSync(DiffusionSettings)({})

/** The losses of a step, and the load-balancing loss of each of its micro-batches by itself. */
const stepOf = (config: ModelConfig, objective: Objective<never>, causal: boolean, checkpointLayers = false) => {
  const specs = parameterSpecs(config)
  const weights = Object.fromEntries(specs.map(spec => [spec.name, initialValues(spec, 4)]))
  const losses = objective.losses(parameterInputs(specs), inputsOf(objective.inputs), { checkpointLayers })
  const [rows] = objective.inputs["ids"]!.shape as [number]
  const { routerLogits } = forward(
    config,
    weightsOf(config, parameterInputs(specs)),
    input("ids", "i32", [rows, length]),
    {
      causal,
      segmentIds: input("segmentIds", "i32", [rows, length]),
      positions: input("positions", "i32", [rows, length])
    }
  )
  return Effect.runSync(objective.microBatches(0)).map(({ inputs }) => {
    const values = { ...weights, ...(inputs as { readonly [name: string]: Float32Array }) }
    const told = evaluateTensors(Object.fromEntries(routerLogits.map((x, i) => [`${i}`, x])), values, { exact: true })
    const asTokens = (flat: Float64Array): Rows =>
      Array.from({ length: rows * length }, (_, i) => [...flat.subarray(i * 5, (i + 1) * 5)])
    const real = [...inputs["segmentIds"]!].map(id => Number(id) >= 0)
    return {
      parts: evaluateTensors(losses, values, { exact: true }),
      balance: byHand(Object.values(told).map(asTokens), 2, real),
      tokens: real.filter(Boolean).length
    }
  })
}

describe("a training of a model with experts", () => {
  const added = expertsConfig({ output_router_logits: true, router_aux_loss_coef: 0.5 })

  it("of the next tokens adds the loss where the configuration says so, by the shares of its micro-batches", () => {
    for (const checkpointLayers of [false, true]) {
      const objective = causalObjective(added, { ...batch, microBatchRows: 1 })
      const [first, second] = stepOf(added, objective, true, checkpointLayers)
      const plain = expertsConfig({ router_aux_loss_coef: 0.5 })
      const without = stepOf(plain, causalObjective(plain, { ...batch, microBatchRows: 1 }), true)
      const shares = [first, second].map((each, i) => {
        const { loss, router } = each!.parts
        expect(loss![0]! - router![0]!).toBeCloseTo(without[i]!.parts["loss"]![0]!, 6)
        expect(without[i]!.parts["router"]).toBeUndefined()
        return router![0]! / (0.5 * each!.balance)
      })
      // Every token but the first of each document is predicted.
      expect(shares[0]! + shares[1]!).toBeCloseTo(1, 5)
    }
  })

  it("by masks adds the loss of the corrupted rows, by the tokens of its micro-batches", () => {
    const masking = randomMasking(
      sequences.map(ids => ({ lossMask: new Uint8Array(ids.length).fill(1) })),
      masked,
      8
    )
    const objective = diffusionObjective(added, masked, { ...batch, mask: 10, masking, microBatchRows: 1 })
    const found = stepOf(added, objective, false)
    const all = found.reduce((sum, { tokens }) => sum + tokens, 0)
    for (const { balance, parts, tokens } of found) {
      expect(parts["router"]![0]).toBeCloseTo((0.5 * balance * tokens) / all, 5)
      expect(parts["loss"]![0]).toBeCloseTo(parts["mdm"]![0]! + parts["path"]![0]! + parts["router"]![0]!, 5)
    }
  })
})
