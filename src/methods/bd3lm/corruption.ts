/** Masking for block diffusion: each block of a sequence at a time of its own. */
import { Schema } from "effect"
import { setting } from "../../config/setting.ts"
import { permutation, randomKey, type RandomKey, uniformAt } from "../../tensor/random.ts"
import {
  bernoulli,
  type Corruption,
  corruptionKey,
  type CorruptionSettings,
  hasPredictable,
  independent,
  type Masking,
  maskSchedule,
  untilLearnt
} from "../shared/masks/corruption.ts"

const Time = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))

/** Clipped times; names are those of BD3-LM's configurations, in our spelling. */
export const BlockCorruptionSettings = Schema.Struct({
  /** Smallest time t of a block; with the linear schedule t is the share of masks. Above 1e-3 the weights of `elbo` are no bound of the likelihood, and vary less */
  samplingEpsMin: setting(Time, 1e-3),
  /** Largest time t of a block; below 1, likewise */
  samplingEpsMax: setting(Time, 1)
})
export type BlockCorruptionSettings = typeof BlockCorruptionSettings.Type

export interface BlockCorruption
  extends BlockCorruptionSettings, Pick<CorruptionSettings, "mdmLoss" | "alphaScheduler"> {
  readonly attentionBlockSize: number
}

/**
 * A share in [0, 1) for each block that has tokens to be learnt, by its number. Of n such blocks they lie 1 / n from each other, from one uniform start on, and in random order: each is uniform, and
 * together they are spread evenly, so that a sequence's loss varies less (antithetic sampling).
 */
const sharesOf = (blocks: ReadonlyArray<number>, start: number, order: RandomKey): ReadonlyMap<number, number> => {
  const places = permutation(order, blocks.length)
  return new Map(blocks.map((block, i) => [block, (start + places[i]! / blocks.length) % 1]))
}

/**
 * Masks of a sequence, whose blocks are counted from its beginning. t of a block is uniform between the smallest and the largest time; each maskable token of it is masked with the probability of that time.
 * Of `simple` all is drawn again until something can be learnt; of `elbo` nothing is, which would bias it.
 */
export const corruptBlocks = (
  maskable: ArrayLike<number>,
  { alphaScheduler, attentionBlockSize: size, mdmLoss, samplingEpsMax: most, samplingEpsMin: least }: BlockCorruption,
  { order, tokens }: { readonly tokens: RandomKey; readonly order: RandomKey }
): Corruption => {
  const n = maskable.length
  const blockOf = (token: number): number => Math.floor(token / size)
  const learnt = Array.from({ length: n }, (_, i) => i).filter(i => maskable[i] === 1)
  const blocks = [...new Set(learnt.map(blockOf))]
  const draw = (number: number): Corruption => {
    const from = number * (n + 1)
    const shares = sharesOf(blocks, uniformAt(tokens, from), order)
    const times = new Map(
      blocks.map(block => {
        const time = least + (most - least) * shares.get(block)!
        return [block, mdmLoss === "elbo" ? maskSchedule(alphaScheduler, time) : { ratio: time, weight: 1 }]
      })
    )
    const of = (what: "ratio" | "weight") =>
      Float64Array.from({ length: n }, (_, i) => times.get(blockOf(i))?.[what] ?? 0)
    const [ratios, weights] = [of("ratio"), of("weight")]
    const mean = learnt.length === 0 ? least : learnt.reduce((sum, i) => sum + ratios[i]!, 0) / learnt.length
    const masked = bernoulli(maskable, i => ratios[i]!, tokens, from + 1)
    return { ...independent(maskable, masked, mean), each: { ratios, weights } }
  }
  return mdmLoss === "elbo" || !hasPredictable(maskable) ? draw(0) : untilLearnt(most, draw)
}

/** How the examples of a training are masked. */
export const blockMasking =
  (
    sequences: ReadonlyArray<{ readonly lossMask: ArrayLike<number> }>,
    settings: BlockCorruption,
    seed: number
  ): Masking =>
  (example, step) =>
    corruptBlocks(sequences[example]!.lossMask, settings, {
      tokens: corruptionKey(seed, step, example),
      order: randomKey(seed, "order of blocks", step, example)
    })
