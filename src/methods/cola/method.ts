/** Masked diffusion with a latent model beside it. The bound is that of masked diffusion without the latents: they only guide decoding. */
import { Effect } from "effect"
import { colaFormat } from "./networks.ts"
import { colaGenerator } from "./decode.ts"
import { colaReconstruction } from "./reconstruction.ts"
import type { MaskDecoding } from "../../decoding/blockSettings.ts"
import type { Decoding } from "../Method.ts"

export { maskedReading } from "../masked/method.ts"

export const latent = colaFormat

export const generator: Decoding["generator"] = (engine, model, shape, decoding: MaskDecoding) =>
  colaGenerator(engine, model, colaFormat.of(model).architecture, shape, decoding)

export const readsBeside: NonNullable<Decoding["readsBeside"]> = model => colaFormat.of(model).architecture.colaVae

export const reconstruction: NonNullable<Decoding["reconstruction"]> = (engine, model, sequences, { length, rows }) => {
  const { config, parameters, tokenizer } = model
  const { architecture } = colaFormat.of(model)
  // Without a distribution of latents there is no auto-encoder (the switch `cola_vae`).
  if (!architecture.colaVae) return Effect.succeed(undefined)
  const shape = { rows, length, mask: tokenizer.maskId, pad: tokenizer.padId }
  return Effect.flatMap(colaReconstruction(engine, config, parameters, architecture, shape), reconstruct =>
    reconstruct(sequences)
  )
}
