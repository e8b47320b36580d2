/** Stored tensors one behind the other, as one. */
import { Effect } from "effect"
import { elements, type Shape } from "../tensor/Tensor.ts"
import type { StoredTensor } from "./tensorFiles.ts"

/** What lies from `from` to `to` of parts one behind the other, each read by itself, put into `all`. */
const gathered = <A extends Float32Array | Uint8Array, E>(
  all: A,
  parts: ReadonlyArray<StoredTensor>,
  lengthOf: (part: StoredTensor) => number,
  read: (part: StoredTensor, from: number, to: number) => Effect.Effect<A, E>,
  from: number
): Effect.Effect<A, E> => {
  const to = from + all.length
  let end = 0
  const places = parts.map(part => {
    const begins = end
    end += lengthOf(part)
    return { part, begins, ends: end }
  })
  return Effect.as(
    Effect.forEach(
      places.filter(({ begins, ends }) => begins < to && ends > from),
      ({ begins, ends, part }) => {
        const first = Math.max(from, begins)
        return Effect.map(read(part, first - begins, Math.min(to, ends) - begins), values =>
          all.set(values, first - from)
        )
      },
      { discard: true }
    ),
    all
  )
}

/** Tensors of one dtype as a tensor of this shape, with the elements of the first, then those of the second, and so on. */
export const joinedTensors = (name: string, shape: Shape, parts: ReadonlyArray<StoredTensor>): StoredTensor => ({
  ...parts[0]!,
  name,
  shape,
  size: parts.reduce((total, { size }) => total + size, 0),
  parts,
  floats: (from, to) =>
    gathered(
      new Float32Array(to - from),
      parts,
      part => elements(part.shape),
      (part, start, end) => part.floats(start, end),
      from
    ),
  bytes: (from, to) =>
    gathered(
      new Uint8Array(to - from),
      parts,
      ({ size }) => size,
      (part, start, end) => part.bytes(start, end),
      from
    )
})
