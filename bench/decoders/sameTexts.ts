/**
 * Whether our decoders and Fast-dLLM's write the same texts at temperature 0: of a model with random weights, whose norms are not 1, where a mistake would not show, and which is sure enough of some
 * tokens that a threshold reveals several at once.
 */
import { Effect } from "effect"
import type { MaskDecoding } from "../../src/decoding/blockSettings.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { finalNorm, type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, fill, initialValues } from "../../src/models/parameters.ts"
import { maskedGenerator } from "../../src/sessions/maskedGenerator.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { agreement } from "./agreement.ts"
import { startFastDllm } from "./fastDllm.ts"

/** Standard deviation of logits: the likeliest tokens then have probabilities on both sides of the threshold. The final norm is as large as that takes. */
const deviation = 14
/** How far norms are from 1. */
const spread = 0.2
const threshold = 0.9

export interface Comparison {
  readonly checkout: string
  readonly threads: number
  readonly prompt: ReadonlyArray<number>
  readonly newTokens: number
  /** Tokens that a pass reveals where there is no threshold. */
  readonly atOnce: number
  readonly maskId: number
  readonly decoders: { readonly [name: string]: MaskDecoding }
}

export const compareTexts = (engine: Engine, config: ModelConfig, options: Comparison) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { atOnce, decoders, maskId, newTokens, prompt } = options
      const parameters = yield* allocateParameters(engine, parameterSpecs(config))
      const [last] = finalNorm(config).specs
      const sharpness = deviation / (config.initializerRange * Math.sqrt(config.hiddenSize))
      for (const spec of parameters.specs) {
        const values = initialValues(spec, 2)
        if (spec.shape.length === 1)
          for (const [i, x] of normals(randomKey(3, spec.name), values.length).entries())
            values[i] = (1 + spread * x) * (spec.name === last!.name ? sharpness : 1)
        yield* fill(engine, spec, parameters.views, values)
      }
      const model = {
        config,
        parameters: parameters.views,
        tokenShift: false,
        tokenizer: { maskId, padId: 0, ends: new Set<number>() }
      }
      const shape = { prompts: 1, promptTokens: prompt.length, newTokens }
      const theirs = yield* startFastDllm(engine, { config, maskId, ...parameters }, options)
      const found = []
      for (const [decoder, decoding] of Object.entries(decoders))
        for (const limit of [undefined, threshold]) {
          const { blockLength = newTokens, cache = "none" } = decoding
          // A threshold says how many steps there are.
          const steps = limit === undefined ? newTokens / atOnce : newTokens
          const { generate } = yield* maskedGenerator(engine, model, shape, {
            ...decoding,
            ...(limit === undefined ? {} : { blockLength, threshold: limit })
          })
          const { forwards, sequences } = yield* generate({ prompts: [Int32Array.from(prompt)], steps, seed: 1 })
          const { passes, tokens } = yield* Effect.promise(() =>
            theirs.decode({
              cache,
              newTokens,
              blockLength,
              steps,
              ...(limit === undefined ? {} : { threshold: limit })
            })
          )
          found.push({
            decoder: limit === undefined ? decoder : `${decoder}, threshold ${limit}`,
            passes: { ours: forwards[0]!, theirs: passes },
            agreement: agreement(sequences[0]!, tokens, prompt.length)
          })
        }
      return found
    })
  )
