/**
 * Fills gaps in texts by masked diffusion: what stands before a gap and behind it is given, and the tokens between are revealed as those of a text's end are (`diffusion.ts`). The number of tokens of a gap is
 * fixed before the first step. A gap at the end of a text is filled as `diffusionGenerate` continues a prompt that is alone.
 */
import { Effect } from "effect"
import { type RandomKey, uniformAt } from "../tensor/random.ts"
import {
  chosenPerStep,
  type Denoiser,
  type DiffusionDecoding,
  gumbel,
  judge,
  originSteps,
  surest
} from "./diffusion.ts"
import { stepKey, textKey } from "./draws.ts"

export interface Gap {
  /** At least one token, and then the masks: what would predict the first of them? */
  readonly prefix: ArrayLike<number>
  readonly suffix: ArrayLike<number>
  /** Tokens of the gap, at least one. */
  readonly tokens: number
  readonly key: RandomKey
}

/** The key of a gap (draws.ts): with nothing behind it, of the text behind a prompt. */
export const gapKey = (
  seed: number,
  { mask, prefix, suffix }: Pick<Gap, "prefix" | "suffix"> & { readonly mask: number },
  repetition = 0
): RandomKey =>
  textKey(seed, suffix.length === 0 ? prefix : [...Array.from(prefix), mask, ...Array.from(suffix)], repetition)

export interface InfillOptions {
  readonly mask: number
  readonly pad: number
  readonly settings: DiffusionDecoding
}

export interface FilledGap {
  /** The gap's tokens. No mask is left. */
  readonly tokens: Int32Array
  /** Passes until the last of them was revealed. */
  readonly forwards: number
}

export const tokensOf = ({ prefix, suffix, tokens }: Omit<Gap, "key">): number => prefix.length + tokens + suffix.length

/** A gap in a row of the canvas. */
interface Row {
  /** The first column of the gap. */
  readonly start: number
  readonly places: ReadonlyArray<number>
  readonly chosen: ReadonlyArray<number>
  /** By `origin`, the step that reveals each token. */
  readonly revealedAt: Int32Array | undefined
  readonly key: RandomKey
}

/** Fills all gaps side by side, one in each row of the denoiser; throws RangeError for one that does not fit. */
export const fillGaps = <E>(
  denoiser: Denoiser<E>,
  gaps: ReadonlyArray<Gap>,
  { mask, pad, settings }: InfillOptions
): Effect.Effect<ReadonlyArray<FilledGap>, E> =>
  Effect.gen(function* () {
    const { length, vocabSize } = denoiser
    const { alg, algTemp, steps } = settings
    for (const gap of gaps) {
      if (tokensOf(gap) > length) throw new RangeError(`a text with a gap does not fit into ${length} tokens`)
      if (gap.prefix.length === 0 || gap.tokens < 1)
        throw new RangeError("a gap has at least one token, and at least one before it")
    }
    const pads = gaps.map(gap => length - tokensOf(gap))
    const canvas = new Int32Array(gaps.length * length).fill(pad)
    const rows = gaps.map(({ key, prefix, suffix, tokens }, r): Row => {
      const begin = r * length + pads[r]!
      const start = begin + prefix.length
      canvas.set(Array.from(prefix), begin)
      canvas.fill(mask, start, start + tokens)
      canvas.set(Array.from(suffix), start + tokens)
      return {
        start,
        places: Array.from({ length: tokens }, (_, i) => start + i),
        chosen: chosenPerStep(settings, tokens),
        revealedAt: alg === "origin" ? originSteps(settings, key, tokens) : undefined,
        key
      }
    })
    const isMask = (place: number) => canvas[place] === mask
    const forwards = gaps.map(() => 0)
    for (let j = 0; j < steps; j++) {
      // `p2` looks at revealed tokens, too; a row without masks is done.
      const open = rows.map(({ places }) => {
        const masked = places.filter(isMask)
        return masked.length === 0 ? [] : alg === "p2" ? places : masked
      })
      const asked = open.flat()
      if (asked.length === 0) break
      const texts = gaps.map(({ key }) => ({ key, pass: j }))
      const logits = yield* denoiser.logits(canvas, pads, asked, texts)
      const rowOf = new Map(asked.map((place, i) => [place, logits.subarray(i * vocabSize, (i + 1) * vocabSize)]))
      for (const row of rowOf.values()) row[mask] = -Infinity
      for (const [r, own] of open.entries()) {
        if (own.length === 0) continue
        forwards[r]!++
        const { chosen, key, revealedAt, start } = rows[r]!
        const [ofTokens, ofOrder] = [stepKey(key, "tokens", j), stepKey(key, "order", j)]
        const judged = own.map(place => {
          const there = isMask(place) ? undefined : canvas[place]
          const found = judge(settings, {
            place,
            logits: rowOf.get(place)!,
            there,
            uniform: uniformAt(ofTokens, place - start)
          })
          if (algTemp === 0) return found
          return { ...found, score: found.score / algTemp + gumbel(uniformAt(ofOrder, place - start)) }
        })
        const kept =
          revealedAt === undefined
            ? surest(judged, chosen[j]!)
            : judged.filter(({ place }) => revealedAt[place - start] === j)
        if (alg === "p2") for (const place of own) canvas[place] = mask
        for (const { place, token } of kept) canvas[place] = token
      }
    }
    return rows.map(({ places, start }, r) => ({
      tokens: canvas.slice(start, start + places.length),
      forwards: forwards[r]!
    }))
  })
