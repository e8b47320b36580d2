/** The teacher of trajectories: a model that is asked with all positions in sight, as a diffusion model is. */
import { Effect } from "effect"
import { allSequences } from "../../../artifacts/sequences.ts"
import { tokenizerFiles } from "../../../artifacts/tokenizer.ts"
import type { Engine } from "../../../engines/Engine.ts"
import { filesOf, loadParameters, type OpenModel, openModel } from "../../../models/artifact.ts"
import { positionsOf } from "../../../models/families.ts"
import { asStageError, permanent } from "../../../pipeline/StageError.ts"
import type { ArtifactReader, ChunkReader } from "../../../pipeline/StageContext.ts"
import { vocabularyDigest } from "../../../tokens/vocabulary.ts"
import { fillMaskRow } from "../masks/maskRow.ts"

export interface TeacherInputs {
  readonly teacher: ArtifactReader<unknown>
  readonly sequences: ChunkReader<{ readonly vocabSize: number }>
}

/** Opens a teacher and reads the sequences that it is asked about; fails where they do not fit each other. */
export const openTeacher = Effect.fn("openTeacher")(function* (inputs: TeacherInputs) {
  const teacher = yield* openModel(yield* filesOf(inputs.teacher))
  const { config, json, tokenizer } = teacher
  if (config.vocabSize <= tokenizer.maskId)
    return yield* permanent(
      `the mask token has id ${tokenizer.maskId}, but the teacher's embedding has ${config.vocabSize} rows`,
      "a model of this tokenizer with room for the mask is needed"
    )
  const { vocabSize } = inputs.sequences.metadata
  if (vocabSize !== tokenizer.vocabSize)
    return yield* permanent(
      `the sequences were made with a tokenizer of ${vocabSize} tokens, the teacher's has ${tokenizer.vocabSize}`
    )
  const sequences = yield* allSequences(inputs.sequences)
  const positions = positionsOf(json)
  const tooLong = sequences.find(({ ids }) => typeof positions === "number" && ids.length > positions)
  if (tooLong !== undefined) {
    const { document, idx, ids } = tooLong
    return yield* permanent(
      `document ${document + 1} of the corpus${idx === undefined ? "" : ` (idx ${idx})`} has a sequence of ${ids.length} tokens, but the teacher was made for ${Number(positions)}`,
      "cut the sequences at that length (max_seq_len)"
    )
  }
  const vocabulary = yield* Effect.mapError(
    Effect.fromResult(vocabularyDigest(yield* tokenizerFiles(inputs.teacher), tokenizer)),
    asStageError
  )
  return { ...teacher, sequences, vocabulary }
})

/** Reads a teacher's parameters into an engine's memory. A mask that the model never saw is a mean token. */
export const loadTeacher = Effect.fn("loadTeacher")(function* (engine: Engine, teacher: OpenModel) {
  const views = yield* loadParameters(engine, teacher)
  yield* fillMaskRow(engine, { views }, teacher)
  return views
})
