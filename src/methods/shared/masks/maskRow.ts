/** The embedding of the mask token, which an autoregressive model has never read. */
import { Effect } from "effect"
import type { Engine, EngineError } from "../../../engines/Engine.ts"
import { embeddingKey } from "../../../models/config.ts"
import type { ParameterBuffers } from "../../../models/parameters.ts"

/**
 * Sets the mask's row to the mean of the rows of the vocabulary, where the tokenizer had no mask of its own: a place that no other token holds, at the scale that the
 * model knows. Nothing happens where the embedding is not among the buffers.
 */
export const fillMaskRow = (
  engine: Engine,
  { views }: Pick<ParameterBuffers, "views">,
  mask: number,
  wasAdded: boolean
): Effect.Effect<void, EngineError> =>
  Effect.gen(function* () {
    const embedding = views[embeddingKey]
    if (embedding === undefined || !wasAdded) return
    const d = embedding.shape[1]!
    const values = (yield* engine.download(embedding)) as Float32Array
    const mean = new Float64Array(d)
    for (let row = 0; row < mask; row++) for (let i = 0; i < d; i++) mean[i]! += values[row * d + i]! / mask
    yield* engine.upload(yield* engine.view(embedding, mask * d, [d]), Float32Array.from(mean))
  })
