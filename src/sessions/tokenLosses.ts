/** Losses of every token of packed rows under a model whose parameters lie on an engine. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { type ModelConfig, parameterSpecs } from "../models/config.ts"
import { type BatchShape, predictionCount, nextTokenLossInputs, nextTokenLosses } from "../models/nextTokenLoss.ts"
import { input } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"

type Arrays = { readonly [name in keyof ReturnType<typeof nextTokenLossInputs>]: Int32Array }

/** Losses f32 [rows x (length - 1)] of arrays as `nextTokenLossData` gives them, with masks among the ids or without. */
export type TokenLosses = (arrays: Arrays) => Effect.Effect<Float32Array, EngineError>

export const makeTokenLosses = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { causal, tokenShift = true, ...shape }: BatchShape & { readonly causal: boolean; readonly tokenShift?: boolean }
): Effect.Effect<TokenLosses, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const weights = new Map(parameterSpecs(config).map(spec => [spec.name, input(spec.name, "f32", spec.shape)]))
    const inputs = Object.entries(nextTokenLossInputs(shape))
    const tensors = Object.fromEntries(
      inputs.map(([name, { dtype, shape: of }]) => [name, input(name, dtype, of)])
    ) as { readonly [name in keyof Arrays]: Tensor }
    const { losses } = nextTokenLosses(
      config,
      name => weights.get(name)!,
      name => tensors[name],
      { causal, tokenShift, checkpointLayers: false }
    )
    const executable = yield* engine.compile(makeProgram({ losses }))
    const data = Object.fromEntries(
      yield* Effect.forEach(inputs, ([name, { dtype, shape: of }]) =>
        Effect.map(engine.allocate(dtype, of), buffer => [name, buffer] as const)
      )
    )
    const output = yield* engine.allocate("f32", [predictionCount(shape)])
    const named = Object.fromEntries([...weights.keys()].map(name => [name, parameters[name]!]))
    const call = yield* engine.bind(executable, { ...named, ...data }, { losses: output })
    return arrays =>
      Effect.gen(function* () {
        for (const [name, array] of Object.entries(arrays)) yield* engine.upload(data[name]!, array)
        yield* engine.run([call])
        return (yield* engine.download(output)) as Float32Array
      })
  })
