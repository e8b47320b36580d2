import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { closest, editDistance } from "../../src/pipeline/Suggestion.ts"

describe("editDistance", () => {
  it("counts insertions, deletions, substitutions and swaps of neighbours", () => {
    const cases: ReadonlyArray<readonly [a: string, b: string, distance: number]> = [
      ["", "", 0],
      ["", "abc", 3],
      ["kitten", "sitting", 3],
      ["abcd", "acbd", 1],
      ["learning", "leanring", 1],
      ["ca", "abc", 3]
    ]
    for (const [a, b, distance] of cases) assert.strictEqual(editDistance(a, b), distance, `${a} ${b}`)
  })

  it("is symmetric, zero for equal texts only, and at most the longer length", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 8 })
    fc.assert(
      fc.property(text, text, (a, b) => {
        const distance = editDistance(a, b)
        assert.strictEqual(distance, editDistance(b, a))
        assert.strictEqual(distance === 0, a === b)
        assert.isAtMost(distance, Math.max(a.length, b.length))
        assert.isAtLeast(distance, Math.abs(a.length - b.length))
      })
    )
  })

  it("one edit is at most one apart", () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1, maxLength: 10 }),
        fc.nat(),
        fc.string({ minLength: 1, maxLength: 1 }),
        (a, at, letter) => {
          const i = at % a.length
          for (const b of [
            a.slice(0, i) + a.slice(i + 1),
            a.slice(0, i) + letter + a.slice(i),
            a.slice(0, i) + letter + a.slice(i + 1)
          ]) {
            assert.isAtMost(editDistance(a, b), 1)
          }
        }
      )
    )
  })
})

describe("closest", () => {
  const known = ["a", "lr", "lrMin", "maxSeqLen", "steps", "optimizer", "reprAlignWeight"]

  it("finds what a slip of the finger, another case or a beginning stands for", () => {
    const cases: ReadonlyArray<readonly [written: string, meant: string | undefined]> = [
      ["step", "steps"],
      ["stesp", "steps"],
      ["max_seq_len", "maxSeqLen"],
      ["LR", "lr"],
      ["lr-min", "lrMin"],
      ["optim", "optimizer"],
      ["repr_align_wieght", "reprAlignWeight"],
      ["zebra", undefined],
      ["x", undefined],
      ["A", "a"],
      ["", undefined],
      ["lr".repeat(100), undefined]
    ]
    for (const [written, meant] of cases) assert.strictEqual(closest(written, known), meant, written)
  })

  it("never proposes the name itself, and only candidates", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 10 }), fc.array(fc.string({ maxLength: 10 })), (name, candidates) => {
        const meant = closest(name, candidates)
        if (meant !== undefined) assert.isTrue(meant !== name && candidates.includes(meant))
      })
    )
  })
})
