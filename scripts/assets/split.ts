/** Divides the source documents: excerpts for the grid, excerpts held out, and the rest, whole, for pre-training. */
import { type Excerpt, excerpter } from "./excerpt.ts"
import { overlaps } from "./overlap.ts"
import { integer, type Random, seeded, shuffled } from "../../src/corpora/random.ts"
import type { SourceDocument } from "../../src/corpora/sources.ts"

/** How many excerpts each set takes from each source. */
export const shares = {
  sotu: { web50: 22, heldout: 18 },
  factbook: { web50: 18, heldout: 14 },
  "moby-dick": { web50: 10, heldout: 8 },
  kjv: { web50: 0, heldout: 10 }
} as const

const sourceNames = Object.keys(shares) as ReadonlyArray<keyof typeof shares>

/** Lengths of excerpts, in bytes: from a short page of the web to one that nearly fills 2,048 tokens of the shipped tokenizer. */
const shortest = 400
const longest = { sotu: 5600, factbook: 4000, "moby-dick": 5600, kjv: 5600 } as const

export interface Split {
  readonly web50: ReadonlyArray<Excerpt>
  readonly heldout: ReadonlyArray<Excerpt>
  /** Documents of which nothing is in the two other sets; none of the out-of-domain source. */
  readonly pretrain: ReadonlyArray<SourceDocument>
}

/** Every length of the range is as likely on a logarithmic scale, as with pages of the web. */
const targetLength = (random: Random, most: number): number =>
  Math.round(Math.exp(Math.log(shortest) + random() * Math.log(most / shortest)))

/** `count` documents, one from each of as many equal stretches of the ordered list, so that all years or regions are seen. */
const oneOfEachStretch = <A>(items: ReadonlyArray<A>, count: number, random: Random): ReadonlyArray<A> =>
  Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * items.length) / count)
    const end = Math.floor(((i + 1) * items.length) / count)
    const item = items[integer(random, start, end - 1)]
    if (item === undefined) throw new RangeError(`cannot take ${count} of ${items.length} documents`)
    return item
  })

/** How many excerpts of a document are tried, of which the first with little overlap is taken. */
const attempts = 12

/** Share of an excerpt's runs of 13 words that may occur in the pre-training text; lists of figures come near it. */
const mostOverlap = 0.1

/** Places that are tried for them; most places do. */
const mostPlaces = 1000

const excerptsOf = (document: SourceDocument, most: number, random: Random): ReadonlyArray<Excerpt> => {
  const whole = document.source === "kjv"
  const take = excerpter(document)
  const found: Array<Excerpt> = []
  for (let place = 0; place < mostPlaces && found.length < (whole ? 1 : attempts); place += 1) {
    const taken = take(whole ? most : targetLength(random, most), random)
    if (taken !== undefined) found.push(taken)
  }
  if (found.length === 0) throw new Error(`${document.id} cannot be cut`)
  return found
}

export const makeSplit = (
  sources: Readonly<Record<keyof typeof shares, ReadonlyArray<SourceDocument>>>,
  seed: number
): Split => {
  const random = seeded(seed)
  const chosen: Array<{ readonly set: "web50" | "heldout"; readonly candidates: ReadonlyArray<Excerpt> }> = []
  for (const source of sourceNames) {
    const most = longest[source]
    // Chapters of the Bible are taken whole, so they must have a suitable length; other documents must be long enough.
    const suitable = sources[source].filter(({ text }) => {
      const length = Buffer.byteLength(text)
      return source === "kjv" ? length >= shortest && length <= most : length >= most
    })
    const { heldout, web50 } = shares[source]
    const sets = shuffled(random, [
      ...Array.from({ length: web50 }, () => "web50" as const),
      ...Array.from({ length: heldout }, () => "heldout" as const)
    ])
    const documents = oneOfEachStretch(suitable, sets.length, random)
    for (const [i, set] of sets.entries()) {
      const document = documents[i]
      if (document !== undefined) chosen.push({ set, candidates: excerptsOf(document, most, random) })
    }
  }
  const used = new Set(chosen.flatMap(({ candidates }) => candidates.map(({ document }) => document.id)))
  const pretrain = [...sources.sotu, ...sources.factbook, ...sources["moby-dick"]].filter(({ id }) => !used.has(id))

  const candidates = chosen.flatMap(choice => choice.candidates)
  const shared = overlaps(
    candidates.map(({ text }) => text),
    pretrain.map(({ text }) => text)
  )
  const overlapOf = new Map(candidates.map((candidate, i) => [candidate, shared[i] ?? 0]))
  const take = (set: "web50" | "heldout"): ReadonlyArray<Excerpt> =>
    chosen.flatMap(choice => {
      if (choice.set !== set) return []
      const fresh = choice.candidates.find(candidate => (overlapOf.get(candidate) ?? 0) <= mostOverlap)
      if (fresh === undefined)
        throw new Error(`every excerpt of ${choice.candidates[0]?.document.id} overlaps the rest`)
      return [fresh]
    })
  return { web50: shuffled(random, take("web50")), heldout: shuffled(random, take("heldout")), pretrain }
}
