/** The settings of each method: what the stage `train` takes as parameters. Apart from Method.ts, as whoever plans needs them all, and who decodes none. */
import { Bd3lmParameters } from "./bd3lm/settings.ts"
import { ColaParameters } from "./cola/settings.ts"
import { LdlmParameters } from "./ldlm/settings.ts"
import { MaskedParameters } from "./masked/settings.ts"
import type { MethodName } from "./Method.ts"
import { VfmParameters } from "./vfm/settings.ts"

export const settings = {
  masked: () => MaskedParameters,
  ldlm: () => LdlmParameters,
  vfm: () => VfmParameters,
  cola: () => ColaParameters,
  bd3lm: () => Bd3lmParameters
} as const satisfies { readonly [name in MethodName]: unknown }

export type SettingsOf<Name extends MethodName> = ReturnType<(typeof settings)[Name]>["Type"]
