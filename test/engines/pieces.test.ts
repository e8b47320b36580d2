/** Buffers on a device as pieces of immutable tensors, against plain arrays. */
import * as fc from "fast-check"
import { expect, it } from "vitest"
import { isWhole, Pieces } from "../../src/engines/ort/pieces.ts"

interface Fake {
  readonly size: number
  readonly value: number
}

const length = 12

const makeTensors = () => {
  const holders = new Map<Fake, number>()
  const count = (tensor: Fake, more: number) => {
    const now = (holders.get(tensor) ?? 0) + more
    expect(now).toBeGreaterThanOrEqual(0)
    if (now === 0) holders.delete(tensor)
    else holders.set(tensor, now)
  }
  return {
    holders,
    owner: { hold: (tensor: Fake) => count(tensor, 1), release: (tensor: Fake) => count(tensor, -1) }
  }
}

const range = fc
  .tuple(fc.nat({ max: length }), fc.nat({ max: length }))
  .map(([a, b]) => ({ offset: Math.min(a, b), size: Math.abs(a - b) }))

it("hold what was written last, element by element, and nothing else", () =>
  fc.assert(
    fc.property(fc.array(range, { maxLength: 20 }), range, (writes, read) => {
      const { holders, owner } = makeTensors()
      const pieces = new Pieces<Fake>(length, owner)
      const plain = Array.from({ length }, () => "0:0")
      for (const [i, { offset, size }] of writes.entries()) {
        pieces.write(offset, size, { size, value: i + 1 })
        for (let at = 0; at < size; at++) plain[offset + at] = `${i + 1}:${at}`
      }
      const elements = pieces
        .within(read.offset, read.size)
        .flatMap(piece =>
          Array.from({ length: piece.length }, (_, i) =>
            piece.tensor === undefined ? "0:0" : `${piece.tensor.value}:${piece.at + i}`
          )
        )
      expect(elements).toEqual(plain.slice(read.offset, read.offset + read.size))
      const living = new Set(plain.map(text => Number(text.split(":")[0])).filter(value => value > 0))
      expect(new Set([...holders.keys()].map(({ value }) => value))).toEqual(living)
      pieces.clear()
      expect(holders.size).toBe(0)
    })
  ))

it("are whole only as all of a tensor", () => {
  const pieces = new Pieces<Fake>(4, makeTensors().owner)
  expect(isWhole(pieces.within(0, 4)[0]!)).toBe(false)
  pieces.write(0, 4, { size: 4, value: 1 })
  expect(pieces.within(0, 4).map(isWhole)).toEqual([true])
  expect(pieces.within(0, 2).map(isWhole)).toEqual([false])
  pieces.write(0, 1, undefined)
  expect(pieces.within(0, 4).map(isWhole)).toEqual([false, false])
})
