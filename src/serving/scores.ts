/** What a model thinks of the tokens of a text. */

/** Likeliest tokens that are told of a place, at most: as many as the API may be asked for. */
export const mostAlternatives = 20

/** What the model thought of a token of a prompt, in nats. */
export interface Scored {
  readonly logprob: number
  /** The likeliest tokens of the place, falling. */
  readonly alternatives: ReadonlyArray<{ readonly token: number; readonly logprob: number }>
}

/** The logarithms of the probabilities of a token and of the likeliest ones, by its logits [V], at temperature 1 and without filters. */
export const scoreOf = (logits: Float32Array, token: number, alternatives: number): Scored => {
  let peak = -Infinity
  for (const value of logits) if (value > peak) peak = value
  let total = 0
  for (const value of logits) total += Math.exp(value - peak)
  const logTotal = peak + Math.log(total)
  const best: Array<number> = []
  for (let id = 0; id < logits.length; id++) {
    const least = best[alternatives - 1]
    if (alternatives === 0 || (least !== undefined && !(logits[id]! > logits[least]!))) continue
    const place = best.findIndex(other => logits[id]! > logits[other]!)
    best.splice(place < 0 ? best.length : place, 0, id)
    if (best.length > alternatives) best.pop()
  }
  return {
    logprob: logits[token]! - logTotal,
    alternatives: best.map(id => ({ token: id, logprob: logits[id]! - logTotal }))
  }
}
