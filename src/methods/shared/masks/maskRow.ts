/** The embedding of the mask token, which an autoregressive model has never read. */
import { Effect } from "effect"
import type { Engine } from "../../../engines/Engine.ts"
import type { OpenModel } from "../../../models/artifact.ts"
import { embeddingKey } from "../../../models/config.ts"
import type { ParameterBuffers } from "../../../models/parameters.ts"

/** Numbers that are read at once. */
const readAtOnce = 2 ** 24

/**
 * The mask's row of the embedding as a training begins. Where the tokenizer had no mask of its own it is the mean of the rows of the vocabulary: a place that no other token holds, at the scale that the
 * model knows.
 */
export const maskRow = Effect.fn("maskRow")(function* ({ config, tensors, tokenizer }: Model) {
  const d = config.hiddenSize
  const { maskAdded, maskId: mask } = tokenizer
  const { floats } = tensors.get(embeddingKey)!
  if (!maskAdded) return yield* floats(mask * d, (mask + 1) * d)
  const mean = new Float64Array(d)
  const rows = Math.max(1, Math.floor(readAtOnce / d))
  for (let from = 0; from < mask; from += rows) {
    const values = yield* floats(from * d, Math.min(mask, from + rows) * d)
    for (let i = 0; i < values.length; i++) mean[i % d]! += values[i]! / mask
  }
  return Float32Array.from(mean)
})
type Model = Pick<OpenModel, "config" | "tensors" | "tokenizer">

/** Sets the mask's row to that, where the tokenizer had no mask of its own. Nothing happens where the embedding is not among the buffers. */
export const fillMaskRow = Effect.fn("fillMaskRow")(function* (
  engine: Engine,
  { views }: Pick<ParameterBuffers, "views">,
  model: Model
) {
  const embedding = views[embeddingKey]
  const { maskAdded, maskId } = model.tokenizer
  if (embedding === undefined || !maskAdded) return
  const d = model.config.hiddenSize
  yield* engine.upload(yield* engine.view(embedding, maskId * d, [d]), yield* maskRow(model))
})
