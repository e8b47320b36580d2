/** The settings of each method: what the stage `train` takes as parameters. Apart from Method.ts, as whoever plans needs them all, and who decodes none. */
import { ColaParameters } from "./cola/settings.ts"
import { LdlmParameters } from "./ldlm/settings.ts"
import { MaskedParameters } from "./masked/settings.ts"
import type { MethodName } from "./Method.ts"
import { VfmParameters } from "./vfm/settings.ts"

export const settings = {
  masked: () => MaskedParameters,
  ldlm: () => LdlmParameters,
  vfm: () => VfmParameters,
  cola: () => ColaParameters
} as const satisfies { readonly [name in MethodName]: unknown }

export type SettingsOf<Name extends MethodName> = ReturnType<(typeof settings)[Name]>["Type"]
