/**
 * The methods by which a model may have been made into a diffusion model, as far as decoding and evaluation know them: what its `config.json` says stands
 * beside the language model decides. A method is a module with the functions of `Method`, loaded when a model asks for it.
 */
import { asStageError } from "../pipeline/StageError.ts"
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../engines/Engine.ts"
import type { TokenLosses } from "../sessions/tokenLosses.ts"
import { loadParameters, type LoadedModel, type OpenModel } from "../models/artifact.ts"
import type { LatentFormat } from "./shared/latents/latentFormat.ts"
import type { LatentModel, LatentModelOf } from "./shared/latents/latentModel.ts"
import type { MethodName } from "../models/methodNames.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import type { DiffusionDecoding } from "../decoding/diffusion.ts"
import type { Generator, GeneratorShape } from "../sessions/generator.ts"
import type { Reconstruction } from "./shared/latents/reconstruction.ts"
import type { Sampling } from "../decoding/sampling.ts"

/** The settings of methods that decode by masks. */
export type MaskDecoding = Omit<DiffusionDecoding, "steps">

export interface Method {
  /** What stands beside the language model. Left out where nothing does. */
  readonly latent?: LatentFormat
  /** `decoding`: the method's own settings; of all methods they say how tokens are drawn. */
  generator(
    engine: Engine,
    model: LoadedModel,
    shape: GeneratorShape,
    decoding: Sampling
  ): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope>
  /** Losses of masked tokens, from which a bound of the likelihood follows. Left out where a method has no such bound. */
  readonly tokenLosses?: (
    engine: Engine,
    model: LoadedModel,
    shape: BatchShape & { readonly seed: number }
  ) => Effect.Effect<TokenLosses, EngineError, Scope.Scope>
  /** How much of sequences survives in latents. Left out where a model has none that text is read from, too. */
  readonly reconstruction?: (
    engine: Engine,
    model: LoadedModel,
    sequences: ReadonlyArray<Int32Array>,
    shape: BatchShape
  ) => Effect.Effect<Reconstruction | undefined, EngineError, Scope.Scope>
}

const methods: { readonly [name in MethodName]: () => Promise<Method> } = {
  masked: () => import("./masked/method.ts"),
  ldlm: () => import("./ldlm/method.ts"),
  vfm: () => import("./vfm/method.ts"),
  cola: () => import("./cola/method.ts")
}

export const methodNamed = (name: MethodName): Effect.Effect<Method> => Effect.promise(methods[name])

/** Reads the parameters of an opened model into an engine's memory, those of what its method puts beside the language model among them. */
export const loadWith = Effect.fn("loadWith")(function* (
  engine: Engine,
  opened: OpenModel,
  { latent: format }: Pick<Method, "latent">
) {
  if (format === undefined) return { ...opened, parameters: yield* loadParameters(engine, opened, []) }
  const { config, json } = opened
  const latent = yield* Effect.mapError(format.decode(json, config), asStageError)
  const parameters = yield* loadParameters(engine, opened, format.specs(latent, config))
  return { ...opened, latent, parameters } satisfies LoadedModel as LoadedModel
})

/** What a model says of its latent model, for the method's own module: that of another method is a defect of the caller. */
export const latentOf = <M extends LatentModel["method"]>({ latent }: LoadedModel, method: M): LatentModelOf<M> => {
  if (latent?.method !== method)
    throw new Error(`a model of the method ${latent?.method ?? "masked"} as one of ${method}`)
  return latent as LatentModelOf<M>
}
