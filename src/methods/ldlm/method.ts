/** LDLM: text is latents that are drawn by diffusion and decoded at once. There is no bound of the likelihood of tokens. */
import { Effect } from "effect"
import { windowsOf } from "../../tokens/windows.ts"
import { ldlmFormat } from "./networks.ts"
import { ldlmGenerator } from "./decode.ts"
import { ldlmReconstruction } from "./reconstruction.ts"
import type { Decoding } from "../Method.ts"

export const latent = ldlmFormat

export const generator: Decoding["generator"] = (engine, model, shape, decoding) =>
  ldlmGenerator(engine, model, ldlmFormat.of(model), shape, decoding)

export const reconstruction: NonNullable<Decoding["reconstruction"]> = (engine, model, sequences, { rows }) => {
  const { architecture, statistics } = ldlmFormat.of(model)
  const windows = windowsOf(
    sequences.map(ids => ids.length),
    { prompt: architecture.promptLength, length: architecture.seqLen }
  )
  return Effect.flatMap(
    ldlmReconstruction(engine, model.config, model.parameters, architecture, { rows, pad: model.tokenizer.padId }),
    reconstruct => reconstruct(sequences, windows, statistics.states)
  )
}
