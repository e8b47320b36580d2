/** A noise adapter: the masks carry noise that it draws, in decoding and in the bound. */
import { vfmFormat } from "./networks.ts"
import { vfmReading } from "./reading.ts"
import { vfmGenerator } from "./decode.ts"
import type { MaskDecoding } from "../../decoding/blockSettings.ts"
import type { Decoding } from "../Method.ts"

export const latent = vfmFormat

export const generator: Decoding["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  vfmGenerator(engine, model, vfmFormat.of(model).architecture, shape, decoding)

export const maskedReading: NonNullable<Decoding["maskedReading"]> = (model, shape) =>
  vfmReading(model.config, vfmFormat.of(model).architecture, { ...shape, mask: model.tokenizer.maskId })

export const readsBeside: NonNullable<Decoding["readsBeside"]> = () => true
