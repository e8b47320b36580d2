/** Texts of users stand in Markdown as they are: they make no markup, no tags, no links, and nothing that a terminal obeys. */
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { markdownTable, plain } from "../../src/report/markdown.ts"

describe("plain", () => {
  it.each([
    ["<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"],
    ["</title><script>", "&lt;/title>&lt;script>"],
    ["<!-- gone", "&lt;!-- gone"],
    ["&lt;b&#62;", "&amp;lt;b&amp;#62;"],
    ["[text](https://x)", "[text]\\(https://x)"],
    ["![a][b]", "\\![a]\\[b]"],
    ["[a]: https://x", "[a]\\: https://x"],
    ["*bold* _it_ ~~no~~ `code`", "\\*bold\\* \\_it\\_ \\~\\~no\\~\\~ \\`code\\`"],
    ["back\\slash\\*", "back\\\\slash\\\\\\*"],
    ["# heading", "\\# heading"],
    ["1. item", "1\\. item"],
    ["--- rule", "\\--- rule"],
    ["two\nlines\n\n# three", "two lines # three"],
    ["red\u001b[31m", "red\\\\u001b[31m"]
  ])("%j becomes %j", (text, shown) => expect(plain(text)).toBe(shown))

  it.each([
    "no_align, seed 3",
    "a < b > c & d",
    "[0.1, 0.2]",
    "-0.25",
    "5.0 (4–6)",
    "#1 of 3",
    "AT&T; 2 * is escaped".slice(0, 4)
  ])("%j stays as it reads", text => expect(plain(text)).toBe(text))

  it("leaves no character that begins markup without a backslash before it", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."\\`*_~[]()!<>&#;-+=|a1 \n") }), text => {
        const bare = plain(text).replaceAll(/\\./g, "-")
        expect(bare).not.toMatch(/[`*]|~~|\]\(|\]\[|<[A-Za-z/!?]|&(?!amp;|lt;)#?\w+;|^#+\s/)
      })
    )
  })
})

it("cells keep to their columns", () => {
  const rows = markdownTable(["a", "b"], [["x|y", "\\|"]]).split("\n")
  expect(rows.at(-1)!.replaceAll(/\\./g, "").match(/\|/g)).toHaveLength(3)
})
