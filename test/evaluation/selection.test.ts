import { describe, expect, it } from "vitest"
import type { Sequence } from "../../src/tokens/sequences.ts"
import { predictedBytes } from "../../src/evaluation/bytes.ts"
import { evenly, judgeSequences, promptSequences } from "../../src/evaluation/selection.ts"

const sequence = (
  document: number,
  chunk: number,
  ids: ReadonlyArray<number>,
  lossMask?: ReadonlyArray<number>
): Sequence => ({
  document,
  chunk,
  promptLength: 0,
  ids: Int32Array.from(ids),
  lossMask: Uint8Array.from(lossMask ?? ids.map(() => 1))
})

describe("what is measured", () => {
  it("is spread over all there is", () => {
    expect(evenly([1, 2, 3], 5)).toEqual([1, 2, 3])
    expect(evenly([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2)).toEqual([2, 7])
    expect(
      new Set(
        evenly(
          Array.from({ length: 50 }, (_, i) => i),
          16
        )
      ).size
    ).toBe(16)
  })

  it("begins with the beginnings of documents, and goes on with what follows", () => {
    const long = [1, 2, 3, 4]
    const all = [sequence(0, 0, long), sequence(0, 1, long), sequence(1, 0, [1]), sequence(2, 0, long)]
    const places = (prompts: number) =>
      promptSequences(all, { prompts, length: 3 }).map(({ chunk, document }) => [document, chunk])
    expect(places(2)).toEqual([
      [0, 0],
      [2, 0]
    ])
    expect(places(9)).toEqual([
      [0, 0],
      [2, 0],
      [0, 1]
    ])
  })

  it("is judged by an n-gram model that saw nothing of the documents that give prompts, not even in its corpus", () => {
    const heldOut = [sequence(0, 0, [1, 2]), sequence(0, 1, [3, 4]), sequence(1, 0, [5, 6])]
    const corpus = [sequence(0, 0, [7, 8]), sequence(1, 0, [3, 4])]
    const learnt = judgeSequences(corpus, heldOut, [heldOut[0]!]).map(ids => [...ids])
    expect(learnt).toEqual([
      [7, 8],
      [5, 6]
    ])
  })
})

describe("bytes that are predicted", () => {
  /** Ids are bytes; from 250 on special tokens. */
  const tokenizer = {
    decode: (ids: Iterable<number>) => Buffer.from([...ids].filter(id => id < 250)).toString("utf8")
  }
  const bytes = (text: string) => [...Buffer.from(text)]

  it("are those of the text without what is given, whole characters together", () => {
    const text = "a\u00e4bc"
    expect(predictedBytes([sequence(0, 0, [...bytes(text), 255])], tokenizer, place => place > 0)).toBe(4)
    const prompt = sequence(0, 0, bytes("Q\u00fc: yes"), [0, 0, 0, 0, 0, 1, 1, 1])
    expect(predictedBytes([prompt], tokenizer, (place, learnt) => place > 0 && learnt)).toBe(3)
    const two = [sequence(0, 0, bytes("abc")), sequence(0, 1, bytes("de"))]
    expect(predictedBytes(two, tokenizer, place => place > 0)).toBe(3)
  })
})
