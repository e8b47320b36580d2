import * as fc from "fast-check"
import { posix, win32 } from "node:path"
import { describe, expect, it } from "vitest"
import { unsafePath } from "../../src/pipeline/SafePath.ts"

describe("unsafePath", () => {
  it.each([
    "",
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "..\\x",
    "C:/x",
    "c:x",
    "a/D:x",
    "a\0b",
    "a\nb",
    "\u001b[2J",
    "\ud800",
    "a".repeat(256)
  ])("refuses %j", path => {
    expect(unsafePath(path)).toBeTypeOf("string")
  })

  it.each([
    "a",
    "a/b/c.json",
    ".gitattributes",
    "a/..b/c..",
    "...",
    "data/train-00000-of-00002.parquet",
    "日本/é.txt",
    "step:10"
  ])("accepts %j", path => {
    expect(unsafePath(path)).toBeUndefined()
  })

  it("accepts only paths that stay below the directory, on any system", () => {
    const piece = fc.constantFrom("a", "b.txt", "..", ".", "/", "/", "\\", "C:", ":", "\0", "~", "é", " ")
    const path = fc.oneof(
      fc.array(piece, { maxLength: 8 }).map(pieces => pieces.join("")),
      fc.string({ unit: "binary" })
    )
    fc.assert(
      fc.property(path, candidate => {
        if (unsafePath(candidate) !== undefined) return
        expect(posix.join("/base", candidate).startsWith("/base/")).toBe(true)
        expect(win32.resolve("X:\\base", candidate).startsWith("X:\\base\\")).toBe(true)
        expect(posix.normalize(candidate)).toBe(candidate)
      }),
      { numRuns: 2000 }
    )
  })
})
