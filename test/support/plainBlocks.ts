/** Block decoding as one would write it for a single prompt: no batch, no padding, nothing shared with src/. */

export interface PlainBlocks {
  readonly newTokens: number
  readonly blockSize: number
  readonly stepsPerBlock: number
  readonly mask: number
  readonly eos: number
  /** Tokens are revealed by their probability, and all that reach this at once. Left out: by least entropy. */
  readonly threshold?: number
}

/** The softmax of some logits: its entropy, and the likeliest token with its probability. */
const judged = (logits: ReadonlyArray<number>) => {
  const peak = Math.max(...logits)
  const weights = logits.map(value => Math.exp(value - peak))
  const total = weights.reduce((sum, value) => sum + value, 0)
  const entropy = weights.reduce(
    (sum, value) => (value === 0 ? sum : sum - (value / total) * Math.log(value / total)),
    0
  )
  return { entropy, probability: 1 / total, token: logits.indexOf(peak) }
}

/** The likeliest tokens, the surest first, as many in each step at least, until the first end of text is known. `forward`: logits of every position, each of which predicts the next token. */
export const decodePlainly = (
  forward: (ids: ReadonlyArray<number>) => ReadonlyArray<ReadonlyArray<number>>,
  prompt: ReadonlyArray<number>,
  { blockSize, eos, mask, newTokens, stepsPerBlock, threshold }: PlainBlocks
) => {
  const ids = [...prompt, ...Array<number>(newTokens).fill(mask)]
  const order: Array<number> = []
  let forwards = 0
  const isDone = () => {
    const response = ids.slice(prompt.length)
    const before = response.includes(eos) ? response.slice(0, response.indexOf(eos)) : response
    return !before.includes(mask)
  }
  for (let written = 0; written < newTokens; written += blockSize) {
    const size = Math.min(blockSize, newTokens - written)
    const block = Array.from({ length: size }, (_, i) => prompt.length + written + i)
    for (let step = 0; step < stepsPerBlock && block.some(i => ids[i] === mask) && !isDone(); step++) {
      const count = Math.floor(size / stepsPerBlock) + (step < size % stepsPerBlock ? 1 : 0)
      const logits = forward(ids)
      forwards++
      const open = block
        .filter(i => ids[i] === mask)
        .map(i => ({ i, ...judged(logits[i - 1]!.map((value, id) => (id === mask ? -Infinity : value))) }))
        .sort((a, b) => (threshold === undefined ? a.entropy - b.entropy : b.probability - a.probability))
      for (const [rank, { i, probability, token }] of open.entries()) {
        if (rank >= count && (threshold === undefined || threshold === 1 || probability < threshold)) continue
        ids[i] = token
        order[i - prompt.length] = forwards
      }
    }
  }
  const response = ids.slice(prompt.length)
  const tokens = response.includes(eos) ? response.slice(0, response.indexOf(eos) + 1) : response
  const steps = [...new Set(order.slice(0, tokens.length))].sort((a, b) => a - b)
  return { forwards, revealedAt: order.slice(0, tokens.length).map(at => 1 + steps.indexOf(at)), tokens }
}
