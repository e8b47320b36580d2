/** A noise adapter: the masks carry noise that it draws, in decoding and in the bound. */
import { vfmFormat } from "./networks.ts"
import { vfmTokenLosses } from "./tokenLosses.ts"
import { vfmGenerator } from "./decode.ts"
import { latentOf, type MaskDecoding, type Method } from "../Method.ts"

export const latent = vfmFormat

export const generator: Method["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  vfmGenerator(engine, model, latentOf(model, "vfm").architecture, shape, decoding)

export const tokenLosses: NonNullable<Method["tokenLosses"]> = (engine, model, shape) =>
  vfmTokenLosses(engine, model.config, model.parameters, latentOf(model, "vfm").architecture, {
    ...shape,
    mask: model.tokenizer.maskId
  })
