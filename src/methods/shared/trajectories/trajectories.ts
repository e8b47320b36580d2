/** Sets of trajectories: keys, reading, and the field's own format. */
import { Effect, Schema, Stream } from "effect"
import type { ChunkReader } from "../../../pipeline/StageContext.ts"
import { permanent, type StageError } from "../../../pipeline/StageError.ts"
import { short } from "../../../pipeline/Digest.ts"
import { anchorKey } from "../anchors/anchors.ts"
import type { Response } from "./responses.ts"
import { maskedIn, revealStepsOf, Trajectory, trajectoryFault } from "./trajectory.ts"

/** One item: the trajectory, and the sequence that it goes over. */
export const TrajectoryRecord = Schema.Struct({
  ...Trajectory.fields,
  /** `anchorKey` of the sequence. */
  sequence: Schema.String,
  ids: Schema.Array(Schema.Int),
  /** The number that the data's record gave itself. */
  idx: Schema.optionalKey(Schema.Int)
})
export type TrajectoryRecord = typeof TrajectoryRecord.Type

const FromJson = Schema.fromJsonString(TrajectoryRecord)
const decode = Schema.decodeUnknownEffect(FromJson)
const encode = Schema.encodeSync(FromJson)

/** The bytes of the item of a response: its trajectory, and what it goes over. Throws where they do not fit each other. */
export const encodeTrajectory = ({ forwards, revealedAt }: Omit<Trajectory, "promptLength">, response: Response) => {
  const { idx, ids, promptLength } = response
  const fault = trajectoryFault({ promptLength, revealedAt, forwards }, ids.length)
  if (fault !== undefined) throw new RangeError(`a trajectory does not fit its sequence: ${fault}`)
  return new TextEncoder().encode(
    encode({
      promptLength,
      revealedAt,
      forwards,
      sequence: anchorKey(ids),
      ids: Array.from(ids),
      ...(idx === undefined ? {} : { idx })
    })
  )
}

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

/** What a set says of the tokenizer that its ids belong to. */
export interface TokenizerOf {
  readonly maskId: number
  /** `vocabularyDigest`. */
  readonly vocabulary: string
}

/** The trajectories of sequences, by their number; those without one are left out. Fails where the set is of another tokenizer or mask than the model, or of other sequences. */
export const readTrajectories = (
  set: ChunkReader<TokenizerOf>,
  sequences: ReadonlyArray<{ readonly ids: ArrayLike<number> }>,
  model: TokenizerOf
): Effect.Effect<ReadonlyMap<number, Trajectory>, StageError> =>
  Effect.gen(function* () {
    const { maskId, vocabulary } = set.metadata
    const advice = "trajectories belong to a tokenizer: their teacher must have that of the model that is trained"
    if (maskId !== model.maskId)
      return yield* permanent(
        `the trajectories were made with mask token ${maskId}, the model's is ${model.maskId}`,
        advice
      )
    if (vocabulary !== model.vocabulary)
      return yield* permanent(
        `the trajectories were made with another tokenizer: the digest of its vocabulary is ${short(vocabulary)}, the model's ${short(model.vocabulary)}`,
        advice
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
    if (found.size === 0)
      return yield* permanent(
        `none of the ${stored.size} trajectories is of a sequence that is trained on`,
        "make them from the same sequences: the same tokenizer, cut at the same length"
      )
    return found
  })

/**
 * A record as the field writes it, one JSON object a line: `idx` (the record's own, or its place in the set), `trajectory` (the ids at each step, masks among them), `nfe`, `prompt_len`,
 * and for checks `mask_token_id`, `tokenizer_hash` and `ids_sha`.
 */
export const fieldRecord = (record: TrajectoryRecord, place: number, { maskId: mask, vocabulary }: TokenizerOf) => ({
  idx: record.idx ?? place,
  trajectory: Array.from({ length: revealStepsOf(record) }, (_, revealStep) => {
    const masked = maskedIn(record, revealStep)
    return record.ids.map((id, i) => (i >= record.promptLength && masked[i - record.promptLength] === 1 ? mask : id))
  }),
  nfe: record.forwards,
  prompt_len: record.promptLength,
  mask_token_id: mask,
  tokenizer_hash: vocabulary,
  ids_sha: record.sequence
})
