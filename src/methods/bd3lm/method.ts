/** Block diffusion: a model that writes block behind block, each by masked diffusion. */
import { Effect } from "effect"
import { blockFault, type MaskDecoding } from "../../decoding/blockSettings.ts"
import { permanent } from "../../pipeline/StageError.ts"
import { generatorOf } from "../../sessions/generator.ts"
import { maskedGenerator } from "../../sessions/maskedGenerator.ts"
import type { Decoding } from "../Method.ts"

export const blockLength: NonNullable<Decoding["blockLength"]> = ({ config }) => config.attentionBlockSize

/**
 * Decodes in the blocks of the training. A block takes a step at least, so that the texts of fewer steps than there are blocks are those of as many steps as blocks; how many passes a text took says its
 * `forwards`.
 */
export const generator: Decoding["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  Effect.gen(function* () {
    const size = blockLength(model)
    const { blockLength: wanted = size } = decoding
    if (size === undefined || wanted === undefined) return yield* maskedGenerator(engine, model, shape, decoding)
    if (size !== wanted)
      return yield* permanent(
        `the decoding's blockLength is ${wanted}, but the model was trained to write blocks of ${size} tokens, each behind whole blocks`,
        "leave it out"
      )
    const settings = { ...decoding, blockLength: wanted }
    const fault = blockFault(settings)
    if (fault !== undefined)
      return yield* permanent(
        `the decoding's ${fault.field}: ${fault.why}`,
        "the model is one of bd3lm, which writes block by block"
      )
    const blocks = Math.ceil(shape.newTokens / wanted)
    const made = yield* maskedGenerator(engine, model, shape, settings)
    const enough = (steps: number): number => Math.max(steps, blocks)
    return generatorOf({
      ...made,
      stepsThatCount: steps => made.stepsThatCount(enough(steps)),
      open: options => {
        const { batch, begin } = made.open(options)
        return { batch, begin: wanted => begin({ ...wanted, steps: enough(wanted.steps) }) }
      }
    })
  })

export const maskedReading: NonNullable<Decoding["maskedReading"]> = ({ tokenShift }) => ({ tokenShift, halves: true })
