import { Writable } from "node:stream"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { partsOf, textsOfTokens } from "../../src/cli/verbs/generate/reveal.ts"
import { listed, maskSign, redrawn, shownText } from "../../src/cli/verbs/generate/steps.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const tokenizer = {
  maskToken: "<M>",
  maskId: 9,
  decode: (ids: Iterable<number>) => [...ids].map(id => (id === 9 ? "<M>" : String.fromCharCode(97 + id))).join("")
}

/** A terminal of some columns that understands what is written to it: moving up, and clearing all below. */
const terminal = (columns: number) => {
  const screen: Array<string> = [""]
  const stream = Object.assign(
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        for (const part of chunk.toString().split(/(\u001B\[\d+A|\u001B\[0J|\n)/)) {
          const up = /^\u001B\[(\d+)A$/.exec(part)
          if (up !== null) screen.length -= Number(up[1])
          else if (part === "\u001B[0J") screen[screen.length - 1] = ""
          else if (part === "\n") screen.push("")
          else screen[screen.length - 1] += part
        }
        done()
      }
    }),
    { columns, rows: 24, isTTY: false }
  )
  return { screen, stream: stream as unknown as NodeJS.WriteStream }
}

describe("the view of a diffusion", () => {
  it("shows masks as signs of their own", () => {
    assert.strictEqual(shownText(tokenizer, [0, 9, 9, 1]), `a${maskSign}${maskSign}b`)
  })

  it("draws every step over the one before, however many lines a text takes, and leaves nothing behind", () => {
    const { screen, stream } = terminal(6)
    stream.write("before\n")
    const steps = redrawn(tokenizer, stream)
    steps.show(1, 0, Int32Array.of(9, 9, 9, 9, 9, 0))
    assert.deepStrictEqual(screen, ["before", "▁▁▁▁", "▁a", "step 1", ""])
    steps.show(1, 1, Int32Array.of(9))
    assert.deepStrictEqual(screen, ["before", "▁▁▁▁", "▁a", "▁", "step 1", ""])
    steps.show(2, 0, Int32Array.of(1, 1, 1, 1, 1, 0))
    assert.deepStrictEqual(screen, ["before", "bbbb", "ba", "▁", "step 2", ""])
    steps.end()
    assert.deepStrictEqual(screen, ["before", ""])
  })

  it("tells what a step revealed from what was there, and from masks", () => {
    const parts = (before: ReadonlyArray<number> | undefined, now: ReadonlyArray<number>) =>
      partsOf(tokenizer, before, now, "_").map(({ state, text }) => `${state} ${text}`)
    assert.deepStrictEqual(parts(undefined, [9, 1, 2, 9]), ["masked _", "fresh bc", "masked _"])
    assert.deepStrictEqual(parts([9, 1, 2, 9], [0, 1, 3, 9]), ["fresh a", "kept b", "fresh d", "masked _"])
    // `p2` masks what was revealed.
    assert.deepStrictEqual(parts([0, 1], [9, 1]), ["masked _", "kept b"])
  })

  it("gives each token its text, however its characters lie in tokens, and all of the text together", () => {
    const shipped = loadFrom(shippedDirectory)
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 30 }), text => {
        const ids = [...shipped.encode(text)]
        assert.strictEqual(textsOfTokens(shipped, ids).join(""), shipped.decode(ids))
        const shown = partsOf(shipped, undefined, ids, "_")
        assert.strictEqual(shown.map(part => part.text).join(""), shipped.decode(ids))
      })
    )
  })

  it("is painted: what a step revealed bright, masks dim", () => {
    const before = process.env["FORCE_COLOR"]
    process.env["FORCE_COLOR"] = "1"
    try {
      const { screen, stream } = terminal(40)
      listed(tokenizer, stream, 1).show(1, 0, Int32Array.of(0, 9))
      assert.include(screen.join("\n"), "\u001B[1m\u001B[32ma\u001B[0m\u001B[0m\u001B[2m▁\u001B[0m")
    } finally {
      if (before === undefined) delete process.env["FORCE_COLOR"]
      else process.env["FORCE_COLOR"] = before
    }
  })
})
