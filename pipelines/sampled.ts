/** Ways to decode the answers to a benchmark: by masks or latents as the protocol says, with what was said otherwise laid on it, and token by token. */
import type { ModelFiles, Questions, Samples } from "../src/artifacts/kinds.ts"
import type { ProtocolSettings } from "../src/evaluation/tasks/Task.ts"
import { decodes, type MethodName } from "../src/methods/Method.ts"
import type { Ref } from "../src/pipeline/Artifact.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import { sample } from "../stages/sample.ts"
import { sampleCausal } from "../stages/sample-causal.ts"
import { faulty } from "./faulty.ts"
import { given } from "./given.ts"

export type Settings = { readonly [field: string]: unknown }

export interface Way {
  /** Left out where there is one alone. */
  readonly name?: string
  readonly autoregressive: boolean
  /** Whether tokens are drafted. */
  readonly drafts: boolean
  /** Of the stage. */
  readonly settings: Settings
}

/** Names become parts of names of stages. */
const named = /^[A-Za-z0-9][\w-]*$/

/** The ways of an entry. */
export const waysOf = ({
  asked: { decodings, sample: common = {} },
  name: entry,
  root
}: {
  readonly asked: { readonly decodings?: { readonly [name: string]: Settings }; readonly sample?: Settings }
  readonly name: string
  readonly root: object
}): ReadonlyArray<Way> => {
  if (decodings === undefined) return [{ autoregressive: false, drafts: false, settings: common }]
  const all = Object.entries(decodings)
  if (all.length === 0)
    throw faulty(root, ["tasks", entry, "decodings"], {
      message: "names no way to decode",
      advice: "leave it out for the one that sample describes",
      part: "key"
    })
  return all.map(([name, own]) => {
    const path = ["tasks", entry, "decodings", name]
    if (!named.test(name))
      throw faulty(root, path, {
        message: 'the name of a decoding consists of letters, digits, "_" and "-"',
        advice: "it becomes a part of the names of stages",
        part: "key"
      })
    if (own["autoregressive"] === undefined)
      return { name, autoregressive: false, drafts: false, settings: Origin.overlay(common, own) }
    if (own["autoregressive"] !== true)
      throw faulty(root, [...path, "autoregressive"], {
        message: "must be true",
        advice: "leave it out where the model decodes by diffusion"
      })
    return {
      name,
      autoregressive: true,
      drafts: own["draftTokens"] !== undefined,
      settings: Origin.overlay(tokenByToken(common), Origin.without(own, ["autoregressive"]))
    }
  })
}

/** What of the settings of a diffusion is meant for texts that are written from left to right, too. */
const causalFields = ["samples", "newTokens", "seed"]
const causalDecoding = ["temperature", "topP", "topK"]

const picked = (fields: Settings, names: ReadonlyArray<string>): Settings =>
  Origin.without(
    fields,
    Object.keys(fields).filter(name => !names.includes(name))
  )

const tokenByToken = (common: Settings): Settings => {
  const { decoding } = common
  const fields = picked(common, causalFields)
  return typeof decoding === "object" && decoding !== null
    ? Origin.overlay(fields, { decoding: picked(decoding as Settings, causalDecoding) })
    : fields
}

interface Drawing {
  readonly label: { readonly name?: string }
  readonly prompts: Ref<typeof Questions>
  readonly protocol: ProtocolSettings
  readonly models: {
    /** Who answers. */
    readonly by: Ref<typeof ModelFiles>
    readonly drafter?: Ref<typeof ModelFiles> | undefined
  }
}

/** Samples as the protocol says, with what was said otherwise laid on it; and how many there are of each problem. */
export const drawn = (
  { autoregressive, drafts, settings }: Way,
  { label, models: { by, drafter }, prompts, protocol }: Drawing
): { readonly samples: Ref<typeof Samples>; readonly most: number } => {
  const { decoding, newTokens, samples, steps } = protocol
  const { temperature, topK, topP } = decoding
  const sampling = { temperature, ...given({ topK, topP }) }
  const over = Origin.overlay(settings, label)
  const ports = { model: by, questions: prompts }
  if (autoregressive) {
    const own = Origin.overlay({ samples, newTokens, decoding: sampling }, over)
    const { samples: most } = sampleCausal.settings(own as Parameters<typeof sampleCausal.settings>[0])
    const drafting = given({ drafter: drafts ? drafter : undefined })
    return {
      most,
      samples: sampleCausal(Origin.overlay(own, { ...ports, ...drafting }) as Parameters<typeof sampleCausal>[0])
    }
  }
  const { method = "masked" } = sample.written(over)
  const byMethod = decodes[method as MethodName] === "latents" ? sampling : decoding
  const own = Origin.overlay({ samples, newTokens, steps, decoding: byMethod }, over)
  const { samples: most } = sample.settings(own as Parameters<typeof sample.settings>[0])
  return { most, samples: sample(Origin.overlay(own, ports) as Parameters<typeof sample>[0]) }
}
