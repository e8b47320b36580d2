/** Masked diffusion and nothing beside it. */
import { makeTokenLosses } from "../../evaluation/losses.ts"
import { maskedGenerator } from "../generator.ts"
import type { MaskDecoding, Method } from "../methods.ts"

export const generator: Method["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  maskedGenerator(engine, model, shape, decoding)

export const tokenLosses: NonNullable<Method["tokenLosses"]> = (
  engine,
  { config, parameters, tokenShift },
  { length, rows }
) => makeTokenLosses(engine, config, parameters, { rows, length, causal: false, tokenShift })
