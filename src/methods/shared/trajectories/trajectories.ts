/** Sets of trajectories: keys, reading, and the field's own format. */
import { Effect, Schema, Stream } from "effect"
import type { ChunkReader } from "../../../pipeline/StageContext.ts"
import { permanent, type StageError } from "../../../pipeline/StageError.ts"
import { anchorKey } from "../anchors/anchors.ts"
import { maskedIn, revealStepsOf, Trajectory, trajectoryFault } from "./trajectory.ts"

/** One item: the trajectory, and the sequence that it goes over. */
export const TrajectoryRecord = Schema.Struct({
  ...Trajectory.fields,
  /** `anchorKey` of the sequence. */
  sequence: Schema.String,
  /** The sequence, and in mode `free` what the model wrote behind it. */
  ids: Schema.Array(Schema.Int)
})
export type TrajectoryRecord = typeof TrajectoryRecord.Type

const FromJson = Schema.fromJsonString(TrajectoryRecord)
const decode = Schema.decodeUnknownEffect(FromJson)
const encode = Schema.encodeSync(FromJson)

export const encodeRecord = (record: TrajectoryRecord): Uint8Array => new TextEncoder().encode(encode(record))

/** Reads an item. Fails for one that breaks what holds of every trajectory. */
export const decodeTrajectory = Effect.fn("decodeTrajectory")(function* (bytes: Uint8Array, key: string) {
  const record = yield* Effect.mapError(decode(new TextDecoder().decode(bytes)), ({ message }) =>
    permanent(`trajectory ${key}: ${message}`)
  )
  const fault = trajectoryFault(record, record.ids.length)
  return fault === undefined ? record : yield* permanent(`trajectory of sequence ${record.sequence}: ${fault}`)
})

/** The records of a set, in its order. */
export const trajectoryRecords = (set: ChunkReader<unknown>): Stream.Stream<TrajectoryRecord, StageError> =>
  Stream.mapEffect(set.items, item => Effect.flatMap(item.bytes, bytes => decodeTrajectory(bytes, item.key)))

/** The trajectories of sequences, by their number; those without one are left out. Fails where the set was made with another mask. */
export const readTrajectories = (
  set: ChunkReader<{ readonly maskId: number }>,
  sequences: ReadonlyArray<{ readonly ids: ArrayLike<number> }>,
  mask: number
): Effect.Effect<ReadonlyMap<number, Trajectory>, StageError> =>
  Effect.gen(function* () {
    const { maskId } = set.metadata
    if (maskId !== mask)
      return yield* permanent(
        `the trajectories were made with mask token ${maskId}, the model's is ${mask}`,
        "trajectories belong to a tokenizer: make them with the model that is trained"
      )
    const stored = yield* Stream.runFold(
      trajectoryRecords(set),
      () => new Map<string, Trajectory>(),
      (map, record) => map.set(record.sequence, record)
    )
    const found = new Map<number, Trajectory>()
    for (const [i, { ids }] of sequences.entries()) {
      const trajectory = stored.get(anchorKey(ids))
      if (trajectory !== undefined) found.set(i, trajectory)
    }
    return found
  })

/**
 * A record as the field writes it, one JSON object a line: `idx`, `trajectory` (the ids at each step, masks among them), `nfe`, `prompt_len`, and for
 * checks `mask_token_id` and `ids_sha`.
 */
export const fieldRecord = (record: TrajectoryRecord, idx: number, mask: number) => ({
  idx,
  trajectory: Array.from({ length: revealStepsOf(record) }, (_, revealStep) => {
    const masked = maskedIn(record, revealStep)
    return record.ids.map((id, i) => (i >= record.promptLength && masked[i - record.promptLength] === 1 ? mask : id))
  }),
  nfe: record.forwards,
  prompt_len: record.promptLength,
  mask_token_id: mask,
  ids_sha: record.sequence
})
