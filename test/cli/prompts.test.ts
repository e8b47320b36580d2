import * as fc from "fast-check"
import { expect, it } from "vitest"
import { plainLines } from "../../src/cli/verbs/generate/prompts.ts"

it("a prompt is the same whether a file has a byte order mark and line breaks of Windows or not", () => {
  const lines = fc.array(fc.string({ unit: fc.constantFrom("a", " ", "é", "\t") }))
  fc.assert(
    fc.property(lines, each => {
      expect(plainLines(`\ufeff${each.join("\r\n")}`)).toBe(each.join("\n"))
    })
  )
})
