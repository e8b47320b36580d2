/** What trajectories add to the loss, against the equations. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { randomOrder, trajectoryMasking } from "../../../src/methods/shared/trajectories/trajectory.ts"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import type { Engine } from "../../../src/engines/Engine.ts"
import { chunkedOfLogits } from "../../../src/models/decoder.ts"
import { initialise } from "../../../src/models/parameters.ts"
import { gradients } from "../../../src/tensor/autodiff.ts"
import { input, sum } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import type { DiffusionData } from "../../../src/methods/shared/masks/corruptedRows.ts"
import { diffusionObjective, DiffusionSettings } from "../../../src/methods/shared/masks/objective.ts"
import {
  entropyTerms,
  meanEntropy,
  repetitions,
  TrajectorySettings
} from "../../../src/methods/shared/trajectories/terms.ts"
import { allocateTraining, makeTrainer } from "../../../src/training/trainer.ts"
import { bruteForward } from "../../models/bruteForce.ts"
import { config, data, epochs, mask, specs, weight } from "../../support/alignedTraining.ts"

/** With repetitions, which a model whose head is its embedding predicts even with random weights. */
const sequences = [
  [7, 7, 7, 7, 5],
  [2, 2, 2],
  [5, 5, 5, 8, 8, 9, 9]
].map(ids => Int32Array.from(ids))

const softmaxOf = (row: ReadonlyArray<number>, temperature = 1): ReadonlyArray<number> => {
  const peak = Math.max(...row)
  const e = row.map(x => Math.exp((x - peak) / temperature))
  const all = e.reduce((some, x) => some + x, 0)
  return e.map(x => x / all)
}
const entropyOf = (p: ReadonlyArray<number>): number => -p.reduce((some, x) => some + x * Math.log(x), 0)

describe("terms of the logits", () => {
  const [n, vocabSize] = [6, 5]
  const rows = Array.from({ length: n }, (_, i) => [...normals(randomKey(2, "logits", i), vocabSize)])
  const likeliest = rows.map(row => row.indexOf(Math.max(...row)))
  /** Right at 0, 1 and 4; learnt at 1, 2 and 4. */
  const targets = likeliest.map((best, i) => ([0, 1, 4].includes(i) ? best : (best + 1) % vocabSize))
  const learnt = [0, 1, 1, 0, 1, 0]
  const logits = input("logits", "f32", [n, vocabSize])
  const values = { logits: rows.flat(), targets, learnt }
  const formula = (given: typeof rows, temperature: number): number =>
    [1, 4].reduce((some, i) => some + entropyOf(softmaxOf(given[i]!, temperature)), 0) / 2

  it("average the entropy where a prediction is learnt and right", () => {
    for (const temperature of [0.5, 2]) {
      const { entropies, right } = entropyTerms(logits, input("targets", "i32", [n]), temperature)
      const value = meanEntropy(entropies, right, input("learnt", "f32", [n]))
      const found = evaluateTensors({ value, gradient: gradients(value, [logits])[0]! }, values, { exact: true })
      expect(found["value"]![0]).toBeCloseTo(formula(rows, temperature), 10)
      const step = 1e-5
      for (let i = 0; i < n * vocabSize; i++) {
        const moved = (by: number) =>
          formula(
            rows.map((row, r) => row.map((x, c) => (r * vocabSize + c === i ? x + by : x))),
            temperature
          )
        expect(found["gradient"]![i]).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 7)
      }
    }
  })

  it("are 0, with gradient 0, where nothing is right", () => {
    const { entropies, right } = entropyTerms(logits, input("targets", "i32", [n]), 0.5)
    const value = meanEntropy(entropies, right, input("learnt", "f32", [n]))
    const wrong = likeliest.map(best => (best + 1) % vocabSize)
    const found = evaluateTensors(
      { value, gradient: gradients(value, [logits])[0]! },
      { ...values, targets: wrong },
      { exact: true }
    )
    expect(found["value"]![0]).toBe(0)
    expect([...found["gradient"]!].every(x => x === 0)).toBe(true)
  })

  it("see the next row across the borders of chunks", () => {
    const hidden = input("hidden", "f32", [7, 3])
    const head = input("head", "f32", [4, 3])
    const given = {
      hidden: normals(randomKey(1, "h"), 21),
      head: normals(randomKey(1, "w"), 12),
      targets: Array(7).fill(0)
    }
    const results = [2 * 4 * 4, 1e9].map(maxBytes => {
      const [terms] = chunkedOfLogits(
        hidden,
        head,
        input("targets", "i32", [7]),
        (own, _targets, count) => [repetitions(own, count)],
        { ahead: 1, maxBytes }
      )
      const [dh] = gradients(sum(terms!), [hidden])
      return evaluateTensors({ terms: terms!, dh: dh! }, given, { exact: true })
    })
    const probabilities = Array.from({ length: 7 }, (_, i) =>
      softmaxOf(
        Array.from({ length: 4 }, (_class, v) =>
          [0, 1, 2].reduce((some, c) => some + given.hidden[i * 3 + c]! * given.head[v * 3 + c]!, 0)
        )
      )
    )
    for (const { dh, terms } of results) {
      for (let i = 0; i < 6; i++)
        expect(terms![i]).toBeCloseTo(
          probabilities[i]!.reduce((some, p, v) => some + p * probabilities[i + 1]![v]!, 0),
          10
        )
      expect(terms![6]).toBe(0)
      for (const [i, x] of dh!.entries()) expect(x).toBeCloseTo(results[0]!["dh"]![i]!, 12)
    }
  })
})

const trajectory = (changes: Partial<typeof TrajectorySettings.Encoded> = {}): TrajectorySettings =>
  Schema.decodeUnknownSync(TrajectorySettings)({ trajectoryMaxMaskRatio: 1, ...changes })
const followed = (given: TrajectorySettings, some = sequences.length): DiffusionData["masking"] =>
  trajectoryMasking(given, {
    sequences: sequences.map(ids => ({ ids, lossMask: new Uint8Array(ids.length).fill(1) })),
    // A prompt of one token, the rest in a random order, for the first sequences only.
    trajectories: new Map(
      sequences
        .slice(0, some)
        .map((ids, i) => [i, randomOrder(1, ids.length - 1, ids.length - 1, randomKey(5, "order", i))])
    ),
    steps: 10,
    seed: 3
  })

const stepOf = (
  engine: Engine,
  given: TrajectorySettings | undefined,
  masking: DiffusionData["masking"],
  {
    microBatchRows = 2,
    step = 0,
    ...changes
  }: Partial<typeof DiffusionSettings.Encoded> & { readonly microBatchRows?: number; readonly step?: number } = {}
) =>
  Effect.gen(function* () {
    const objective = diffusionObjective(
      config,
      Schema.decodeUnknownSync(DiffusionSettings)(changes),
      { ...data(microBatchRows), sequences, masking },
      undefined,
      given
    )
    const buffers = yield* allocateTraining(engine, specs, [])
    yield* initialise(engine, buffers.parameters, 5)
    const trainer = yield* makeTrainer(engine, objective, buffers, {
      optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
      groups: [],
      maxGradNorm: 0,
      checkpointLayers: false
    })
    const microBatches = yield* objective.microBatches(step)
    const outcome = yield* trainer.step(microBatches, { lr: 0, update: 1 })
    return { ...outcome, microBatches, report: objective.report!(outcome.losses, microBatches) }
  })

/** Predictions of the tokens that are learnt, of one pass over a row's sequences, from the equations. */
const predictions = (
  examples: ReadonlyArray<number>,
  masking: DiffusionData["masking"],
  step: number,
  complement = false
) =>
  examples.flatMap(example => {
    const ids = [...sequences[example]!]
    const { labelled, maskable, masked } = masking(example, step)
    const learns = ids.map((_, i) => (complement ? maskable[i] === 1 && labelled[i] === 0 : labelled[i] === 1))
    const hidden = ids.map((_, i) => learns[i] || (masked[i] === 1 && maskable[i] !== 1))
    const { logits } = bruteForward(
      config,
      weight,
      ids.map((id, i) => (hidden[i] ? mask : id)),
      false
    )
    return ids.flatMap((target, i) =>
      i > 0 && learns[i]
        ? [
            {
              example,
              place: i,
              target,
              row: [...logits[i - 1]!],
              loss: -Math.log(softmaxOf([...logits[i - 1]!])[target]!)
            }
          ]
        : []
    )
  })
const mean = (values: ReadonlyArray<number>): number =>
  values.length === 0 ? 0 : values.reduce((some, x) => some + x, 0) / values.length
const sharpness = (found: ReturnType<typeof predictions>, temperature: number): number =>
  mean(
    found
      .filter(({ row, target }) => row.indexOf(Math.max(...row)) === target)
      .map(({ row }) => entropyOf(softmaxOf(row, temperature)))
  )

describe("a step along trajectories", () => {
  it.live("adds the entropy of right predictions, whose weight is its share of the masked tokens", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const given = trajectory({ trajectoryEntropyWeight: 0.7, trajectoryTemperature: 0.5 })
        const masking = followed(given)
        let seen = 0
        for (let step = 0; step < 6; step++) {
          const rows = epochs.rows(step)
          const { losses } = yield* stepOf(engine, given, masking, { step })
          const all = predictions(rows.flat(), masking, step)
          const expected = sharpness(all, 0.5)
          if (expected > 0) seen++
          expect(losses["mdm"]).toBeCloseTo(mean(all.map(({ loss }) => loss)), 5)
          expect(losses["trajectory_entropy"]).toBeCloseTo(expected, 4)
          expect(losses["loss"]).toBeCloseTo(losses["mdm"]! + losses["path"]! + 0.7 * losses["trajectory_entropy"]!, 5)
          const cut = yield* stepOf(engine, given, masking, { step, microBatchRows: 1 })
          const each = rows.map(row => predictions(row, masking, step))
          const masked = each.reduce((some, { length }) => some + length, 0)
          expect(cut.losses["trajectory_entropy"]).toBeCloseTo(
            each.reduce((some, found) => some + (found.length / masked) * sharpness(found, 0.5), 0),
            4
          )
          const none = yield* stepOf(engine, trajectory({ trajectoryEntropyWeight: 0 }), masking, { step })
          expect(none.losses["trajectory_entropy"]).toBeUndefined()
        }
        expect(seen).toBeGreaterThan(0)
      })
    )
  )

  it.live("learns the other tokens in a complementary pass", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        for (const changes of [{}, { trajectoryUseBlockwise: true, trajectoryProgressiveBlockSizes: [3] }]) {
          const given = trajectory({ trajectoryComplementary: true, ...changes })
          const masking = followed(given)
          for (const step of [0, 4]) {
            const examples = epochs.rows(step).flat()
            const { losses, microBatches } = yield* stepOf(engine, given, masking, { step })
            const all = [...predictions(examples, masking, step), ...predictions(examples, masking, step, true)]
            expect(microBatches).toHaveLength(2)
            expect(losses["mdm"]).toBeCloseTo(mean(all.map(({ loss }) => loss)), 5)
            // Every token of the blocks, once.
            const learnable = examples.flatMap(example => {
              const { maskable } = masking(example, step)
              return Array.from(maskable).flatMap((bit, i) => (bit === 1 && i > 0 ? [`${example} ${i}`] : []))
            })
            expect(all.map(({ example, place }) => `${example} ${place}`).sort()).toEqual(learnable.sort())
          }
        }
      })
    )
  )

  it.live("says how many masks came from chance, and the actual share of masks", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        for (const some of [3, 1, 0]) {
          const given = trajectory()
          const masking = followed(given, some)
          const examples = epochs.rows(0).flat()
          const { report } = yield* stepOf(engine, given, masking)
          expect(report["trajectory/fallback_frac"]).toBeCloseTo(
            examples.filter(example => example >= some).length / examples.length,
            12
          )
          const drawn = examples.map(example => masking(example, 0))
          const count = (of: "labelled" | "maskable") =>
            drawn.reduce(
              (all, corruption) =>
                all +
                Array.from(corruption[of])
                  .slice(1)
                  .reduce((x, y) => x + y, 0),
              0
            )
          expect(report["training/mask_ratio"]).toBeCloseTo(count("labelled") / count("maskable"), 12)
        }
        expect(
          (yield* stepOf(engine, undefined, followed(trajectory()))).report["trajectory/fallback_frac"]
        ).toBeUndefined()
      })
    )
  )

  it.live("keeps adjacent masked tokens that differ apart, where asked", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const { masking } = data()
        for (const step of [0, 1, 2]) {
          const found = predictions(epochs.rows(step).flat(), masking, step)
          const pairs = found.flatMap((a, i) => {
            const b = found[i + 1]
            return b !== undefined && b.example === a.example && b.place === a.place + 1 && b.target !== a.target
              ? [softmaxOf(a.row).reduce((some, p, v) => some + p * softmaxOf(b.row)[v]!, 0)]
              : []
          })
          for (const microBatchRows of [1, 2]) {
            const { losses } = yield* stepOf(engine, undefined, masking, { step, antiRepWeight: 3, microBatchRows })
            expect(losses["anti_rep"]).toBeCloseTo(mean(pairs), 5)
            expect(losses["loss"]).toBeCloseTo(losses["mdm"]! + losses["path"]! + 3 * mean(pairs), 5)
          }
        }
      })
    )
  )
})
