/** How sure a bidirectional model is of tokens: the entropy of its predictions, computed where the logits are. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { logits } from "../models/qwen.ts"
import { exp, logSoftmax, mul, neg, sum } from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { makeAsked } from "./asked.ts"
import type { Uncertainty } from "./trajectories.ts"

/** Entropy of the distributions that logits [n, V] stand for, nats: [n]. */
export const entropyOf = (z: Tensor): Tensor => {
  const logP = logSoftmax(z, 1)
  return neg(sum(mul(exp(logP), logP), [1]))
}

export const makeUncertainty = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { length, rows }: { readonly rows: number; readonly length: number }
): Effect.Effect<Uncertainty<EngineError>, EngineError, Scope.Scope> =>
  Effect.map(
    makeAsked(
      engine,
      config,
      parameters,
      { rows, length, wanted: rows * length, tokenShift: true },
      (states, weights) => entropyOf(logits(states, weights))
    ),
    entropies => ({ rows, length, entropies })
  )
