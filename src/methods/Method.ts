/**
 * A method: a way to make a diffusion model of an autoregressive one. Each is a folder beside this file, and a line in each table below; everything that goes by
 * method (the stages that train and decode, `generate`, `export`, the grid, docs/configuration.md) reads these. What a method is:
 *
 *     settings.ts    parameters of the stage `train`, a schema              settings (settings.ts)
 *     train.ts       the training: parameters, objective, evaluation        trainings
 *     method.ts      what stands beside the language model, decoding,       decodings
 *                    a bound of the likelihood, reconstruction
 *     networks.ts, objective.ts, decode.ts: what these consist of
 *
 * The parts are loaded one by one, so that the key of a training holds no decoder, and that of a measurement no objective; the key of either, no other method.
 */
import { asStageError, type StageError } from "../pipeline/StageError.ts"
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../engines/Engine.ts"
import type { MaskedReading } from "../sessions/query.ts"
import { loadParameters, type LoadedModel, type OpenModel } from "../models/artifact.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import type { Generator, GeneratorShape } from "../sessions/generator.ts"
import type { Sampling } from "../decoding/sampling.ts"
import type { ModelTraining } from "../training/model.ts"
import type { TrainingGiven } from "./shared/trainBy.ts"
import type { LatentFormat } from "./shared/latents/latentFormat.ts"
import type { SettingsOf } from "./settings.ts"
import type { Reconstruction } from "./shared/latents/reconstruction.ts"

/** The methods, in the order of lists, and how a model of each writes text: it reveals masks, or decodes latents at once. The first is that of models and settings which name none. */
export const decodes = { masked: "masks", ldlm: "latents", vfm: "masks", cola: "masks", bd3lm: "masks" } as const
export type MethodName = keyof typeof decodes
export const methodNames = Object.keys(decodes) as ReadonlyArray<MethodName>

/** How a method trains. */
export interface Training<Settings> {
  readonly training: (given: TrainingGiven<Settings>) => Effect.Effect<ModelTraining, StageError>
}

export const trainings: { readonly [name in MethodName]: () => Promise<Training<SettingsOf<name>>> } = {
  masked: () => import("./masked/train.ts"),
  ldlm: () => import("./ldlm/train.ts"),
  vfm: () => import("./vfm/train.ts"),
  cola: () => import("./cola/train.ts"),
  bd3lm: () => import("./bd3lm/train.ts")
}

/** What a method's models are to those who decode and measure. */
export interface Decoding {
  /** What stands beside the language model. Left out where nothing does. */
  readonly latent?: LatentFormat
  /** `decoding`: the method's own settings; of all methods they say how tokens are drawn. */
  generator(
    engine: Engine,
    model: LoadedModel,
    shape: GeneratorShape,
    decoding: Sampling
  ): Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope>
  /** How tokens with masks are read, which a bound of the likelihood follows from. Left out where a method has no such bound. `seed`: of what is drawn beside the masks. */
  readonly maskedReading?: (model: LoadedModel, shape: BatchShape & { readonly seed: number }) => MaskedReading
  /** Whether networks beside the language model take part in every pass over masks, so that texts are read whole, without caches. Left out: none do. */
  readonly readsBeside?: (model: Pick<LoadedModel, "latent">) => boolean
  /** Tokens of the blocks that texts are decoded in, one after the other, where nothing else is asked for. Left out, or undefined: all new tokens at once. */
  readonly blockLength?: (model: Pick<LoadedModel, "config">) => number | undefined
  /** How much of sequences survives in latents. Left out where a model has none that text is read from, too. */
  readonly reconstruction?: (
    engine: Engine,
    model: LoadedModel,
    sequences: ReadonlyArray<Int32Array>,
    shape: BatchShape
  ) => Effect.Effect<Reconstruction | undefined, EngineError, Scope.Scope>
}

export const decodings: { readonly [name in MethodName]: () => Promise<Decoding> } = {
  masked: () => import("./masked/method.ts"),
  ldlm: () => import("./ldlm/method.ts"),
  vfm: () => import("./vfm/method.ts"),
  cola: () => import("./cola/method.ts"),
  bd3lm: () => import("./bd3lm/method.ts")
}

/** For `methods` of `Stage.make`, in a stage that chooses by its parameter `method`: the modules of each method that it reaches. */
export const modulesOf = <Module extends `.${string}`>(of: (name: MethodName) => ReadonlyArray<Module>) => ({
  by: "method" as const,
  dispatch: ["../src/methods/Method.ts", "../src/methods/settings.ts"] as const,
  modules: Object.fromEntries(methodNames.map(name => [name, of(name)]))
})

/** The method of a model: what stands beside its language model is described by a field of `config.json` that bears the method's name. */
export const methodOf = ({ json }: Pick<OpenModel, "json">): MethodName =>
  methodNames.find(name => json[name] !== undefined) ?? "masked"

/** A model before its parameters are read. */
export type DescribedModel = Omit<LoadedModel, "parameters">

/** The method of an opened model, and what the model's configuration says of the networks beside the language model. */
export const describeWhole = Effect.fn("describeWhole")(function* (opened: OpenModel) {
  const method = yield* Effect.promise(decodings[methodOf(opened)])
  const { config, json } = opened
  const latent = method.latent && (yield* Effect.mapError(method.latent.decode(json, config), asStageError))
  const model: DescribedModel = { ...opened, ...(latent === undefined ? {} : { latent }) }
  return { method, model }
})

/** Reads a described model into an engine's memory, what its method puts beside the language model too. */
export const loadDescribed = Effect.fn("loadDescribed")(function* (
  engine: Engine,
  { method, model }: { readonly method: Decoding; readonly model: DescribedModel }
) {
  const parameters = yield* loadParameters(engine, model, method.latent?.specs(model.latent, model.config) ?? [])
  return { method, model: { ...model, parameters } satisfies LoadedModel as LoadedModel }
})

/** Reads an opened model into an engine's memory. */
export const loadWhole = (engine: Engine, opened: OpenModel) =>
  Effect.flatMap(describeWhole(opened), described => loadDescribed(engine, described))
