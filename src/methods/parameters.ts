/**
 * What the stage `train` takes: the parameters of each method, by the method's name. A method's settings are a module that nothing but this table and the method
 * itself imports, so that the key of a training holds its own method's alone.
 */
import { byMethod } from "../config/byMethod.ts"
import { ColaParameters } from "./cola/settings.ts"
import { LdlmParameters } from "./ldlm/settings.ts"
import { MaskedParameters } from "./masked/settings.ts"
import { VfmParameters } from "./vfm/settings.ts"

/** The field that names the method. */
export interface Chooses {
  /**
   * How the diffusion model is made: by masks alone, by latent diffusion beside a frozen model (`ldlm`), with a noise adapter (`vfm`), or by masks with a latent model
   * beside them (`cola`)
   */
  method: keyof typeof trainMethods
}

export const trainMethods = {
  masked: () => MaskedParameters,
  ldlm: () => LdlmParameters,
  vfm: () => VfmParameters,
  cola: () => ColaParameters
} as const

export const TrainParameters = byMethod("method", "masked", trainMethods)
export type TrainConfig = typeof TrainParameters.Type

/** The configuration of a training by one method. */
export type ConfigOf<Method extends TrainConfig["method"]> = Extract<TrainConfig, { readonly method: Method }>
