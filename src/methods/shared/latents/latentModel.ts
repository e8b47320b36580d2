/** What stands beside the language model in a checkpoint: the networks of one of the latent methods. Types alone, so that whoever names them holds no method's code. */
import type { ColaArchitecture } from "../../cola/networks.ts"
import type { LdlmArchitecture } from "../../ldlm/networks.ts"
import type { Statistics } from "../../ldlm/statistics.ts"
import type { VfmArchitecture } from "../../vfm/networks.ts"

export type LatentModel =
  | { readonly method: "ldlm"; readonly architecture: LdlmArchitecture; readonly statistics: Statistics }
  | { readonly method: "vfm"; readonly architecture: VfmArchitecture }
  | { readonly method: "cola"; readonly architecture: ColaArchitecture }

export type LatentModelOf<Method extends LatentModel["method"]> = Extract<LatentModel, { readonly method: Method }>
