/** Losses of every token of packed rows under a model whose parameters lie on an engine. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { type BatchShape, nextTokenLossInputs, nextTokenLosses } from "../models/nextTokenLoss.ts"
import { inputsOf, makeSession } from "./session.ts"

export type LossArrays = { readonly [name in keyof ReturnType<typeof nextTokenLossInputs>]: Int32Array }

/** Losses f32 [rows x (length - 1)] of arrays as `nextTokenLossData` gives them, with masks among the ids or without. */
export type TokenLosses = (arrays: LossArrays) => Effect.Effect<Float32Array, EngineError>

export const makeTokenLosses = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { causal, tokenShift = true, ...shape }: BatchShape & { readonly causal: boolean; readonly tokenShift?: boolean }
): Effect.Effect<TokenLosses, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { losses } = nextTokenLosses(config, inputsOf(parameters), inputsOf(nextTokenLossInputs(shape)), {
      causal,
      tokenShift,
      checkpointLayers: false
    })
    const { run } = yield* makeSession(engine, { losses }, parameters)
    return arrays => Effect.map(run(arrays), found => found.losses)
  })
