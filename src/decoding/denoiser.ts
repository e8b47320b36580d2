/** A bidirectional model on an engine as what diffusion decoders ask: logits of tokens at places of a canvas. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { logits } from "../models/qwen.ts"
import { type AskedOptions, makeAsked } from "./asked.ts"
import type { Denoiser } from "./diffusion.ts"

/** Prepares a model whose parameters lie in buffers. */
export const makeDenoiser = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  options: AskedOptions
): Effect.Effect<Denoiser<EngineError>, EngineError, Scope.Scope> =>
  Effect.map(makeAsked(engine, config, parameters, options, logits), ask => ({
    vocabSize: config.vocabSize,
    length: options.length,
    logits: ask
  }))
