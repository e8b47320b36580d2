/** Token sequences as stages read them from a chunk set. */
import { Effect, Stream } from "effect"
import type { ChunkReader } from "../pipeline/StageContext.ts"
import { asStageError, type StageError } from "../pipeline/StageError.ts"
import { decodeSequences } from "../tokens/sequenceCodec.ts"
import type { Sequence } from "../tokens/sequences.ts"
import { append } from "../pipeline/lists.ts"

/** The sequences of each record, in the order of the corpus. */
export const sequencesOfRecords = (set: ChunkReader<unknown>): Stream.Stream<ReadonlyArray<Sequence>, StageError> => {
  let document = 0
  return Stream.mapEffect(set.items, item =>
    Effect.flatMap(item.bytes, bytes =>
      Effect.mapError(Effect.fromResult(decodeSequences(bytes, document++)), asStageError)
    )
  )
}

/** All sequences at once, for corpora that fit into memory. */
export const allSequences = (set: ChunkReader<unknown>): Effect.Effect<ReadonlyArray<Sequence>, StageError> =>
  Stream.runFold(
    sequencesOfRecords(set),
    (): Array<Sequence> => [],
    (all, sequences) => {
      append(all, sequences)
      return all
    }
  )
