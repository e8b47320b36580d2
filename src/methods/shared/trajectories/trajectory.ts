/**
 * Trajectories: the order in which a teacher would reveal the tokens of a given response, and masks that follow it instead of chance (d3LLM; Qian et al. 2026, arXiv:2601.07568). A
 * trajectory is a row of steps; at step 0 the whole response is masked, at the last nothing is, and what was revealed stays so.
 */
import { Schema } from "effect"
import type { trajectoryModes } from "../../../artifacts/kinds.ts"
import { Count, PositiveInt, setting } from "../../../config/setting.ts"
import { permutation, randomKey, type RandomKey, uniformAt } from "../../../tensor/random.ts"
import { corrupt, type Corruption, type Masking, shareOf } from "../masks/corruption.ts"

/** Orders that can be found of any response, whoever wrote it. */
export const orderModes = ["scheduled", "entropy", "lr", "random"] as const satisfies ReadonlyArray<
  (typeof trajectoryModes)[number]
>

/** The compact form of a trajectory. */
export const Trajectory = Schema.Struct({
  /** Tokens before the response. */
  promptLength: Count,
  /** For each token of the response the first step at which it is revealed, from 1. */
  revealedAt: Schema.Array(Count),
  /** Forward passes that finding the order took. */
  forwards: Count
})
export type Trajectory = typeof Trajectory.Type

export const revealStepsOf = ({ revealedAt }: Trajectory): number =>
  revealedAt.reduce((most, at) => Math.max(most, at), 0) + 1

/** 1 for each token of the response that is masked at a step. */
export const maskedIn = ({ revealedAt }: Trajectory, revealStep: number): Uint8Array =>
  Uint8Array.from(revealedAt, at => (at > revealStep ? 1 : 0))

/** What is wrong with a trajectory of a sequence; undefined when nothing is. */
export const trajectoryFault = (trajectory: Trajectory, tokens: number): string | undefined => {
  const { promptLength, revealedAt } = trajectory
  if (promptLength + revealedAt.length !== tokens)
    return `it has ${promptLength} + ${revealedAt.length} tokens, the sequence ${tokens}`
  if (revealedAt.length === 0) return "its response is empty"
  const early = revealedAt.findIndex(at => at < 1)
  if (early >= 0) return `token ${early} of the response is revealed at step 0, where all are masked`
  return undefined
}

/** Response tokens that are revealed, by whether they are masked yet: ids of places within the response. */
export type ChooseNext = (masked: ReadonlyArray<number>, entropies: (place: number) => number) => ReadonlyArray<number>

/** The surest tokens first, as many in each of `steps` steps. */
export const scheduledOrder =
  (response: number, steps: number): ChooseNext =>
  (masked, entropies) =>
    surest(masked, entropies).slice(0, Math.ceil(response / steps))

/** All tokens whose entropy is below a threshold (nats), at least the surest. */
export const thresholdOrder =
  (threshold: number): ChooseNext =>
  (masked, entropies) => {
    const below = masked.filter(place => entropies(place) < threshold)
    return below.length > 0 ? below : surest(masked, entropies).slice(0, 1)
  }

const surest = (masked: ReadonlyArray<number>, entropies: (place: number) => number): ReadonlyArray<number> =>
  masked
    .map(place => ({ place, entropy: entropies(place) }))
    .sort((a, b) => a.entropy - b.entropy || a.place - b.place)
    .map(({ place }) => place)

/** From left to right, max(1, floor(response / steps)) tokens at a time. No model is asked. */
export const leftToRight = (promptLength: number, response: number, steps: number): Trajectory => {
  const size = Math.max(1, Math.floor(response / steps))
  return {
    promptLength,
    revealedAt: Array.from({ length: response }, (_, i) => 1 + Math.floor(i / size)),
    forwards: 0
  }
}

/** In a random order, as many tokens in each step as a scheduled one reveals: what trajectories are compared with. */
export const randomOrder = (promptLength: number, response: number, steps: number, key: RandomKey): Trajectory => {
  const size = Math.ceil(response / steps)
  const revealedAt = Array<number>(response).fill(0)
  for (const [rank, place] of permutation(key, response).entries()) revealedAt[place] = 1 + Math.floor(rank / size)
  return { promptLength, revealedAt, forwards: 0 }
}

const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

/** How masks follow trajectories. The field's names in our spelling. */
export const TrajectoryMaskingSettings = Schema.Struct({
  /** Lowest share of masks at the beginning; it rises to `trajectory_max_mask_ratio` over the training */
  trajectoryMinMaskRatio: setting(Share, 0),
  /** Highest share of masks */
  trajectoryMaxMaskRatio: setting(Share, 0.8),
  /** Masks follow the trajectory within one block of the response; everything behind it is masked, and not learnt */
  trajectoryUseBlockwise: setting(Schema.Boolean, false),
  /** Lengths of blocks, tokens, over the training one after the other, interpolated linearly */
  trajectoryProgressiveBlockSizes: setting(Schema.Array(PositiveInt), [16, 24, 32])
})
export type TrajectoryMaskingSettings = typeof TrajectoryMaskingSettings.Type

export interface MaskingData {
  readonly sequences: ReadonlyArray<{ readonly ids: ArrayLike<number>; readonly lossMask: ArrayLike<number> }>
  /** By number of the sequence. */
  readonly trajectories: ReadonlyMap<number, Trajectory>
  /** Steps of the whole training. */
  readonly steps: number
  readonly seed: number
}

/** Masks of training examples by their trajectories. The ratio is always the actual share. */
export const trajectoryMasking =
  (settings: TrajectoryMaskingSettings, data: MaskingData): Masking =>
  (example, step) => {
    const { lossMask } = data.sequences[example]!
    const key = randomKey(data.seed, "trajectory masking", step, example)
    const { trajectoryMaxMaskRatio: high, trajectoryMinMaskRatio: low } = settings
    const progress = data.steps === 0 ? 0 : step / data.steps
    const current = low + progress * (high - low)
    const ratio = current + uniformAt(key, 0) * (high - current)
    const trajectory = data.trajectories.get(example)
    if (trajectory === undefined || trajectoryFault(trajectory, lossMask.length) !== undefined)
      return byChance(lossMask, ratio, data.seed, step, example)
    const block = settings.trajectoryUseBlockwise
      ? drawBlock(trajectory.revealedAt.length, blockSize(settings.trajectoryProgressiveBlockSizes, progress), key)
      : { start: 0, end: trajectory.revealedAt.length }
    const followed = byTrajectory(trajectory, lossMask, ratio, block)
    // Nothing of the block can be learnt: it is the prompt of a conversation, or the first token.
    const learns = followed.labelled.some((bit, i) => i > 0 && bit === 1)
    return learns ? followed : byChance(lossMask, ratio, data.seed, step, example)
  }

/** Each token with probability 0.999 ratio + 0.001. */
const byChance = (
  lossMask: ArrayLike<number>,
  ratio: number,
  seed: number,
  step: number,
  example: number
): Corruption => {
  const probability = 0.999 * ratio + 0.001
  const key = randomKey(seed, "trajectory fallback", step, example)
  const drawn = corrupt(lossMask, { low: probability, high: probability }, key)
  return { ...drawn, ratio: shareOf(drawn.labelled, lossMask), fallback: true }
}

interface Block {
  /** Within the response. */
  readonly start: number
  readonly end: number
}

/** The step whose share of masks in the block is nearest to the ratio, and is not 0. */
const byTrajectory = (
  trajectory: Trajectory,
  lossMask: ArrayLike<number>,
  ratio: number,
  { end, start }: Block
): Corruption => {
  const { promptLength, revealedAt } = trajectory
  const inBlock = revealedAt.slice(start, end)
  let best = { revealStep: 0, share: 1 }
  for (let revealStep = 0; revealStep < revealStepsOf(trajectory); revealStep++) {
    const share = inBlock.filter(at => at > revealStep).length / inBlock.length
    if (share > 0 && Math.abs(share - ratio) < Math.abs(best.share - ratio)) best = { revealStep, share }
  }
  const masked = new Uint8Array(lossMask.length)
  const labelled = new Uint8Array(lossMask.length)
  const maskable = new Uint8Array(lossMask.length)
  for (const [i, at] of revealedAt.entries()) {
    const token = promptLength + i
    if (i < start || lossMask[token] !== 1) continue
    if (i >= end) masked[token] = 1
    else {
      maskable[token] = 1
      if (at > best.revealStep) masked[token] = labelled[token] = 1
    }
  }
  return { ratio: shareOf(labelled, maskable), weight: 1, maskable, masked, labelled, fallback: false }
}

/** Length of a block when a share of the training is done. */
export const blockSize = (sizes: ReadonlyArray<number>, progress: number): number => {
  const at = Math.min(1, Math.max(0, progress)) * (sizes.length - 1)
  const low = sizes[Math.floor(at)]!
  const high = sizes[Math.ceil(at)]!
  return Math.max(1, Math.round(low + (high - low) * (at - Math.floor(at))))
}

const drawBlock = (response: number, size: number, key: RandomKey): Block => {
  const blocks = Math.ceil(response / size)
  const start = Math.floor(uniformAt(key, 1) * blocks) * size
  return { start, end: Math.min(response, start + size) }
}
