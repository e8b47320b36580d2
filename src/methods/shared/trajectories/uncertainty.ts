/** How sure a bidirectional model is of tokens: the entropy of its predictions, computed where the logits are. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../../../engines/Engine.ts"
import type { ModelConfig } from "../../../models/config.ts"
import { logits } from "../../../models/decoder.ts"
import { softmaxEntropy } from "../../../tensor/composites.ts"
import { makeQuery, type QueryOptions } from "../../../sessions/query.ts"
import type { Uncertainty } from "./findOrders.ts"

export const makeUncertainty = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { length, rows, tokenShift }: Required<Pick<QueryOptions, "length" | "rows" | "tokenShift">>
): Effect.Effect<Uncertainty<EngineError>, EngineError, Scope.Scope> =>
  Effect.map(
    makeQuery(
      engine,
      config,
      parameters,
      { rows, length, places: rows * length, tokenShift },
      (hiddenStates, weights) => softmaxEntropy(logits(hiddenStates, weights))
    ),
    entropies => ({ rows, length, entropies })
  )
