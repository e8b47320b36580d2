/** What a diffusion model is worth on held-out text: a bound of the likelihood, losses at fixed shares of masks, and what its latents keep. */
import { Effect } from "effect"
import type { Sequence } from "../../src/tokens/sequences.ts"
import type { Method } from "../../src/methods/Method.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { predictedBytes } from "../../src/evaluation/bytes.ts"
import { bitsPerByte, makeCausalEvaluator } from "../../src/evaluation/causal.ts"
import {
  boundEstimator,
  type DiffusionEvaluation,
  documentBounds,
  likelihoodBound,
  lossAtRatio
} from "../../src/evaluation/likelihood.ts"
import type { EvaluationResult } from "../../src/evaluation/results.ts"
import { evenly } from "../../src/evaluation/selection.ts"
import type { LoadedModel } from "../../src/models/artifact.ts"
import { permanent } from "../../src/pipeline/StageError.ts"

export interface HeldOutSettings {
  readonly rows: number
  readonly length: number
  readonly seed: number
  /** Of methods that have a bound. */
  readonly bound?: {
    readonly draws: number
    readonly ratios: ReadonlyArray<number>
    readonly ratioSequences: number
  }
  readonly onRows: (note: string) => (done: number, total: number) => Effect.Effect<void>
}

export type HeldOutResult = Pick<
  EvaluationResult,
  "bound" | "documents" | "lossAtRatio" | "reconstruction" | "autoregressiveLoss"
>

/** Measures sequences that are given document by document. */
export const measureHeldOut = Effect.fn("measureHeldOut")(function* (
  engine: Engine,
  model: LoadedModel,
  method: Method,
  documents: ReadonlyArray<ReadonlyArray<Sequence>>,
  { bound: asked, onRows, seed, ...shape }: HeldOutSettings
) {
  const { tokenizer } = model
  const sequences = documents.flat()
  const likelihood = Effect.fn("likelihood")(function* (
    tokenLosses: NonNullable<Method["tokenLosses"]>,
    { draws, ratioSequences, ratios }: NonNullable<HeldOutSettings["bound"]>
  ) {
    const setting: DiffusionEvaluation = {
      ...shape,
      losses: yield* tokenLosses(engine, model, { ...shape, seed }),
      pad: tokenizer.padId,
      mask: tokenizer.maskId,
      seed
    }
    const evaluated = sequences.map(({ ids, lossMask }) => ({ ids, maskable: lossMask }))
    const { nats, standardError, tokens, ...bound } = yield* likelihoodBound(setting, evaluated, draws, onRows("bound"))
    if (tokens === 0) return yield* permanent("the held-out sequences have no token that may be masked")
    const at: { [ratio: string]: number } = {}
    const some = evenly(evaluated, ratioSequences)
    for (const ratio of ratios) at[String(ratio)] = yield* lossAtRatio(setting, some, ratio, onRows(`t = ${ratio}`))
    const bytes = documents.reduce(
      (sum, own) => sum + predictedBytes(own, tokenizer, (place, learnt) => place > 0 && learnt),
      0
    )
    return {
      bound: {
        nats,
        standardError,
        tokens,
        estimator: boundEstimator(draws),
        bitsPerByte: bitsPerByte({ nats: nats * tokens, tokens }, bytes)
      },
      documents: documentBounds(documents, bound.sequences),
      lossAtRatio: at
    }
  })

  const ids = sequences.map(sequence => sequence.ids)
  const reconstruction =
    method.reconstruction === undefined ? undefined : yield* method.reconstruction(engine, model, ids, shape)
  const { config, parameters } = model
  const causal = yield* makeCausalEvaluator(engine, config, parameters, { ...shape, pad: tokenizer.padId })
  const autoregressive = yield* causal.measure(ids, onRows("autoregressive"))
  return {
    ...(method.tokenLosses === undefined || asked === undefined
      ? { documents: [], lossAtRatio: {} }
      : yield* likelihood(method.tokenLosses, asked)),
    ...(reconstruction === undefined ? {} : { reconstruction }),
    autoregressiveLoss: autoregressive.nats / autoregressive.tokens
  } satisfies HeldOutResult as HeldOutResult
})
