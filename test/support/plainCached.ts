/** Decoding of several blocks with caches as one would write it for a single prompt: no batch, no padding, one list of hidden states as the cache; nothing shared with src/. */
import type { ModelConfig } from "../../src/models/config.ts"
import { bruteForward, type Weight } from "../models/bruteForce.ts"

export interface PlainCached {
  readonly newTokens: number
  readonly blockSize: number
  readonly rule: "threshold" | "factor" | "entropyThreshold" | "entropyBound"
  readonly limit: number
  readonly cache: "none" | "prefix" | "dual"
  readonly delay: number
  readonly refresh: number
  readonly add: number
  readonly far: number
  readonly mask: number
  readonly eos: number
}

const judged = (logits: ReadonlyArray<number>) => {
  const peak = Math.max(...logits)
  const weights = logits.map(value => Math.exp(value - peak))
  const total = weights.reduce((sum, value) => sum + value, 0)
  const shares = weights.map(value => value / total).filter(p => p > 0)
  return {
    token: logits.indexOf(peak),
    probability: 1 / total,
    entropy: -shares.reduce((sum, p) => sum + p * Math.log(p), 0)
  }
}

/** One step of a block reveals what the rule lets it, and the surest one where it must reveal any. */
export const decodeCached = (
  config: ModelConfig,
  weight: Weight,
  prompt: ReadonlyArray<number>,
  { add, blockSize, cache, delay, eos, far, limit, mask, newTokens, refresh, rule }: PlainCached
) => {
  const ids = [...prompt, ...Array<number>(newTokens).fill(mask)]
  const masksIn = (start: number, end: number) => ids.slice(start, end).filter(id => id === mask).length
  const blocks = [{ start: 0, end: prompt.length, masks: 0, passes: 0 }]
  const progress = ({ end, masks, start }: (typeof blocks)[number]) =>
    masks === 0 ? 1 : 1 - masksIn(start, end) / masks
  let kept: ReturnType<typeof bruteForward>["states"] | undefined
  let cached = 0
  const passes: Array<"whole" | "part"> = []
  const isDone = () => {
    const response = ids.slice(prompt.length)
    return !(response.includes(eos) ? response.slice(0, response.indexOf(eos)) : response).includes(mask)
  }
  while (!isDone()) {
    const last = blocks.at(-1)!
    if (last.end < ids.length && progress(last) >= add) {
      const end = Math.min(ids.length, last.end + blockSize)
      blocks.push({ start: last.end, end, masks: masksIn(last.end, end), passes: 0 })
    }
    const whole =
      cache === "none" ||
      kept === undefined ||
      passes.length % refresh === 0 ||
      blocks.some(block => progress(block) === 1 && block.passes < delay)
    let logits: ReadonlyArray<ReadonlyArray<number>>
    if (whole) {
      const { logits: all, states } = bruteForward(config, weight, ids, false)
      logits = all
      kept = states
      for (const block of blocks) if (progress(block) === 1) block.passes++
      cached = 0
      for (const block of blocks) {
        if (block.passes < delay) break
        cached = block.end
      }
    } else {
      const to = cache === "dual" ? blocks.at(-1)!.end : ids.length
      logits = bruteForward(config, weight, ids, false, { states: kept!, from: cached - 1, to }).logits
    }
    passes.push(whole ? "whole" : "part")
    const before = blocks.map(progress)
    for (const [b, { end, start }] of blocks.entries()) {
      const open = ids
        .flatMap((id, place) => (id === mask && start <= place && place < end ? [place] : []))
        .map(place => ({
          place,
          ...judged(logits[place - 1]!.map((value, id) => (id === mask ? -Infinity : value)))
        }))
      if (open.length === 0) continue
      const byEntropy = rule === "entropyThreshold" || rule === "entropyBound"
      open.sort((x, y) => (byEntropy ? x.entropy - y.entropy : y.probability - x.probability))
      let taken = 0
      let sum = 0
      for (const [rank, { entropy, probability }] of open.entries()) {
        if (rule === "threshold" ? probability < limit : rule === "entropyThreshold" ? entropy >= limit : false) break
        if (rule === "factor" && (rank + 2) * (1 - probability) > limit) break
        if (rule === "entropyBound" && sum > limit) break
        sum += entropy
        taken++
      }
      if (before[b - 1]! >= far || b === 1) taken = Math.max(1, taken)
      for (const { place, token } of open.slice(0, taken)) ids[place] = token
    }
  }
  const response = ids.slice(prompt.length)
  return { passes, tokens: response.includes(eos) ? response.slice(0, response.indexOf(eos) + 1) : response }
}
