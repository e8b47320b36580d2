/** Gated DeltaNet in plain float64 loops, written from the equations: nothing is shared with src/. */

export type Vector = ReadonlyArray<number>

/** Sizes of the heads. */
export interface Heads {
  readonly keyHeads: number
  readonly valueHeads: number
  readonly keyDim: number
  readonly valueDim: number
}

/** What the tokens of one document bring, token by token and head by head. */
export interface Brought {
  readonly queries: ReadonlyArray<ReadonlyArray<Vector>>
  readonly keys: ReadonlyArray<ReadonlyArray<Vector>>
  readonly values: ReadonlyArray<ReadonlyArray<Vector>>
  readonly logDecay: ReadonlyArray<Vector>
  readonly beta: ReadonlyArray<Vector>
}

/** Of one document: outputs [token][value head][value dim], and the state behind its last token, [value head][key dim][value dim]. */
export const recurrence = (
  { keyDim, keyHeads, valueDim, valueHeads }: Heads,
  { beta, keys, logDecay, queries, values }: Brought,
  entering?: ReadonlyArray<ReadonlyArray<Vector>>
) => {
  const state = Array.from({ length: valueHeads }, (_h, h) =>
    Array.from({ length: keyDim }, (_k, k) => Array.from({ length: valueDim }, (_v, v) => entering?.[h]?.[k]?.[v] ?? 0))
  )
  const outputs = values.map((ofToken, t) =>
    ofToken.map((value, h) => {
      const shared = Math.floor(h / (valueHeads / keyHeads))
      const [q, k] = [queries[t]![shared]!, keys[t]![shared]!]
      const s = state[h]!
      for (const row of s) for (const v of row.keys()) row[v] = row[v]! * Math.exp(logDecay[t]![h]!)
      const known = value.map((_, v) => s.reduce((sum, row, i) => sum + row[v]! * k[i]!, 0))
      const delta = value.map((wanted, v) => beta[t]![h]! * (wanted - known[v]!))
      for (const [i, row] of s.entries()) for (const v of row.keys()) row[v] = row[v]! + k[i]! * delta[v]!
      return value.map((_, v) => s.reduce((sum, row, i) => sum + row[v]! * q[i]!, 0))
    })
  )
  return { outputs, state }
}

/** Flat numbers as tokens of heads of vectors. */
export const asHeads = (flat: ArrayLike<number>, heads: number, size: number): ReadonlyArray<ReadonlyArray<Vector>> =>
  Array.from({ length: flat.length / (heads * size) }, (_t, t) =>
    Array.from({ length: heads }, (_h, h) => Array.from({ length: size }, (_i, i) => flat[(t * heads + h) * size + i]!))
  )

/** The documents of a row as ranges, padding left out. */
export const documentsOf = (segmentIds: ArrayLike<number>): ReadonlyArray<readonly [from: number, to: number]> => {
  const found: Array<[number, number]> = []
  for (let i = 0; i < segmentIds.length; i++) {
    if (segmentIds[i]! < 0) continue
    if (i > 0 && segmentIds[i] === segmentIds[i - 1]) found.at(-1)![1] = i + 1
    else found.push([i, i + 1])
  }
  return found
}
