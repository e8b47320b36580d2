/** The generator of any model: how it decodes is decided by what its `config.json` says stands beside the language model. */
import type { Effect, Scope } from "effect"
import type { Engine, EngineError } from "../engines/Engine.ts"
import type { LoadedModel } from "../models/artifact.ts"
import type { DiffusionDecoding } from "./diffusion.ts"
import { type Generator, type GeneratorShape, maskedGenerator } from "./generator.ts"
import { colaGenerator } from "./latent/cola.ts"
import { ldlmGenerator } from "./latent/ldlm.ts"
import { vfmGenerator } from "./latent/vfm.ts"

export const generatorOf = (
  engine: Engine,
  model: LoadedModel,
  shape: GeneratorShape,
  decoding: Omit<DiffusionDecoding, "steps">
): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope> => {
  const { latent } = model
  switch (latent?.method) {
    case undefined:
      return maskedGenerator(engine, model, shape, decoding)
    case "ldlm":
      return ldlmGenerator(engine, model, latent, shape, decoding)
    case "vfm":
      return vfmGenerator(engine, model, latent.architecture, shape, decoding)
    case "cola":
      return colaGenerator(engine, model, latent.architecture, shape, decoding)
  }
}
