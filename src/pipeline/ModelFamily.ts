/** Kinds of models that `--family` chooses from: all layers attend, or most are recurrent. */
export const modelFamilies = ["dense", "hybrid"] as const
export type ModelFamily = (typeof modelFamilies)[number]
