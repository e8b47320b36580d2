/** Masked diffusion and nothing beside it. */
import { maskedGenerator } from "../../sessions/maskedGenerator.ts"
import type { MaskDecoding } from "../../decoding/blockSettings.ts"
import type { Decoding } from "../Method.ts"

export const generator: Decoding["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  maskedGenerator(engine, model, shape, decoding)

export const maskedReading: NonNullable<Decoding["maskedReading"]> = ({ tokenShift }) => ({ tokenShift })
