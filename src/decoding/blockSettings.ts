/** The settings of decoding block by block, under the field's names. */
import { Schema } from "effect"
import { NonNegative, PositiveInt, setting } from "../config/setting.ts"
import { type AcceptingRule, acceptingFields, acceptingRules, measureOf, pipelineFields } from "./accepting.ts"
import type { Algorithm, DiffusionDecoding } from "./diffusion.ts"
import { Sampling } from "./sampling.ts"

export const BlockDecoding = Schema.Struct({
  /** Tokens of a block; a text's last block may be shorter */
  blockSize: setting(PositiveInt, 32),
  /** Steps in which a block is revealed: as many tokens in each, those left over in the first ones; at most one step a token */
  stepsPerBlock: setting(PositiveInt, 32),
  ...Sampling.fields,
  /** Logits are divided by it before a token is drawn; 0 takes the likeliest */
  temperature: setting(NonNegative, 0),
  /** What is revealed first, as in diffusion: by negative entropy (`entropy`), the token's probability (`maskgit_plus`), or its lead over the second (`topk_margin`) */
  alg: setting(Schema.Literals(["entropy", "maskgit_plus", "topk_margin"]), "entropy")
})
/** With what is left out where a whole text is one block. */
export type BlockDecoding = typeof BlockDecoding.Type &
  BlockOptions & {
    /** Steps of a text, where blocks are those of the model, so that how many there are depends on where the prompt ends: each has its share, and one at least. */
    readonly stepsOfText?: number
  }

/** A block as a text of its own that diffusion reveals. */
export const diffusionOfBlock = (settings: BlockDecoding): DiffusionDecoding => ({
  ...settings,
  steps: settings.stepsPerBlock,
  schedule: "quota",
  algTemp: 0,
  eps: 1e-3
})

/** What a diffusion's settings say beside that, where it goes block by block. */
const fields = {
  /**
   * Tokens of a block: one after the other is revealed, each in its share of the steps, and none behind the end of text. Where there are fewer steps than blocks, blocks are larger; of a model that
   * attends by blocks, they are made of whole ones. By default all tokens are one
   */
  blockLength: Schema.optionalKey(PositiveInt),
  ...acceptingFields,
  ...pipelineFields
} as const
export type BlockFields = Schema.Struct<typeof fields>["Type"]
type BlockOptions = Omit<BlockFields, "blockLength">

export const inBlocks = {
  fields,
  check: Schema.makeFilter((settings: Schema.Struct<typeof fields>["Type"] & CheckedSettings) => {
    const fault = blockFault(settings)
    return fault === undefined ? undefined : { path: [fault.field], issue: fault.why }
  })
} as const

type CheckedSettings = Pick<DiffusionDecoding, "alg" | "algTemp" | "schedule">

const blockFields = Object.keys(fields) as ReadonlyArray<keyof BlockFields>

/** The first setting that asks for anything that goes block by block. */
const askingForBlocks = (settings: BlockFields): keyof BlockFields | undefined =>
  blockFields.find(name => settings[name] !== undefined && !(name === "cache" && settings.cache === "none"))

export const goesInBlocks = (settings: BlockFields): boolean => askingForBlocks(settings) !== undefined

export interface BlockFault {
  readonly field: "alg" | "algTemp" | "schedule" | keyof BlockFields
  readonly why: string
}

const algorithmOf = { probability: "maskgit_plus", entropy: "entropy" } as const
/** By what masks must be revealed first, where a rule says it. */
export const algorithmFor = (settings: BlockFields): (typeof algorithmOf)[keyof typeof algorithmOf] | undefined => {
  const rule = acceptingRules.find(each => settings[each] !== undefined)
  return rule === undefined ? undefined : algorithmOf[measureOf[rule]]
}

const inOrder = { maskgit_plus: "what maskgit_plus reveals by", entropy: "what entropy reveals by" } as const

/** Why settings that ask for blocks, or for anything that goes block by block, cannot be followed. */
export const blockFault = (settings: BlockFields & CheckedSettings): BlockFault | undefined => {
  const { alg, algTemp, schedule } = settings
  const rules = acceptingRules.filter(rule => settings[rule] !== undefined)
  const [rule, another] = rules
  const by = rule ?? askingForBlocks(settings)
  if (by === undefined) return undefined
  if (another !== undefined)
    return { field: another, why: `does not go with ${rule}: one rule says what a step reveals` }
  const faults = rule === undefined ? undefined : ofRule(rule, alg)
  if (faults !== undefined) return faults
  if (alg === "origin" || alg === "p2") return { field: "alg", why: `${alg} does not go block by block, as ${by} asks` }
  if (algTemp > 0) return { field: "algTemp", why: `does not go with ${by}` }
  if (schedule !== "quota") return { field: "schedule", why: `must be quota where ${by} is given` }
  return cacheFault(settings)
}

const ofRule = (rule: AcceptingRule, alg: Algorithm): BlockFault | undefined => {
  const wanted = algorithmOf[measureOf[rule]]
  return alg === wanted
    ? undefined
    : { field: "alg", why: `${alg} does not go with ${rule}, which is one of ${inOrder[wanted]}` }
}

const cacheFault = ({ cache, cacheDelayIter, refreshInterval }: BlockFields): BlockFault | undefined => {
  const field = cacheDelayIter !== undefined ? "cacheDelayIter" : "refreshInterval"
  return (cacheDelayIter === undefined && refreshInterval === undefined) || (cache ?? "none") !== "none"
    ? undefined
    : { field, why: "goes with a cache: set cache to prefix or dual" }
}

/** The settings of what decodes by masks, whole or in blocks. */
export type MaskDecoding = Omit<DiffusionDecoding, "steps"> & BlockFields

/** How `newTokens` are decoded in some steps, one at least for each block. `align`: blocks are a multiple of it. */
export const blocksOf = (
  { alg, blockLength: wanted = Infinity, ...others }: MaskDecoding,
  { align = 1, newTokens, steps }: { readonly newTokens: number; readonly steps: number; readonly align?: number }
): BlockDecoding => {
  const least = Math.min(newTokens, Math.max(wanted, Math.ceil(newTokens / steps)))
  const blockSize = align * Math.ceil(least / align)
  // The last block may be shorter: where there is a step for each token, it leaves its rest to nobody.
  const stepsPerBlock = steps >= newTokens ? blockSize : Math.floor(steps / Math.ceil(newTokens / blockSize))
  const ofText = align > 1 && steps < newTokens ? { stepsOfText: steps } : {}
  return { ...others, alg: alg as BlockDecoding["alg"], blockSize, stepsPerBlock, ...ofText }
}
