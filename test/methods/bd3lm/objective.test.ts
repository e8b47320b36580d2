/** The loss of block diffusion against the equations, and texts learnt by heart and written block by block. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import type { MaskDecoding } from "../../../src/decoding/blockSettings.ts"
import { DiffusionDecoding } from "../../../src/decoding/diffusion.ts"
import type { Engine } from "../../../src/engines/Engine.ts"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { blockMasking, type BlockCorruption } from "../../../src/methods/bd3lm/corruption.ts"
import { blockLength, generator } from "../../../src/methods/bd3lm/method.ts"
import { AlignmentSettings } from "../../../src/methods/shared/alignment/settings.ts"
import type { DiffusionData } from "../../../src/methods/shared/masks/corruptedRows.ts"
import { diffusionObjective, DiffusionSettings } from "../../../src/methods/shared/masks/objective.ts"
import type { LoadedModel } from "../../../src/models/artifact.ts"
import { parameterSpecs } from "../../../src/models/config.ts"
import { initialValues } from "../../../src/models/parameters.ts"
import { makeEpochs } from "../../../src/tokens/epochs.ts"
import { bruteForward } from "../../models/bruteForce.ts"
import { fit, gradientsOf } from "../../support/latentTraining.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const size = 3
const config = modelConfig({ vocabSize: 20, initializerRange: 0.5, attentionBlockSize: size })
const mask = 19
const specs = parameterSpecs(config)
const values = new Map(specs.map(spec => [spec.name, initialValues(spec, 5)]))
const weight = (name: string) => values.get(name)!
const sequences = [
  [3, 1, 4, 1, 5],
  [9, 2, 6],
  [5, 3, 5, 8, 9, 7, 9]
].map(ids => Int32Array.from(ids))
const length = 9
const epochs = makeEpochs(
  sequences.map(ids => ids.length),
  { seed: 1, capacity: length, rowsPerStep: 2 }
)
const settings = (changes: Partial<typeof DiffusionSettings.Encoded> = {}): DiffusionSettings =>
  Schema.decodeUnknownSync(DiffusionSettings)(changes)
const drawing = (given: DiffusionSettings): BlockCorruption => ({
  ...given,
  attentionBlockSize: size,
  samplingEpsMin: 0.2,
  samplingEpsMax: 0.9
})
const maskingOf = (given: DiffusionSettings) =>
  blockMasking(
    sequences.map(ids => ({ lossMask: new Uint8Array(ids.length).fill(1) })),
    drawing(given),
    8
  )
const data = (given: DiffusionSettings, microBatchRows = 2): DiffusionData => ({
  sequences,
  epochs,
  microBatchRows,
  length,
  pad: 0,
  mask,
  masking: maskingOf(given),
  averaging: "tokens",
  halves: true
})

/** What each masked token of a sequence but the first is predicted from, and its loss, by the equations. */
const predictions = (ids: Int32Array, masked: Uint8Array) =>
  [...ids.keys()].flatMap(i => {
    if (i === 0 || masked[i] !== 1) return []
    const block = Math.floor(i / size)
    const seen = [...ids].slice(0, (block + 1) * size).map((id, j) => {
      return Math.floor(j / size) === block && masked[j] === 1 ? mask : id
    })
    const { logits, states } = bruteForward(config, weight, seen, false)
    const row = logits[i - 1]!
    const loss = Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)) - row[ids[i]!]!
    return [{ token: i, loss, states: states.map(layer => layer[i - 1]!) }]
  })

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((all, each) => all + each, 0)
const firstStep = (given: DiffusionSettings) =>
  epochs
    .rows(0)
    .flat()
    .map(example => {
      const { each, masked } = maskingOf(given)(example, 0)
      const ids = sequences[example]!
      return { example, each: each!, n: ids.length - 1, predicted: predictions(ids, masked) }
    })

describe("block diffusion", () => {
  it.effect(
    "is the mean loss of masked tokens behind clean blocks, and the path loss beside it, by each block's t",
    () =>
      Effect.gen(function* () {
        const given = settings({ pathWeight: 2, pathRatioWeighting: true })
        const { losses } = yield* gradientsOf(diffusionObjective(config, given, data(given)), specs, "loss")
        const all = firstStep(given).flatMap(({ each, predicted }) =>
          predicted.map(({ loss, token }) => ({ loss, t: each.ratios[token]! }))
        )
        const path = sum(all.map(({ loss, t }) => (2 * Math.exp(-loss) * loss) / t)) / all.length
        expect(new Set(all.map(({ t }) => t)).size).toBeGreaterThan(3)
        expect(losses["mdm"]![0]).toBeCloseTo(sum(all.map(({ loss }) => loss)) / all.length, 5)
        expect(losses["path"]![0]).toBeCloseTo(path, 5)
      })
  )

  it.effect("as a bound weighs each token by its block's time, and divides as its settings say", () =>
    Effect.gen(function* () {
      for (const lossNormType of ["token", "sequence", "batch"] as const) {
        const given = settings({ mdmLoss: "elbo", pathWeight: 0, lossNormType })
        const drawn = firstStep(given).map(({ each, n, predicted }) => ({
          n,
          bound: sum(predicted.map(({ loss, token }) => loss / (each.ratios[token]! + 1e-6)))
        }))
        const expected =
          lossNormType === "token"
            ? sum(drawn.map(({ bound }) => bound)) / sum(drawn.map(({ n }) => n))
            : sum(drawn.map(({ bound, n }) => bound / (lossNormType === "sequence" ? n : 1))) / drawn.length
        const { losses } = yield* gradientsOf(diffusionObjective(config, given, data(given)), specs, "loss")
        expect(losses["loss"]![0]).toBeCloseTo(expected, 5)
      }
    })
  )

  it.effect("aligns the states that predict masked tokens with the teacher's at the same places", () =>
    Effect.gen(function* () {
      const given = settings()
      const causal = sequences.map(ids => bruteForward(config, weight, [...ids], true).states)
      const objective = diffusionObjective(config, given, data(given), {
        settings: Schema.decodeUnknownSync(AlignmentSettings)({ reprAlignWt: 1 }),
        steps: 10,
        seed: 6,
        states: (example, layer) => Float32Array.from(causal[example]![layer]!.flat())
      })
      const { losses } = yield* gradientsOf(objective, specs, "loss")
      const distances = firstStep(given).flatMap(({ example, predicted }) =>
        predicted.flatMap(({ states, token }) =>
          [1, 2].map(layer => {
            const [a, b] = [states[layer]!, causal[example]![layer]![token - 1]!] as const
            return 1 - sum(a.map((x, i) => x * b[i]!)) / (Math.hypot(...a) * Math.hypot(...b))
          })
        )
      )
      expect(losses["repr_align"]![0]).toBeCloseTo(sum(distances) / distances.length, 5)
    })
  )

  it.effect("counts the operations of both halves, and each token once", () =>
    Effect.gen(function* () {
      const given = settings()
      const [both] = yield* diffusionObjective(config, given, data(given)).microBatches(0)
      const [once] = yield* diffusionObjective(config, given, { ...data(given), halves: false }).microBatches(0)
      expect(both!.tokens).toBe(once!.tokens)
      expect(both!.labelled).toBe(once!.labelled)
      expect(both!.flops!).toBeGreaterThan(1.5 * once!.flops!)
    })
  )
})

describe("a model that was trained by block diffusion", () => {
  const blocks = 4
  const learning = modelConfig({
    hiddenSize: 16,
    headDim: 8,
    layers: 3,
    vocabSize: 20,
    initializerRange: 0.5,
    attentionBlockSize: blocks
  })
  const texts = [
    [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8],
    [7, 2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4]
  ].map(ids => Int32Array.from(ids))
  const learnt = (engine: Engine) => {
    const given = settings({ pathWeight: 0 })
    const objective = diffusionObjective(learning, given, {
      ...data(given),
      sequences: texts,
      epochs: makeEpochs([12, 12], { seed: 1, capacity: 12, rowsPerStep: 2 }),
      length: 12,
      masking: blockMasking(
        texts.map(() => ({ lossMask: new Uint8Array(12).fill(1) })),
        { ...drawing(given), attentionBlockSize: blocks, samplingEpsMin: 1e-3, samplingEpsMax: 1 },
        8
      )
    })
    const own = { trained: parameterSpecs(learning), fixed: [] }
    return Effect.map(
      fit(engine, objective, own, { steps: 800, lr: 0.01, fresh: true }),
      ({ parameters }) =>
        ({
          config: learning,
          parameters,
          tokenShift: true,
          tokenizer: { maskId: mask, padId: 0, ends: new Set([18]) }
        }) as unknown as LoadedModel
    )
  }
  const decoding = Schema.decodeUnknownSync(DiffusionDecoding)({})
  const shape = { prompts: 2, promptTokens: 4, newTokens: 8 }

  it.live("writes what it learnt in its blocks without being told their size, each in one step or in several", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const model = yield* learnt(engine)
        expect(blockLength(model)).toBe(blocks)
        const prompts = texts.map(ids => ids.subarray(0, 4))
        const by = (settings: Partial<MaskDecoding>) =>
          generator(engine, model, shape, { ...decoding, ...settings } as MaskDecoding)
        const own = yield* by({})
        // Two blocks: a step each is the least.
        expect([1, 2, 4, 8, 9].map(own.stepsThatCount)).toEqual([2, 2, 4, 8, 8])
        for (const [steps, forwards] of [
          [1, 2],
          [2, 2],
          [8, 8]
        ] as const) {
          const made = yield* own.generate({ prompts, steps, seed: 1 })
          expect(made.sequences.map(ids => [...ids])).toEqual(texts.map(ids => [...ids]))
          expect(made.forwards).toEqual([forwards, forwards])
        }
        const asked = yield* by({ blockLength: blocks })
        const request = { prompts, steps: 4, seed: 1 }
        expect((yield* asked.generate(request)).sequences).toEqual((yield* own.generate(request)).sequences)
        // Without a cache, too, and where prompts end within a block.
        const whole = yield* by({ cache: "none" })
        expect((yield* whole.generate(request)).sequences).toEqual((yield* own.generate(request)).sequences)
        for (const length of [1, 2, 3]) {
          const [short, newTokens] = [texts.map(ids => ids.subarray(0, length)), 12 - length]
          const shortly = { prompts: 2, promptTokens: length, newTokens }
          const from = yield* generator(engine, model, shortly, decoding as MaskDecoding)
          const made = yield* from.generate({ prompts: short, steps: newTokens, seed: 1 })
          expect(made.sequences.map(ids => [...ids])).toEqual(texts.map(ids => [...ids]))
        }

        for (const [settings, message] of [
          [{ blockLength: 8 }, /blockLength is 8, but the model was trained to write blocks of 4 tokens/],
          [{ blockLength: 3 }, /blockLength is 3/],
          [{ alg: "p2" }, /decoding's alg: p2 does not go block by block/],
          [{ algTemp: 0.5 }, /decoding's algTemp/],
          [{ schedule: "kappa" }, /decoding's schedule: must be quota/]
        ] as const) {
          const error = yield* Effect.flip(by(settings))
          expect(error.message).toMatch(message)
        }
      })
    )
  )
})
