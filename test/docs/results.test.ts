/** Figures on pages are those of the reports that they name. */
import { readFileSync } from "node:fs"
import { assert, describe, it } from "vitest"
import { filled, pages, pageWithFigures } from "../../scripts/docs/results.ts"

const report = `# compare

| held-out text | bound, nats/token | bits/byte |
| --- | ---: | ---: |
| a \\| b | 4.8 [4.6, 5.0]¹ | 2.3 |

¹ exact
² of nothing here

## What the data support

- **a**: nothing.

## Other
`
const page = (what: string) =>
  `Before.\n\n<!-- figures: compare.md, ${what} -->\nold\n<!-- end of figures -->\n\nAfter.\n`
const within = (what: string) => {
  const text = filled(page(what), file => (file === "compare.md" ? report : assert.fail(file)))
  assert.isTrue(text.startsWith("Before.") && text.endsWith("After.\n"))
  assert.notInclude(text, "old")
  // What is filled once is as it should be.
  assert.strictEqual(
    filled(text, () => report),
    text
  )
  return text.split(" -->\n")[1]!.split("<!--")[0]!.trim()
}

describe("figures of a page", () => {
  it("are a table of the report, whole or some of its columns", () => {
    const whole = within('table "held-out text"').split("\n")
    assert.strictEqual(whole.length, 5)
    // With the footnotes that it names.
    assert.strictEqual(whole[4], "¹ exact")
    assert.strictEqual(
      within('table "held-out", columns "bits"'),
      "| held-out text | bits/byte |\n| --- | ---: |\n| a \\| b | 2.3 |"
    )
  })

  it("are a section", () => {
    assert.strictEqual(within('section "What the data support"'), "- **a**: nothing.")
  })

  it("cannot be of what is not in the report", () => {
    assert.throws(() => within('table "decoding"'), /no table begins with "decoding"/)
    assert.throws(() => within('table "held-out", columns "speed"'), /has no column "speed", but bound, nats\/token/)
    assert.throws(() => within('section "Nothing"'), /there is no section "Nothing"/)
  })

  it.each(pages)("of %s are those of its reports; run node scripts/docs/results.ts after a measurement", page => {
    assert.strictEqual(readFileSync(new URL(`../../${page}`, import.meta.url), "utf8"), pageWithFigures(page))
  })
})
