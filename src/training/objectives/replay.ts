/** Replay: earlier micro-batches that are aligned again. Which ones depends on the seed and the step alone, so nothing needs to be kept. */
import { Effect, Schema } from "effect"
import { randomKey, uniformAt } from "../../tensor/random.ts"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Names are those of the field's training configurations, in our spelling. */
export const ReplaySettings = Schema.Struct({
  /** How many of the newest micro-batches may be replayed; 0 turns replay off. */
  replayBufferCapacity: orElse(Count, 0).annotate({
    description: "How many of the newest micro-batches may be aligned again; 0 turns replay off"
  }),
  /** Probability that a micro-batch brings a replayed one. */
  replayProb: orElse(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })), 0.3).annotate({
    description: "Probability that a micro-batch is followed by a replayed one"
  }),
  /** Micro-batches that have to be there first. */
  replayWarmupSteps: orElse(Count, 50).annotate({
    description: "Micro-batches that the buffer must hold before the first is replayed"
  }),
  /** Weight of the alignment loss of a replayed micro-batch. */
  replayWeight: orElse(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)), 0.1).annotate({
    description: "Weight of the alignment loss of a replayed micro-batch"
  })
})
export type ReplaySettings = typeof ReplaySettings.Type

/** Where a micro-batch was first seen. */
export interface Place {
  readonly step: number
  readonly microBatch: number
}

export const replays = ({ replayBufferCapacity, replayProb, replayWeight }: ReplaySettings): boolean =>
  replayBufferCapacity > 0 && replayProb > 0 && replayWeight > 0

/** Throws RangeError for a buffer that never fills enough to be read. */
export const checkReplay = ({ replayBufferCapacity: capacity, replayWarmupSteps: warmup }: ReplaySettings): void => {
  if (capacity > 0 && capacity < warmup)
    throw new RangeError(
      `replayBufferCapacity is ${capacity}, less than replayWarmupSteps, ${warmup}: nothing would ever be replayed`
    )
}

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
