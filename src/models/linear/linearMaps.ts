/** How the linear maps of a model's layers are stored and adapted, by the names of their modules, as in `model.layers.0.self_attn.q_proj`. */
import type { Nf4Layout } from "../../tensor/nf4.ts"
import { denseWeight, type LinearKind, plain } from "./linear.ts"
import { type Dropout, type Lora, lora } from "./lora.ts"
import { nf4Weight } from "./nf4.ts"

/** All linear maps of the layers, or those whose module is called so, or ends so behind a dot. The head and the embedding are none of them. */
export type TargetModules = "auto" | ReadonlyArray<string>

/** Adapters of a model, in the terms of PEFT. */
export interface Adapter extends Lora {
  readonly targetModules: TargetModules
  /** Ranks and alphas of others than `r` and `alpha`, by a regular expression for the end of a module's name. The first that matches decides. */
  readonly rankPattern: { readonly [pattern: string]: number }
  readonly alphaPattern: { readonly [pattern: string]: number }
  /** Ids of tokens whose rows of the embedding are trained, each as a vector of its own in place of the row; no token twice. A head that is tied to the embedding keeps the rows that it had. */
  readonly trainableTokens: ReadonlyArray<number>
}

/** Plain data. What is left out is dense, or without adapters. */
export interface LinearMaps {
  readonly nf4?: Nf4Layout & { readonly modules: TargetModules }
  readonly adapter?: Adapter
}

/** How one linear map is stored and adapted. */
export interface LinearMap {
  readonly nf4?: Nf4Layout
  readonly lora?: Lora
}

export const isTarget = (targets: TargetModules, module: string): boolean =>
  targets === "auto" || targets.some(target => module === target || module.endsWith(`.${target}`))

/** As PEFT matches patterns (`get_pattern_key`): with the whole name, or its end behind a dot. */
export const patternOf = (pattern: string): RegExp => new RegExp(`^(?:.*\\.)?(?:${pattern})$`, "u")

const byPattern = (patterns: Adapter["rankPattern"], module: string): number | undefined =>
  Object.entries(patterns).find(([pattern]) => patternOf(pattern).test(module))?.[1]

/** Of a module. */
export const linearMap = ({ adapter, nf4 }: LinearMaps, module: string): LinearMap => ({
  ...(nf4 === undefined || !isTarget(nf4.modules, module)
    ? {}
    : { nf4: { blockSize: nf4.blockSize, doubleQuant: nf4.doubleQuant } }),
  ...(adapter === undefined || !isTarget(adapter.targetModules, module)
    ? {}
    : {
        lora: {
          r: byPattern(adapter.rankPattern, module) ?? adapter.r,
          alpha: byPattern(adapter.alphaPattern, module) ?? adapter.alpha,
          rankStabilised: adapter.rankStabilised,
          dropout: adapter.dropout,
          dora: adapter.dora
        }
      })
})

/** `deviation`: of fresh weights. `random`: of a training's pass, where adapters drop anything. */
export const linearKind = (
  { lora: adapter, nf4 }: LinearMap,
  { deviation, random }: { readonly deviation: number; readonly random?: Dropout | undefined }
): LinearKind => {
  const weight = nf4 === undefined ? denseWeight(deviation) : nf4Weight(nf4, deviation)
  return adapter === undefined ? plain(weight) : lora(weight, adapter, random)
}
