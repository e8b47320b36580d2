/** How many tokens a model was made for. */
import { positionsOf } from "../models/families.ts"

/** As its `config.json` says; infinite where it says nothing. */
export const contextOf = (json: { readonly [field: string]: unknown }): number => {
  const positions = positionsOf(json)
  return typeof positions === "number" && Number.isSafeInteger(positions) && positions > 0 ? positions : Infinity
}
