/** Masked diffusion and nothing beside it. */
import { makeTokenLosses } from "../../sessions/tokenLosses.ts"
import { maskedGenerator } from "../../sessions/generator.ts"
import type { MaskDecoding } from "../../decoding/blocks.ts"
import type { Decoding } from "../Method.ts"

export const generator: Decoding["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  maskedGenerator(engine, model, shape, decoding)

export const tokenLosses: NonNullable<Decoding["tokenLosses"]> = (
  engine,
  { config, parameters, tokenShift },
  { length, rows }
) => makeTokenLosses(engine, config, parameters, { rows, length, causal: false, tokenShift })
