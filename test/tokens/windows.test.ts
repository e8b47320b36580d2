/** Pieces of sequences, and what stands before them. */
import { describe, expect, it } from "vitest"
import { learntIn, windowArrays, windowsOf } from "../../src/tokens/windows.ts"

describe("pieces of sequences", () => {
  it("follow each other from the beginning, or from where a sequence is said to begin", () => {
    expect(windowsOf([7, 5], { prompt: 3, length: 4 }, [0, 3])).toEqual([
      { sequence: 0, start: 0, size: 4 },
      { sequence: 0, start: 4, size: 3 },
      { sequence: 1, start: 3, size: 2 }
    ])
  })

  it("of a response stand behind its prompt, or as much of it as there is room for", () => {
    const [response] = windowsOf([6], { prompt: 3, length: 4 }, [4])
    const { ids, positions, segmentIds } = windowArrays([[10, 11, 12, 13, 20, 21]], [response!], {
      prompt: 3,
      length: 4,
      pad: 0
    })
    expect([...ids]).toEqual([11, 12, 13, 20, 21, 0, 0])
    expect([...segmentIds]).toEqual([0, 0, 0, 0, 0, -1, -1])
    expect([...positions].slice(0, 5)).toEqual([0, 1, 2, 3, 4])
  })

  it("count the tokens in them that are learnt", () => {
    const sequences = [{ lossMask: [0, 0, 1, 1, 0, 1] }]
    expect(learntIn({ sequence: 0, start: 1, size: 3 }, sequences)).toBe(2)
  })
})
