/** Which parameters are trained, and which of them share a learning rate and a weight decay. */
import { Schema } from "effect"
import { countElements, type ParameterSpec } from "../models/parameters.ts"
import { visible } from "../pipeline/Problem.ts"
import { layerwiseFactor } from "./schedule.ts"
import { append } from "../pipeline/lists.ts"

/** A pattern that freezes nothing: most likely misspelt. */
export class FreezeError extends Schema.TaggedError<FreezeError>()("FreezeError", {
  class: Schema.tag("permanent"),
  message: Schema.String
}) {}

export interface Split {
  readonly trainable: ReadonlyArray<ParameterSpec>
  readonly frozen: ReadonlyArray<ParameterSpec>
}

/**
 * A pattern freezes every parameter whose name contains it; `*` stands for any characters. A parameter is also known by its aliases: `lm_head`
 * freezes the embedding where the head is tied to it. What its spec says is never trained is frozen without a pattern. Throws FreezeError for a pattern that matches nothing, or when all match.
 */
export const splitParameters = (
  specs: ReadonlyArray<ParameterSpec>,
  patterns: ReadonlyArray<string>,
  aliases: { readonly [alias: string]: string } = {}
): Split => {
  const candidates = specs.filter(({ trained }) => trained !== false)
  const names = [...candidates.map(({ name }) => [name, name] as const), ...Object.entries(aliases)]
  const frozen = new Set<string>()
  for (const pattern of patterns) {
    const expression = new RegExp(pattern.split("*").map(escaped).join(".*"))
    const matched = names.filter(([known]) => expression.test(known))
    if (matched.length === 0)
      throw new FreezeError({
        message: visible(
          `freeze_layers: no parameter's name contains ${JSON.stringify(pattern)}; names are like ${candidates.at(-1)?.name}`
        )
      })
    for (const [, name] of matched) frozen.add(name)
  }
  if (candidates.every(({ name }) => frozen.has(name)))
    throw new FreezeError({ message: "freeze_layers: every parameter is frozen" })
  return {
    trainable: candidates.filter(({ name }) => !frozen.has(name)),
    frozen: specs.filter(({ name, trained }) => trained === false || frozen.has(name))
  }
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** Parameters that lie one after the other and are updated alike. */
export interface Group {
  /** In elements of the flat buffer. */
  readonly offset: number
  readonly size: number
  /** Multiplies the learning rate. */
  readonly rateFactor: number
  /** Whether weight decay applies. */
  readonly decays: boolean
}

export interface GroupSettings {
  /** Decay of the learning rate from the last layer to the first; 0 turns it off. */
  readonly layerwiseDecay: number
  /** Whether vectors (norms and biases) are spared from weight decay. */
  readonly noDecayNorms: boolean
}

/** Sorts parameters so that groups are contiguous; within a group they keep their order. */
export const groupParameters = (
  specs: ReadonlyArray<ParameterSpec>,
  { layerwiseDecay, noDecayNorms }: GroupSettings
): { readonly specs: ReadonlyArray<ParameterSpec>; readonly groups: ReadonlyArray<Group> } => {
  const depthOf = (name: string): number | "embedding" | "head" => {
    const layer = /(?:^|\.)layers\.(\d+)\./.exec(name)
    return layer === null ? (name.includes("embed") ? "embedding" : "head") : Number(layer[1])
  }
  const layers = specs.reduce((most, { name }) => {
    const depth = depthOf(name)
    return typeof depth === "number" ? Math.max(most, depth + 1) : most
  }, 1)
  const byKey = new Map<
    string,
    { readonly rateFactor: number; readonly decays: boolean; specs: Array<ParameterSpec> }
  >()
  for (const spec of specs) {
    const rateFactor = layerwiseFactor(layerwiseDecay, depthOf(spec.name), layers) * (spec.rateFactor ?? 1)
    const decays = !(noDecayNorms && spec.shape.length < 2)
    const key = `${rateFactor} ${decays}`
    const group = byKey.get(key) ?? { rateFactor, decays, specs: [] }
    byKey.set(key, group)
    group.specs.push(spec)
  }
  const ordered: Array<ParameterSpec> = []
  const groups: Array<Group> = []
  for (const { decays, rateFactor, specs: members } of byKey.values()) {
    groups.push({ offset: countElements(ordered), size: countElements(members), rateFactor, decays })
    append(ordered, members)
  }
  return { specs: ordered, groups }
}
