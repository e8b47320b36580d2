/** Tokens that a pass proposes for masks, with what says which of them are revealed: chosen by logits that come to the host, or where the model computes. */
import { Effect } from "effect"
import { type RandomKey, uniformAt } from "../tensor/random.ts"
import { type AcceptingRule, measureOf, type Measured, ruleOf } from "./accepting.ts"
import type { BlockRow } from "./blockRow.ts"
import { type BlockDecoding, diffusionOfBlock } from "./blockSettings.ts"
import { judge } from "./diffusion.ts"
import { stepKey } from "./draws.ts"
import { probabilityOf, type Sampling, sampleToken } from "./sampling.ts"
import { surelyAmong } from "./surely.ts"
import type { Proposal, TextPass, TextReader } from "./textPass.ts"

/** A text with what is read of it. */
export interface Asked {
  readonly row: BlockRow
  readonly pass: TextPass
  readonly key: RandomKey
}

/** What is proposed for the places of each text. */
export type Propose<E> = (open: ReadonlyArray<Asked>) => Effect.Effect<ReadonlyArray<ReadonlyArray<Measured>>, E>

/** What rules look at. */
const unfiltered: Sampling = { temperature: 0 }

/** Proposes a token for a mask by its logits [V], which it changes. */
const byLogits = (settings: BlockDecoding, mask: number) => {
  const decoding = diffusionOfBlock(settings)
  const rule = ruleOf(settings)
  const measured = rule === undefined ? undefined : measureOf[rule]
  /** Whether what is drawn is drawn from the distribution that rules look at. */
  const isPlain =
    (settings.temperature === 0 || settings.temperature === 1) &&
    (settings.topP ?? 1) === 1 &&
    settings.topK === undefined
  const measure = (logits: Float32Array, { score, token }: Pick<Measured, "score" | "token">): number => {
    switch (measured) {
      case undefined:
        return 0
      case "probability":
        return isPlain && settings.alg === "maskgit_plus" ? score : probabilityOf(logits, unfiltered, token)
      case "entropy":
        return -(isPlain && settings.alg === "entropy" ? score : sampleToken(logits, unfiltered, 0).negativeEntropy)
    }
  }
  return (place: number, logits: Float32Array, uniform: number): Measured => {
    logits[mask] = -Infinity
    const judged = judge(decoding, { place, logits, uniform, there: undefined })
    return { ...judged, measure: measure(logits, judged) }
  }
}

const onHost = <E>(reader: TextReader<E>, settings: BlockDecoding, mask: number): Propose<E> => {
  const propose = byLogits(settings, mask)
  const { vocabSize } = reader
  return open =>
    Effect.map(reader.read(open.map(({ pass }) => pass)), logits => {
      let from = 0
      return open.map(({ key, pass, row }) => {
        const ofTokens = stepKey(key, "tokens", row.forwards)
        return pass.places.map(place => {
          const found = logits.subarray(from, (from += vocabSize))
          return propose(place, found, uniformAt(ofTokens, place - row.start))
        })
      })
    })
}

/** The rules whose limit one token alone decides. */
const byEach: ReadonlySet<AcceptingRule | undefined> = new Set([undefined, "threshold", "entropyThreshold"])

/** What the model's side computes of a token's score, in f64 of the host's own: log-odds of a probability, which neither end of the scale rounds away. */
const exactScore = ({ score }: Measured, alg: BlockDecoding["alg"]): number =>
  alg === "maskgit_plus"
    ? Math.min(40, Math.log(score) - Math.log1p(-score))
    : alg === "topk_margin"
      ? score - 1
      : score

/**
 * Likeliest tokens are chosen where the model computes. Where the order of two, or of one and a limit, is closer than f32 can tell, the host looks at the logits of these places (decision 043): what is
 * revealed is what it would be by all logits.
 */
const byModel = <E>(
  { propose }: Required<Pick<TextReader<E>, "propose">>,
  settings: BlockDecoding,
  mask: number
): Propose<E> => {
  const { alg } = settings
  const exactly = byLogits(settings, mask)
  const rule = ruleOf(settings)
  const limit =
    rule === "threshold"
      ? Math.log(settings.threshold!) - Math.log1p(-settings.threshold!)
      : rule === "entropyThreshold"
        ? -settings.entropyThreshold!
        : undefined
  const measureOfScore = (score: number): number =>
    rule === "threshold" ? 1 / (1 + Math.exp(-score)) : rule === "entropyThreshold" ? -score : 0

  /** Which of a text's places the host must look at. */
  const doubtful = ({ pass, row }: Asked, found: ReadonlyArray<Proposal>): ReadonlySet<number> => {
    const bounded = pass.places.map((place, i) => ({ ...found[i]!, place }))
    const within = bounded.filter(
      ({ score, tolerance }) => limit !== undefined && Math.abs(score - limit) <= tolerance + 1e-12
    )
    const contested = row.demands().flatMap(({ end, quota, start }) =>
      quota === 0
        ? []
        : surelyAmong(
            bounded.filter(({ place }) => start <= place && place < end),
            quota
          ).contested
    )
    return new Set([...within, ...contested].map(({ place }) => place))
  }

  return open =>
    Effect.gen(function* () {
      const { found, logitsOf } = yield* propose(
        open.map(({ pass }) => pass),
        alg
      )
      const all: Array<ReadonlyArray<Measured>> = []
      let first = 0
      for (const asked of open) {
        const { places } = asked.pass
        const own = found.slice(first, first + places.length)
        const inDoubt = doubtful(asked, own)
        const measured: Array<Measured> = []
        for (const [i, place] of places.entries()) {
          const { score, token } = own[i]!
          if (inDoubt.has(place)) {
            const exact = exactly(place, yield* logitsOf(first + i), 0)
            measured.push({ ...exact, score: exactScore(exact, alg) })
          } else measured.push({ place, token, score, measure: measureOfScore(score) })
        }
        all.push(measured)
        first += places.length
      }
      return all
    })
}

/** How a decoding's tokens are proposed: where the model computes, if it can and the likeliest are taken. */
export const proposing = <E>(reader: TextReader<E>, settings: BlockDecoding, mask: number): Propose<E> => {
  const { propose } = reader
  const greedy = settings.temperature === 0 && (settings.topP ?? 1) === 1 && settings.topK === undefined
  return propose !== undefined && greedy && byEach.has(ruleOf(settings))
    ? byModel({ propose }, settings, mask)
    : onHost(reader, settings, mask)
}
