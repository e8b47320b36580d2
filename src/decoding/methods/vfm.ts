/** A noise adapter: the masks carry noise that it draws, in decoding and in the bound. */
import { vfmFormat } from "../../models/latent/vfm.ts"
import { vfmTokenLosses } from "../latent/vfmTokenLosses.ts"
import { vfmGenerator } from "../latent/vfm.ts"
import { latentOf, type MaskDecoding, type Method } from "../methods.ts"

export const latent = vfmFormat

export const generator: Method["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  vfmGenerator(engine, model, latentOf(model, "vfm").architecture, shape, decoding)

export const tokenLosses: NonNullable<Method["tokenLosses"]> = (engine, model, shape) =>
  vfmTokenLosses(engine, model.config, model.parameters, latentOf(model, "vfm").architecture, {
    ...shape,
    mask: model.tokenizer.maskId
  })
