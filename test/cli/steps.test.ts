import { Writable } from "node:stream"
import { assert, describe, it } from "vitest"
import { maskSign, redrawn, shownText } from "../../src/cli/verbs/generate/steps.ts"

const tokenizer = {
  maskToken: "<M>",
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
})
