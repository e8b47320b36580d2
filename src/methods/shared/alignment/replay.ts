/** Replay: earlier micro-batches that are aligned again. Which ones depends on the seed and the step alone, so nothing needs to be kept. */
import { Schema } from "effect"
import { Count, setting } from "../../../config/setting.ts"
import { randomKey, uniformAt } from "../../../tensor/random.ts"

/** Names are those of the field's training configurations, in our spelling. */
export const ReplaySettings = Schema.Struct({
  /** How many of the newest micro-batches may be aligned again; 0 turns replay off */
  replayBufferCapacity: setting(Count, 0),
  /** Probability that a micro-batch is followed by a replayed one */
  replayProb: setting(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })), 0.3),
  /** Micro-batches that the buffer must hold before the first is replayed */
  replayWarmupSteps: setting(Count, 50),
  /** Weight of the alignment loss of a replayed micro-batch */
  replayWeight: setting(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)), 0.1)
})
export type ReplaySettings = typeof ReplaySettings.Type

/** Where a micro-batch was first seen. */
export interface Place {
  readonly step: number
  readonly microBatch: number
}

export const replays = ({ replayBufferCapacity, replayProb, replayWeight }: ReplaySettings): boolean =>
  replayBufferCapacity > 0 && replayProb > 0 && replayWeight > 0

/**
 * What a step replays. Each of its micro-batches enters a first-in-first-out buffer; then, once that holds enough, it is with some probability followed
 * by one of the buffer, each as likely as the others.
 */
export const replayed = (
  { replayBufferCapacity, replayProb, replayWarmupSteps }: ReplaySettings,
  seed: number,
  step: number,
  microBatches: number
): ReadonlyArray<Place> =>
  Array.from({ length: microBatches }, (_, m): Place | undefined => {
    const seen = step * microBatches + m + 1
    const size = Math.min(seen, replayBufferCapacity)
    const key = randomKey(seed, "replay", step, m)
    if (size === 0 || size < replayWarmupSteps || uniformAt(key, 0) >= replayProb) return undefined
    const chosen = seen - size + Math.floor(uniformAt(key, 1) * size)
    return { step: Math.floor(chosen / microBatches), microBatch: chosen % microBatches }
  }).filter(place => place !== undefined)
