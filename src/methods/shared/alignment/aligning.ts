/** Representation alignment as a part of the diffusion objective: which states are compared, how much they weigh, and their data. */
import type { Rows } from "../../../tokens/packing.ts"
import { alignmentLoss, angularDistance, contrastiveLoss, cosineDistance, cosinesOf, pooled } from "./distances.ts"
import { layerWeights, samplePositions, sampleWeights } from "./sampling.ts"
import type { ModelConfig } from "../../../models/config.ts"
import type { HostArray } from "../../../tensor/dtype.ts"
import { add, constant, equal, mul, reshape, select, sum } from "../../../tensor/ops.ts"
import { randomKey } from "../../../tensor/random.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"
import { type MicroBatch, normalisers, type Objective } from "../../../training/objective.ts"
import { alignedLayers, type AlignmentSettings, alignmentWeight } from "./settings.ts"
import { columnOf, corruptRows, type CorruptedRows, type DiffusionData } from "../masks/corruptedRows.ts"
import { replayed, replays } from "./replay.ts"
import { subgoalInputs, subgoals } from "./subgoals.ts"
import { cachedTeacher, type CachedStates, liveTeacher } from "./teacher.ts"

/** What a student is aligned with. */
export interface Teacher {
  readonly settings: AlignmentSettings
  /** Steps of the whole training, for the weight's schedule. */
  readonly steps: number
  readonly seed: number
  /** From a cache; left out, a frozen copy of the base computes them in every step. */
  readonly states?: CachedStates
}

/** A micro-batch of a step as alignment sees it. */
export interface AlignedPart {
  readonly rows: Rows
  readonly corrupted: CorruptedRows
  /** Multiplies its losses (min-SNR). */
  readonly factor: number
}

type Arrays = { readonly [name: string]: HostArray }

/** Parts of the losses that only `report` reads. */
const [alignedPart, cosinePrefix] = ["aligned", "cosine/"] as const

/** The inputs, losses and data that alignment adds. */
export const aligning = (
  config: ModelConfig,
  { seed, settings, states: cached, steps }: Teacher,
  data: DiffusionData
) => {
  const { averaging, length, microBatchRows } = data
  const layers = alignedLayers(settings, config)
  const places = microBatchRows * length
  const source = cached === undefined ? liveTeacher(config, layers, data) : cachedTeacher(config, layers, data, cached)
  const weights = layerWeights(layers, { deepest: config.layers.length, exponent: settings.reprAlignLayerExp })
  const pools = settings.subgoalAlignWt > 0
  const distance =
    settings.reprAlignLossMode === "cosine" ? cosineDistance : angularDistance(settings.reprAlignAngularMargin)

  /** Places that a rule names. */
  const named = ({ arrays, ratios, replaced }: CorruptedRows): ReadonlyArray<number> =>
    Array.from({ length: places }, (_, i) => i).filter(i => {
      if (arrays.segmentIds[i]! < 0) return false
      if (settings.reprAlignPositions === "unmasked") return replaced[i] === 0
      if (settings.reprAlignPositions === "all") return true
      return i % length < length - 1 && ratios[columnOf(i + 1, length)]! > 0
    })
  const draw = (
    parts: ReadonlyArray<CorruptedRows>,
    purpose: string,
    step: number
  ): ReadonlyArray<ReadonlyArray<number>> =>
    parts.map((part, m) =>
      samplePositions(named(part), settings.reprAlignSubSampleRatio, randomKey(seed, purpose, step, m))
    )
  const spread = (positions: ReadonlyArray<number>, share: number): Float32Array<ArrayBuffer> => {
    const all = new Float32Array(places)
    for (const place of positions) all[place] = share
    return all
  }

  /** Earlier micro-batches whose alignment is added again. */
  const again = (step: number, shared: Arrays, used: ReadonlyArray<boolean>) => {
    if (!replays(settings)) return []
    const perStep = data.epochs.rows(step).length / microBatchRows
    const chosen = replayed(settings, seed, step, perStep).map(({ microBatch, step: earlier }) => {
      const rows = data.epochs.rows(earlier).slice(microBatch * microBatchRows, (microBatch + 1) * microBatchRows)
      return { rows, corrupted: corruptRows(rows, earlier, data) }
    })
    const positions = draw(
      chosen.map(({ corrupted }) => corrupted),
      "replayed positions",
      step
    )
    const teachers = source.data(
      chosen.map(({ rows }) => rows),
      used
    )
    return chosen.map(({ corrupted, rows }, i) => ({
      rows,
      corrupted,
      inputs: {
        ...shared,
        ...teachers[i],
        positionWeights: spread(positions[i]!, positions[i]!.length === 0 ? 0 : 1 / positions[i]!.length),
        // The mean over the micro-batches of the step that may bring one.
        alignmentWeight: Float32Array.of(settings.replayWeight / perStep),
        replayed: Float32Array.of(1 / chosen.length),
        ...(pools ? { ...subgoals([[]], { places, count: 1, averaging })[0], subgoalWeight: new Float32Array(1) } : {})
      } satisfies Arrays
    }))
  }

  return {
    constants: source.constants,
    inputs: {
      ...source.inputs,
      layerWeights: { dtype: "f32", shape: [layers.length] },
      /** Share of each position in the mean; 0 for what is not aligned. */
      positionWeights: { dtype: "f32", shape: [places] },
      alignmentWeight: { dtype: "f32", shape: [] },
      /** 0, or the share of a replayed micro-batch among those of its step. */
      replayed: { dtype: "f32", shape: [] },
      ...(pools ? subgoalInputs(places) : {})
    } as Objective<never>["inputs"],

    losses: (
      hiddenStates: ReadonlyArray<Tensor>,
      parameter: (name: string) => Tensor,
      input: (name: string) => Tensor
    ): { readonly loss: Tensor; readonly parts: { readonly [part: string]: Tensor } } => {
      const teacher = source.states(parameter, input)
      const pairs = layers.map((layer, l) => ({
        student: reshape(hiddenStates[layer]!, [places, config.hiddenSize]),
        teacher: teacher.states[l]!
      }))
      const [ofLayers, ofPositions] = [input("layerWeights"), input("positionWeights")]
      const cosines = pairs.map(cosinesOf)
      const aligned = settings.reprAlignContrastive
        ? contrastiveLoss(pairs, ofLayers, ofPositions, settings.reprAlignContrastiveTemp)
        : alignmentLoss(cosines, ofLayers, ofPositions, distance)
      const own = select(equal(input("replayed"), 0), constant(1, "f32"), 0)
      let loss = mul(aligned, input("alignmentWeight"))
      const parts: { [part: string]: Tensor } = { repr_align: mul(aligned, own) }
      if (replays(settings)) parts["replay"] = mul(aligned, input("replayed"))
      if (teacher.loss !== undefined) parts["teacher"] = mul(teacher.loss, own)
      if (pools) {
        const blocks = pairs.map(({ student, teacher: clean }) => ({
          student: pooled(student, input("blocks"), input("blockShares")),
          teacher: pooled(clean, input("blocks"), input("blockShares"))
        }))
        const subgoal = alignmentLoss(blocks.map(cosinesOf), ofLayers, input("blockWeights"), cosineDistance)
        parts["subgoal"] = subgoal
        loss = add(loss, mul(subgoal, input("subgoalWeight")))
      }
      for (const [l, layer] of layers.entries())
        parts[`${cosinePrefix}${layer}`] = mul(sum(mul(cosines[l]!, ofPositions)), own)
      parts[alignedPart] = loss
      return { loss, parts }
    },

    /** The inputs of a step's micro-batches, and the micro-batches that it replays. */
    data: (parts: ReadonlyArray<AlignedPart>, step: number) => {
      const drawn = sampleWeights(
        weights,
        settings.reprAlignNumSampleLayers ?? layers.length,
        randomKey(seed, "aligned layers", step)
      )
      const used = drawn.map(weight => weight > 0)
      const shared: Arrays = { layerWeights: Float32Array.from(drawn) }
      const positions = draw(
        parts.map(({ corrupted }) => corrupted),
        "aligned positions",
        step
      )
      const shares = normalisers(
        positions.map(({ length: size }) => size),
        averaging
      )
      const teachers = source.data(
        parts.map(({ rows }) => rows),
        used
      )
      const pool = pools
        ? subgoals(
            parts.map(({ corrupted }) => corrupted.placed),
            { places, count: settings.subgoalAlignNBlocks, averaging }
          )
        : undefined
      const weight = alignmentWeight(settings, step, steps)
      const own = parts.map(({ factor }, m): Arrays => ({
        ...shared,
        ...teachers[m],
        positionWeights: spread(positions[m]!, shares[m]!),
        alignmentWeight: Float32Array.of(factor * weight),
        replayed: Float32Array.of(0),
        ...pool?.[m],
        ...(pools ? { subgoalWeight: Float32Array.of(factor * settings.subgoalAlignWt) } : {})
      }))
      return { own, replayed: again(step, shared, used) }
    },

    /** What the log says of the parts, given the inputs of a step's micro-batches. */
    report: (
      { loss, ...parts }: { readonly [part: string]: number },
      microBatches: ReadonlyArray<MicroBatch>
    ): { readonly [name: string]: number } => {
      const first = microBatches[0]!.inputs["layerWeights"] as Float32Array
      const of = (name: string) => microBatches.map(({ inputs }) => (inputs[name] as Float32Array)[0]!)
      const isReplayed = of("replayed").map(share => share > 0)
      const own = of("alignmentWeight").filter((_, m) => !isReplayed[m])
      const losses = ["repr_align", "teacher", "subgoal", ...(isReplayed.includes(true) ? ["replay"] : [])]
      return {
        ...Object.fromEntries(
          losses.flatMap(part => (parts[part] === undefined ? [] : [[`losses/${part}`, parts[part]]]))
        ),
        ...Object.fromEntries(
          layers.flatMap((layer, l) =>
            first[l] === 0 ? [] : [[`repr_align/cosine_layer_${layer}`, parts[`${cosinePrefix}${layer}`]!]]
          )
        ),
        "repr_align/wt_effective": own.reduce((total, weight) => total + weight, 0) / own.length,
        "repr_align/loss_share": loss === 0 ? 0 : parts[alignedPart]! / loss!
      }
    }
  }
}
