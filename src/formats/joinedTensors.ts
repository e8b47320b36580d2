/** Stored tensors one behind the other, as one. */
import { Effect } from "effect"
import { elements, type Shape } from "../tensor/Tensor.ts"
import type { StoredTensor } from "./tensorFiles.ts"

/** A part of something long, and where in it the part begins. */
interface Piece<A> {
  readonly at: number
  readonly values: A
}

/** What lies from `from` to `to` of parts one behind the other, piece by piece; `at` counts from `from`. */
const pieces = <A, E>(
  parts: ReadonlyArray<StoredTensor>,
  lengthOf: (part: StoredTensor) => number,
  read: (part: StoredTensor, from: number, to: number) => Effect.Effect<A, E>,
  from: number,
  to: number
): Effect.Effect<ReadonlyArray<Piece<A>>, E> => {
  let start = 0
  const places = parts.map(part => {
    const begins = start
    start += lengthOf(part)
    return { part, begins, ends: start }
  })
  return Effect.forEach(
    places.filter(({ begins, ends }) => begins < to && ends > from),
    ({ begins, ends, part }) => {
      const first = Math.max(from, begins)
      return Effect.map(read(part, first - begins, Math.min(to, ends) - begins), values => ({
        at: first - from,
        values
      }))
    }
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
    Effect.map(
      pieces(
        parts,
        part => elements(part.shape),
        (part, start, end) => part.floats(start, end),
        from,
        to
      ),
      found => {
        const all = new Float32Array(to - from)
        for (const { at, values } of found) all.set(values, at)
        return all
      }
    ),
  bytes: (from, to) =>
    Effect.map(
      pieces(
        parts,
        ({ size }) => size,
        (part, start, end) => part.bytes(start, end),
        from,
        to
      ),
      found => {
        const all = new Uint8Array(to - from)
        for (const { at, values } of found) all.set(values, at)
        return all
      }
    )
})
