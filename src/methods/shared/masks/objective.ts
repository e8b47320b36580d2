/**
 * Masked diffusion: predict masked tokens from all others. With the token shift of autoregressive models: token i is predicted from the state at
 * i - 1, also where that token is masked itself.
 */
import { Effect, Schema } from "effect"
import { NonNegative, setting } from "../../../config/setting.ts"
import { CorruptionSettings, weightAt } from "./corruption.ts"
import type { ModelConfig } from "../../../models/config.ts"
import { work } from "../../../models/flops.ts"
import type { OfLogits } from "../../../models/decoder.ts"
import { predictionCount, nextTokenLossInputs, nextTokenLosses } from "../../../models/nextTokenLoss.ts"
import { add, exp, mul, neg, sliceAxis, stopGradient, sum } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"
import { type MicroBatch, normalisers, type Objective } from "../../../training/objective.ts"
import { aligning, type Teacher } from "../alignment/aligning.ts"
import { isAligned } from "../alignment/settings.ts"
import { columnOf, corruptRows, type CorruptedRows, type DiffusionData, meanRatio } from "./corruptedRows.ts"
import { entropyTerms, meanEntropy, repetitions, type TrajectorySettings } from "../trajectories/terms.ts"

export const DiffusionSettings = Schema.Struct({
  ...CorruptionSettings.fields,
  /**
   * Of `elbo`: losses are divided by the maskable tokens (`token`), by those of their sequence and the number of sequences (`sequence`), or by that
   * number alone (`batch`)
   */
  lossNormType: setting(Schema.Literals(["token", "sequence", "batch"]), "token"),
  /** Of `elbo`: masked tokens weigh as the bound demands (`scheduler`), or all 1 (`uniform`) */
  lossWeightType: setting(Schema.Literals(["scheduler", "uniform"]), "scheduler"),
  /** Weight of the path loss: each masked token's loss times the probability that the model gives it */
  pathWeight: setting(NonNegative, 1),
  /** Whether the path loss of a token is also divided by its sequence's share of masks */
  pathRatioWeighting: setting(Schema.Boolean, false),
  /** Multiplies the losses of a micro-batch (not the entropy term and replay) by min(1 / its mean share of masks, this); by default by 1 */
  minSnrGamma: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0))),
  /** Weight of the probability that two adjacent masked tokens, which differ, are predicted to be the same */
  antiRepWeight: setting(NonNegative, 0)
})
export type DiffusionSettings = typeof DiffusionSettings.Type

/** Of these, what the loss reads: how masks were drawn is said by their weights. */
export type LossSettings = Omit<
  DiffusionSettings,
  "alphaScheduler" | "mdmCurriculumSteps" | "mdmMaxMaskRatio" | "mdmMinMaskRatio"
>

/** Smallest mean t that min-SNR divides by. */
const leastRatio = 1e-3

/** A micro-batch of a step. */
interface Part {
  readonly rows: ReturnType<DiffusionData["epochs"]["rows"]>
  readonly corrupted: CorruptedRows
  /** Of min-SNR. */
  readonly factor: number
}

/** Loss of masked diffusion of packed rows. Throws RangeError for layers to align that the model does not have. */
export const diffusionObjective = (
  config: ModelConfig,
  settings: LossSettings,
  data: DiffusionData,
  /** Left out: the student is on its own. */
  teacher?: Teacher,
  /** Given where masks follow trajectories. */
  trajectories?: TrajectorySettings
): Objective<never> => {
  const { epochs, halves = false, length, microBatchRows } = data
  const pass = { causal: false, halves } as const
  const shape = { rows: microBatchRows, length }
  const columns = predictionCount(shape)
  const aligned = teacher === undefined || !isAligned(teacher.settings) ? undefined : aligning(config, teacher, data)
  const sharpens = trajectories !== undefined && trajectories.trajectoryEntropyWeight > 0
  const separates = settings.antiRepWeight > 0
  const balances = config.routerLoss?.added === true

  /** What the further terms need of each column's logits. */
  const ofLogits: OfLogits = (logits, targets, n) => {
    const own = (x: Tensor): Tensor => sliceAxis(x, 0, 0, n)
    const { entropies, right } = sharpens
      ? entropyTerms(own(logits), own(targets), trajectories.trajectoryTemperature)
      : {}
    return [entropies, right, separates ? repetitions(logits, n) : undefined].filter(term => term !== undefined)
  }

  const partsOf = (step: number): ReadonlyArray<Part> => {
    const all = epochs.rows(step)
    const masks = trajectories?.trajectoryComplementary === true ? [false, true] : [false]
    return Array.from({ length: all.length / microBatchRows }, (_, m) =>
      all.slice(m * microBatchRows, (m + 1) * microBatchRows)
    ).flatMap(rows =>
      masks.map(complement => {
        const corrupted = corruptRows(rows, step, data, { complement })
        return { rows, corrupted, factor: minSnr(settings, corrupted) }
      })
    )
  }

  return {
    ...(aligned === undefined ? {} : { constants: aligned.constants }),
    inputs: {
      ...nextTokenLossInputs(shape),
      /** The rows without masks, where each block is read behind clean ones. */
      ...(halves ? { clean: { dtype: "i32", shape: [microBatchRows, length] } } : {}),
      /** Share of each cross-entropy in the loss, and in the path loss; 0 for what is not masked. */
      weights: { dtype: "f32", shape: [columns] },
      pathWeights: { dtype: "f32", shape: [columns] },
      /** 1 for what is masked, and the share of this micro-batch in the step. */
      ...(sharpens
        ? { supervised: { dtype: "f32", shape: [columns] }, supervisedShare: { dtype: "f32", shape: [] } }
        : {}),
      /** Share of each pair, of a column and the next, in the anti-repetition term. */
      ...(separates ? { pairs: { dtype: "f32", shape: [columns] } } : {}),
      /** Share of this micro-batch in the load-balancing loss of the step. */
      ...(balances ? { routerShare: { dtype: "f32", shape: [] } } : {}),
      ...aligned?.inputs
    },
    losses: (parameter, input, options) => {
      const { further, hiddenStates, losses, routerLoss } = nextTokenLosses(config, parameter, input, {
        causal: false,
        ...options,
        clean: halves ? input("clean") : undefined,
        further: { of: ofLogits, ahead: separates ? 1 : 0 }
      })
      const mdm = sum(mul(losses, input("weights")))
      const path = sum(mul(mul(losses, stopGradient(exp(neg(losses)))), input("pathWeights")))
      const entropy = sharpens
        ? mul(meanEntropy(further[0]!, further[1]!, input("supervised")), input("supervisedShare"))
        : undefined
      const repetition = separates ? sum(mul(further.at(-1)!, input("pairs"))) : undefined
      const router = routerLoss === undefined ? undefined : mul(routerLoss, input("routerShare"))
      const alignment = aligned?.losses(hiddenStates, parameter, input)
      return {
        loss: total([
          mdm,
          path,
          entropy === undefined ? undefined : mul(entropy, trajectories!.trajectoryEntropyWeight),
          repetition === undefined ? undefined : mul(repetition, settings.antiRepWeight),
          router,
          alignment?.loss
        ]),
        mdm,
        path,
        ...(entropy === undefined ? {} : { trajectory_entropy: entropy }),
        ...(repetition === undefined ? {} : { anti_rep: repetition }),
        ...(router === undefined ? {} : { router }),
        ...alignment?.parts
      }
    },
    microBatches: step =>
      Effect.sync(() => {
        const parts = partsOf(step)
        const weights = lossWeights(settings, data, parts)
        const supervisedShares = sharesOf(parts, data)
        const routerShares = balances ? tokenShares(parts, data) : undefined
        const pairs = separates ? pairWeights(data, parts) : undefined
        const alignment = aligned?.data(parts, step)
        const arraysOf = (
          { arrays, clean, ratios }: CorruptedRows,
          shares: { readonly [name: string]: Float32Array }
        ) => ({
          ...arrays,
          ...(halves ? { clean } : {}),
          ...shares,
          ...(sharpens ? { supervised: ratios.map(ratio => (ratio > 0 ? 1 : 0)) } : {})
        })
        const own = parts.map(({ corrupted }, m): MicroBatch => ({
          inputs: {
            ...arraysOf(corrupted, weights[m]!),
            ...(sharpens ? { supervisedShare: Float32Array.of(supervisedShares[m]!) } : {}),
            ...(pairs === undefined ? {} : { pairs: pairs[m]! }),
            ...(routerShares === undefined ? {} : { routerShare: Float32Array.of(routerShares[m]!) }),
            ...alignment?.own[m]
          },
          ...work(config, corrupted.arrays.segmentIds, length, pass),
          labelled: corrupted.masked,
          noted: notes(corrupted)
        }))
        // Nothing is learnt of a replayed micro-batch but its alignment, and its tokens were counted before.
        const none = new Float32Array(columns)
        const again = (alignment?.replayed ?? []).map(({ corrupted, inputs }): MicroBatch => ({
          inputs: {
            ...arraysOf(corrupted, { weights: none, pathWeights: none }),
            ...(sharpens ? { supervisedShare: new Float32Array(1) } : {}),
            ...(separates ? { pairs: none } : {}),
            ...(balances ? { routerShare: new Float32Array(1) } : {}),
            ...inputs
          },
          ...work(config, corrupted.arrays.segmentIds, length, pass),
          tokens: 0,
          labelled: 0,
          sequences: 0,
          rows: 0
        }))
        return [...own, ...again]
      }),
    report: (losses, microBatches) => {
      const noted = (name: string): number => microBatches.reduce((sum, { noted: own }) => sum + (own?.[name] ?? 0), 0)
      const sequences = noted("sequences")
      return {
        ...Object.fromEntries(
          ["mdm", "path", "trajectory_entropy", "anti_rep"].flatMap(part =>
            losses[part] === undefined ? [] : [[`losses/${part}`, losses[part]]]
          )
        ),
        "training/mask_ratio": noted("masked") / Math.max(1, noted("maskable")),
        ...(trajectories === undefined
          ? {}
          : { "trajectory/fallback_frac": noted("fallbacks") / Math.max(1, sequences) }),
        ...aligned?.report(losses, microBatches)
      }
    }
  }
}

/** The sum of the terms that there are. */
const total = (terms: ReadonlyArray<Tensor | undefined>): Tensor =>
  terms.filter(term => term !== undefined).reduce((all, term) => add(all, term))

/** Counts that the log makes shares of. */
const notes = ({ maskable, masked, placed }: CorruptedRows) => ({
  masked,
  maskable,
  sequences: placed.length,
  fallbacks: placed.filter(({ corruption }) => corruption.fallback).length
})

/** What a mean over so many of each micro-batch counts in the mean of the step. */
const sharesBy = (counts: ReadonlyArray<number>, { averaging }: DiffusionData): ReadonlyArray<number> =>
  normalisers(counts, averaging).map((share, m) => share * counts[m]!)

/** Of a mean over masked tokens. */
const sharesOf = (parts: ReadonlyArray<Part>, data: DiffusionData): ReadonlyArray<number> =>
  sharesBy(
    parts.map(({ corrupted }) => corrupted.masked),
    data
  )

/** Of a mean over all tokens. */
const tokenShares = (parts: ReadonlyArray<Part>, data: DiffusionData): ReadonlyArray<number> =>
  sharesBy(
    parts.map(({ corrupted: { placed } }) => placed.reduce((total, { size }) => total + size, 0)),
    data
  )

/** Weights of the columns of each micro-batch: [columns] each. */
const lossWeights = (settings: LossSettings, { averaging, length }: DiffusionData, parts: ReadonlyArray<Part>) => {
  const elbo = settings.mdmLoss === "elbo"
  const scales = normalisers(
    parts.map(({ corrupted: { maskable, masked, placed } }) =>
      !elbo ? masked : settings.lossNormType === "token" ? maskable : placed.length
    ),
    averaging
  )
  // The path loss is a mean over masked tokens, whatever the bound's weights are.
  const means = normalisers(
    parts.map(({ corrupted }) => corrupted.masked),
    averaging
  )
  return parts.map(({ corrupted: { placed, ratios }, factor }, m) => {
    const weights = new Float32Array(ratios.length)
    for (const { corruption, maskable, size, start } of placed) {
      const own = (token: number): number =>
        elbo
          ? (settings.lossWeightType === "scheduler" ? weightAt(corruption, token) : 1) /
            (settings.lossNormType === "sequence" ? maskable : 1)
          : 1
      for (let i = 1; i < size; i++) {
        const column = columnOf(start + i, length)
        if (ratios[column]! > 0) weights[column] = scales[m]! * factor * own(i)
      }
    }
    const pathWeights = ratios.map(ratio =>
      ratio === 0 ? 0 : (means[m]! * factor * settings.pathWeight) / (settings.pathRatioWeighting ? ratio : 1)
    )
    return { weights, pathWeights }
  })
}

/** Pairs of adjacent columns that are both supervised and have different targets: all of a step's weigh the same, times min-SNR's factor. */
const pairWeights = ({ averaging, length }: DiffusionData, parts: ReadonlyArray<Part>) => {
  const found = parts.map(({ corrupted: { arrays, ratios } }) =>
    Uint8Array.from(ratios, (ratio, column) => {
      const isLast = (column + 1) % (length - 1) === 0
      return !isLast && ratio > 0 && ratios[column + 1]! > 0 && arrays.targets[column] !== arrays.targets[column + 1]
        ? 1
        : 0
    })
  )
  const shares = normalisers(
    found.map(pairs => pairs.reduce((sum, bit) => sum + bit, 0)),
    averaging
  )
  return found.map((pairs, m) => Float32Array.from(pairs, bit => bit * shares[m]! * parts[m]!.factor))
}

/** Weight of a micro-batch by its mean t. */
const minSnr = ({ minSnrGamma }: LossSettings, corrupted: CorruptedRows): number =>
  minSnrGamma === undefined ? 1 : Math.min(1 / Math.max(meanRatio(corrupted), leastRatio), minSnrGamma)
