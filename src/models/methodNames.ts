/** The methods by which a language model becomes a diffusion model, by name: no code of any of them. */

/** Methods with networks beside the language model: a field of `config.json` and the names of their parameters begin with the method's name. */
export const latentNames = ["ldlm", "vfm", "cola"] as const
export type LatentName = (typeof latentNames)[number]

/** By masks alone, and those with networks beside it. */
export const methodNames = ["masked", ...latentNames] as const
export type MethodName = (typeof methodNames)[number]

/** The method that the content of `config.json` names. */
export const methodNameOf = (json: { readonly [field: string]: unknown }): MethodName =>
  latentNames.find(name => json[name] !== undefined) ?? "masked"
