/** What stands before a place of a text. */
import { expect, it } from "vitest"
import { isWordBefore, spaceBefore } from "../../src/tokens/textParts.ts"

it("white space before a place begins where a pattern would find it", () => {
  for (const text of ["", " ", "a", "a ", " a", "a \u0085\u3000", "a\ufeff", "\u{1f600} \n", "a b  "])
    for (let end = 0; end <= text.length; end++)
      expect(spaceBefore(text, end)).toBe(end - (/\p{White_Space}+$/u.exec(text.slice(0, end))?.[0].length ?? 0))
})

it("a word's sign of two code units is one, and half of one is none", () => {
  const text = "a\u{1d400} \u{1f600}"
  expect(Array.from({ length: text.length + 1 }, (_, end) => isWordBefore(text, end))).toEqual(
    Array.from({ length: text.length + 1 }, (_, end) => end === 1 || end === 3)
  )
})
