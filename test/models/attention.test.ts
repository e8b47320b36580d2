/** The masks of attention beside plain loops over places, documents and positions. */
import { describe, expect, it } from "vitest"
import { evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { attentionMask } from "../../src/models/attention.ts"
import { input } from "../../src/tensor/ops.ts"
import { below, seeded } from "../support/random.ts"

/** Rows of documents of any length, one after the other, some of them cut off at the beginning, and padding behind them. */
const drawnRows = (rows: number, length: number, random: () => number) => {
  const documents: Array<number> = []
  const positions: Array<number> = []
  for (let r = 0; r < rows; r++) {
    let [document, position, left] = [0, below(random, 4), 1 + below(random, 9)]
    const padding = below(random, 4)
    for (let i = 0; i < length; i++) {
      if (left === 0) [document, position, left] = [document + 1, 0, 1 + below(random, 9)]
      const padded = i >= length - padding
      documents.push(padded ? -1 : document)
      positions.push(padded ? 0 : position)
      position++
      left--
    }
  }
  return { documents, positions }
}

describe("who may see whom", () => {
  const [rows, length] = [5, 17]
  const shape = [rows, length]
  for (const causal of [true, false])
    for (const blockSize of [undefined, 1, 4, 5, 32])
      for (const packed of [true, false])
        it(`${causal ? "causal" : "not causal"}, blocks of ${blockSize ?? "any size"}, ${packed ? "packed documents" : "one document"}`, () => {
          const { documents, positions } = drawnRows(rows, length, seeded(3))
          const given = packed
            ? { documents: input("documents", "i32", shape), positions: input("positions", "i32", shape) }
            : {}
          const mask = attentionMask(
            { causal, ...given, ...(blockSize === undefined ? {} : { blockSize }) },
            length,
            "f32"
          )
          if (mask === undefined) {
            expect([causal, blockSize, packed]).toEqual([false, undefined, false])
            return
          }
          const values = packed ? { documents, positions } : {}
          const found = evaluateTensors({ mask }, values)["mask"]!
          const ofRows = packed ? rows : 1
          expect(mask.shape).toEqual([ofRows, 1, 1, length, length])
          for (let r = 0; r < ofRows; r++)
            for (let q = 0; q < length; q++)
              for (let k = 0; k < length; k++) {
                const [atQ, atK] = [r * length + q, r * length + k]
                const together = !packed || (documents[atK]! >= 0 && documents[atQ] === documents[atK])
                const block = (place: number, at: number): number =>
                  Math.floor((packed ? positions[at]! : place) / (blockSize ?? Infinity))
                const allowed = together && (causal ? k <= q : block(k, atK) <= block(q, atQ))
                const value = found[(r * length + q) * length + k]!
                if (allowed) expect(value).toBe(0)
                else expect(value).toBeLessThan(-1e29)
              }
        })
})
