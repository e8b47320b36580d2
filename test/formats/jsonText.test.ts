import { Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { itemOffsets, lineAndColumn, parseJson, topLevelKeys } from "../../src/formats/jsonText.ts"

const faultOf = (text: string) => {
  const result = parseJson(text)
  return Result.isFailure(result) ? result.failure : undefined
}

/** JSON texts with a few characters changed, so that most of them are nearly right. */
const damagedJson = fc
  .tuple(
    fc.json(),
    fc.array(
      fc.tuple(fc.nat(), fc.constantFrom("", '"', "{", "}", "[", ",", ":", "\\", "0", "-", "u", "\n", "\ud800")),
      {
        maxLength: 3
      }
    )
  )
  .map(([json, edits]) =>
    edits.reduce((text, [place, edit]) => {
      const at = place % (text.length + 1)
      return text.slice(0, at) + edit + text.slice(at + 1)
    }, json)
  )

describe("parseJson", () => {
  it("accepts and refuses what the platform does, with a fault of its own for what it refuses", () => {
    fc.assert(
      fc.property(damagedJson, text => {
        let value: unknown
        let accepted = true
        try {
          value = JSON.parse(text)
        } catch {
          accepted = false
        }
        const result = parseJson(text)
        expect(Result.isSuccess(result)).toBe(accepted)
        if (Result.isSuccess(result)) {
          expect(result.success).toEqual(value)
          return
        }
        expect(result.failure.what).not.toBe("cannot be read as JSON")
        expect(result.failure.offset).toBeGreaterThanOrEqual(0)
        expect(result.failure.offset).toBeLessThanOrEqual(text.length)
      }),
      { numRuns: 5000 }
    )
  })

  it.each([
    ["", 0, "expected a value, found the end of the text"],
    ['{"a" 1}', 5, 'expected ":" after the key, found "1"'],
    ['{"a":1,}', 7, 'expected a key in "double quotes", found "}"'],
    ["{'a':1}", 1, `expected a key in "double quotes", found "'"`],
    ['{"a":tru}', 5, 'expected a value, found "t"'],
    ['{"a":"b', 5, "the string that begins here never ends"],
    ['{"a":"x\ty"}', 7, 'a string holds the raw character "\\t"'],
    ['["a\\x"]', 3, "a string holds an escape that JSON does not know"],
    ['["a\\u12"]', 3, "a string holds an escape that JSON does not know"],
    ["[1 2]", 3, 'expected "," or "]", found "2"'],
    ["[01]", 2, 'expected "," or "]", found "1"'],
    ["1 2", 2, 'expected the end of the text, found "2"'],
    ["[NaN]", 1, 'expected a value, found "N"']
  ])("%s: the fault is at offset %i", (text, offset, what) => {
    expect(faultOf(text)).toEqual({ offset, what })
  })

  it("a million brackets are a fault or a value, not an exhausted stack", () => {
    const depth = 1_000_000
    expect(faultOf("[".repeat(depth))).toEqual({ offset: depth, what: "expected a value, found the end of the text" })
    expect(topLevelKeys('{"a":'.repeat(depth))).toHaveLength(1)
  })
})

describe("places in a JSON text", () => {
  it("each key is found where it stands, repeated ones too", () => {
    const text = ' { "a" : 1 , "b\\n" : {"a": [{"c": 2}]}, "a":\n"x" } '
    const keys = topLevelKeys(text)
    expect(keys.map(({ key }) => key)).toEqual(["a", "b\n", "a"])
    expect(keys.map(({ keyOffset }) => text[keyOffset])).toEqual(['"', '"', '"'])
    expect(keys.map(({ valueOffset }) => text[valueOffset])).toEqual(["1", "{", '"'])
  })

  it("the keys of an object are those that the platform reads", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), object => {
        expect(new Set(topLevelKeys(JSON.stringify(object)).map(({ key }) => key))).toEqual(
          new Set(Object.keys(object))
        )
      })
    )
  })

  it("the items of a list begin where their text does", () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), items => {
        const texts = items.map(item => JSON.stringify(item))
        const text = `[ ${texts.join(" ,\n ")} ]`
        const offsets = itemOffsets(text)
        expect(offsets.map((offset, i) => text.slice(offset, offset + (texts[i]?.length ?? 0)))).toEqual(texts)
      })
    )
  })

  it("lines and columns count from 1", () => {
    expect(lineAndColumn("ab\ncd", 0)).toEqual({ line: 1, column: 1 })
    expect(lineAndColumn("ab\ncd", 2)).toEqual({ line: 1, column: 3 })
    expect(lineAndColumn("ab\ncd", 3)).toEqual({ line: 2, column: 1 })
    expect(lineAndColumn("\n\n", 2)).toEqual({ line: 3, column: 1 })
  })
})
