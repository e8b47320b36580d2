/**
 * An n-gram model of token sequences with interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999, section 3): a yardstick for
 * neural models, and a judge that shares nothing with them.
 */

/** Integers up to 2^53 are exact, so that an n-gram of `order` tokens fits into one number where `order x bits` does. */
const exactBits = 53

/** The n-grams of one length, ascending, with the counts that their level of the model uses. */
interface Level {
  /** n-grams as numbers, the first token in the highest bits. */
  readonly grams: Float64Array
  readonly counts: Float64Array
  /** Contexts (the n-grams without their last token), ascending. */
  readonly contexts: Float64Array
  /** Sum of the counts behind each context. */
  readonly totals: Float64Array
  /** What interpolation takes from each context's seen tokens, to be given to the level below. */
  readonly reserved: Float64Array
  /** Discounts of counts 1, 2, and 3 or more. */
  readonly discounts: readonly [number, number, number]
}

export interface NgramModel {
  readonly order: number
  readonly vocabSize: number
  /** log p(token | the tokens before it in the sequence), nats. `history` may be longer than the order needs. */
  readonly logProbability: (history: ReadonlyArray<number>, token: number) => number
  /** Sum of the log-probabilities of a sequence's tokens from `start` on, nats. */
  readonly logLikelihood: (tokens: ReadonlyArray<number>, start?: number) => number
}

/**
 * Counts sequences (token ids below `vocabSize`) and smooths. Sequences are independent: the first tokens of each see a boundary.
 * The order is lowered where n-grams of the vocabulary would not fit into 53 bits.
 */
export const trainNgram = (
  sequences: Iterable<ReadonlyArray<number> | Int32Array>,
  { order: wanted, vocabSize }: { readonly order: number; readonly vocabSize: number }
): NgramModel => {
  const boundary = vocabSize
  const bits = Math.ceil(Math.log2(vocabSize + 1))
  const order = Math.max(1, Math.min(wanted, Math.floor(exactBits / bits)))
  const base = 2 ** bits

  const highest = sortedGrams(sequences, order, base, boundary)
  const levels: Array<Level> = []
  let { counts, grams } = runs(highest)
  levels[order] = levelOf(grams, counts, base)
  for (let n = order - 1; n >= 1; n--) {
    // The count of a shorter n-gram is the number of different tokens before it, not how often it occurs.
    const suffixes = grams.map(gram => gram % base ** n).sort()
    ;({ grams, counts } = runs(suffixes))
    levels[n] = levelOf(grams, counts, base)
  }

  const probability = (context: number, length: number, token: number): number => {
    // From the empty context upwards: each level mixes what it has seen with the level below.
    let p = 1 / vocabSize
    for (let n = 1; n <= length + 1; n++) {
      const level = levels[n]!
      const key = n === 1 ? 0 : context % base ** (n - 1)
      const at = find(level.contexts, key)
      if (at < 0) continue
      const gram = find(level.grams, key * base + token)
      const count = gram < 0 ? 0 : level.counts[gram]!
      const discount = count === 0 ? 0 : level.discounts[Math.min(count, 3) - 1]!
      p = (Math.max(0, count - discount) + level.reserved[at]! * p) / level.totals[at]!
    }
    return p
  }

  const logProbability = (history: ReadonlyArray<number>, token: number): number => {
    let context = 0
    for (let i = 0; i < order - 1; i++) {
      const at = history.length - (order - 1) + i
      context = context * base + (at < 0 ? boundary : history[at]!)
    }
    return Math.log(probability(context, order - 1, token))
  }
  return {
    order,
    vocabSize,
    logProbability,
    logLikelihood: (tokens, start = 0) => {
      let sum = 0
      for (let i = start; i < tokens.length; i++)
        sum += logProbability(tokens.slice(Math.max(0, i - order + 1), i), tokens[i]!)
      return sum
    }
  }
}

/** Every n-gram of every sequence as a number, ascending; sequences begin with boundaries. */
const sortedGrams = (
  sequences: Iterable<ReadonlyArray<number> | Int32Array>,
  order: number,
  base: number,
  boundary: number
): Float64Array => {
  const kept = [...sequences]
  const all = new Float64Array(kept.reduce((sum, { length }) => sum + length, 0))
  const context = base ** (order - 1)
  let at = 0
  for (const tokens of kept) {
    let gram = 0
    for (let i = 0; i < order - 1; i++) gram = gram * base + boundary
    for (const token of tokens) {
      if (!Number.isInteger(token) || token < 0 || token >= boundary)
        throw new RangeError(`token ${token} is outside of the vocabulary of ${boundary}`)
      gram = (gram % context) * base + token
      all[at++] = gram
    }
  }
  return all.sort()
}

/** Distinct values of an ascending array, and how often each occurs. */
const runs = (sorted: Float64Array): { readonly grams: Float64Array; readonly counts: Float64Array } => {
  const grams = new Float64Array(sorted.length)
  const counts = new Float64Array(sorted.length)
  let n = 0
  for (let i = 0; i < sorted.length; i++) {
    if (i === 0 || sorted[i] !== sorted[i - 1]) grams[n++] = sorted[i]!
    counts[n - 1]! += 1
  }
  return { grams: grams.slice(0, n), counts: counts.slice(0, n) }
}

const levelOf = (grams: Float64Array, counts: Float64Array, base: number): Level => {
  const discounts = discountsOf(counts)
  const contexts = new Float64Array(grams.length)
  const totals = new Float64Array(grams.length)
  const reserved = new Float64Array(grams.length)
  let n = 0
  for (let i = 0; i < grams.length; i++) {
    const context = Math.floor(grams[i]! / base)
    if (n === 0 || contexts[n - 1] !== context) contexts[n++] = context
    const count = counts[i]!
    totals[n - 1]! += count
    reserved[n - 1]! += Math.min(count, discounts[Math.min(count, 3) - 1]!)
  }
  return {
    grams,
    counts,
    contexts: contexts.slice(0, n),
    totals: totals.slice(0, n),
    reserved: reserved.slice(0, n),
    discounts
  }
}

/** Chen & Goodman's estimates from the counts of counts; a half where a corpus is too small, or too even, to have one above 0: taking nothing would leave nothing to tokens that were not seen. */
const discountsOf = (counts: Float64Array): readonly [number, number, number] => {
  const n = [0, 0, 0, 0, 0]
  for (const count of counts) if (count <= 4) n[count]! += 1
  const [, n1 = 0, n2 = 0, n3 = 0, n4 = 0] = n
  if (n1 === 0 || n2 === 0 || n3 === 0 || n4 === 0) return [0.5, 0.5, 0.5]
  const y = n1 / (n1 + 2 * n2)
  const bounded = (discount: number, most: number): number => (discount > 0 ? Math.min(most, discount) : 0.5)
  return [bounded(1 - (2 * y * n2) / n1, 1), bounded(2 - (3 * y * n3) / n2, 2), bounded(3 - (4 * y * n4) / n3, 3)]
}

/** Index of a value in an ascending array, or -1. */
const find = (sorted: Float64Array, value: number): number => {
  let low = 0
  let high = sorted.length - 1
  while (low <= high) {
    const middle = (low + high) >>> 1
    const found = sorted[middle]!
    if (found === value) return middle
    if (found < value) low = middle + 1
    else high = middle - 1
  }
  return -1
}
