/** Block decoding as one would write it for a single prompt: no batch, no padding, nothing shared with src/. */

export interface PlainBlocks {
  readonly newTokens: number
  readonly blockSize: number
  readonly stepsPerBlock: number
  readonly mask: number
  readonly eos: number
}

/** Entropy of the softmax of some logits, and the likeliest token. */
const judged = (logits: ReadonlyArray<number>) => {
  const peak = Math.max(...logits)
  const weights = logits.map(value => Math.exp(value - peak))
  const total = weights.reduce((sum, value) => sum + value, 0)
  const entropy = weights.reduce(
    (sum, value) => (value === 0 ? sum : sum - (value / total) * Math.log(value / total)),
    0
  )
  return { entropy, token: logits.indexOf(peak) }
}

/** The likeliest tokens, least entropy first, as many in each step. `forward`: logits of every position, each of which predicts the next token. */
export const decodePlainly = (
  forward: (ids: ReadonlyArray<number>) => ReadonlyArray<ReadonlyArray<number>>,
  prompt: ReadonlyArray<number>,
  { blockSize, eos, mask, newTokens, stepsPerBlock }: PlainBlocks
) => {
  const ids = [...prompt, ...Array<number>(newTokens).fill(mask)]
  const order: Array<number> = []
  let forwards = 0
  let written = 0
  while (written < newTokens && !ids.slice(prompt.length, prompt.length + written).includes(eos)) {
    const size = Math.min(blockSize, newTokens - written)
    const block = Array.from({ length: size }, (_, i) => prompt.length + written + i)
    for (let step = 0; step < stepsPerBlock; step++) {
      const count = Math.floor(size / stepsPerBlock) + (step < size % stepsPerBlock ? 1 : 0)
      if (count === 0) break
      const logits = forward(ids)
      forwards++
      const open = block
        .filter(i => ids[i] === mask)
        .map(i => ({ i, ...judged(logits[i - 1]!.map((value, id) => (id === mask ? -Infinity : value))) }))
        .sort((a, b) => a.entropy - b.entropy)
      for (const { i, token } of open.slice(0, count)) {
        ids[i] = token
        order[i - prompt.length] = forwards
      }
    }
    written += size
  }
  const response = ids.slice(prompt.length, prompt.length + written)
  const tokens = response.includes(eos) ? response.slice(0, response.indexOf(eos) + 1) : response
  const steps = [...new Set(order.slice(0, tokens.length))].sort((a, b) => a - b)
  return { forwards, revealedAt: order.slice(0, tokens.length).map(at => 1 + steps.indexOf(at)), tokens }
}
