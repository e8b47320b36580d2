/** Masked diffusion with a latent model beside it. The bound is that of masked diffusion without the latents: they only guide decoding. */
import { Effect } from "effect"
import { colaFormat } from "./networks.ts"
import { colaGenerator } from "./decode.ts"
import { colaReconstruction } from "./reconstruction.ts"
import { latentOf, type MaskDecoding, type Method } from "../Method.ts"

export { tokenLosses } from "../masked/method.ts"

export const latent = colaFormat

export const generator: Method["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  colaGenerator(engine, model, latentOf(model, "cola").architecture, shape, decoding)

export const reconstruction: NonNullable<Method["reconstruction"]> = (engine, model, sequences, { length, rows }) => {
  const { config, parameters, tokenizer } = model
  const { architecture } = latentOf(model, "cola")
  // Without a distribution of latents there is no auto-encoder (the switch `cola_vae`).
  if (!architecture.colaVae) return Effect.succeed(undefined)
  const shape = { rows, length, mask: tokenizer.maskId, pad: tokenizer.padId }
  return Effect.flatMap(colaReconstruction(engine, config, parameters, architecture, shape), reconstruct =>
    reconstruct(sequences)
  )
}
