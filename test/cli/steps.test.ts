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

  /** With colours, or without. */
  const inColours = (wanted: boolean, use: () => void): void => {
    const { FORCE_COLOR: force, NO_COLOR: no } = process.env
    delete process.env["NO_COLOR"]
    delete process.env["FORCE_COLOR"]
    process.env[wanted ? "FORCE_COLOR" : "NO_COLOR"] = "1"
    try {
      use()
    } finally {
      for (const [name, value] of Object.entries({ FORCE_COLOR: force, NO_COLOR: no })) {
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
      }
    }
  }
  const painted = (code: number, text: string): string => `\u001B[${code}m${text}\u001B[0m`

  it("is painted: what a step revealed bright, masks dim", () => {
    inColours(true, () => {
      const { screen, stream } = terminal(40)
      listed(tokenizer, stream, 1).show(1, 0, Int32Array.of(0, 9))
      assert.include(screen.join("\n"), `${painted(1, painted(32, "a"))}${painted(2, "▁")}`)
    })
  })

  it("is painted by how sure the model was when it revealed a token, then and later, and says what colours mean", () => {
    inColours(true, () => {
      for (const view of [listed, redrawn] as const) {
        const { screen, stream } = terminal(100)
        const steps = view(tokenizer, stream, 1)
        steps.show(1, 0, Int32Array.of(0, 9, 1, 2), Float32Array.of(0.95, NaN, 0.5, 0.2))
        const first = [painted(32, "a"), painted(36, "b"), painted(31, "c")].map(text => painted(1, text))
        assert.include(screen.join("\n"), `${first[0]}${painted(2, "▁")}${first[1]}${first[2]}`)
        assert.include(
          screen.join("\n"),
          [
            [32, "≥ 0.9"],
            [36, "≥ 0.5"],
            [33, "≥ 0.25"],
            [31, "< 0.25"]
          ]
            .map(([code, text]) => painted(code as number, text as string))
            .join(" ")
        )
        steps.show(2, 0, Int32Array.of(0, 3, 1, 2), Float32Array.of(0.95, 0.3, 0.5, 0.2))
        assert.include(
          screen.join("\n"),
          `${painted(32, "a")}${painted(1, painted(33, "d"))}${painted(36, "b")}${painted(31, "c")}`
        )
      }
    })
  })

  it("without colours is what it is without confidences", () => {
    const shown = (confidences: ReadonlyArray<Float32Array | undefined>) => {
      const { screen, stream } = terminal(20)
      for (const view of [listed, redrawn] as const) {
        const steps = view(tokenizer, stream, 1)
        for (const [i, confidence] of confidences.entries())
          steps.show(i + 1, 0, Int32Array.of(0, i === 0 ? 9 : 3, 1, 2), confidence)
      }
      return screen
    }
    inColours(false, () =>
      assert.deepStrictEqual(
        shown([Float32Array.of(0.95, NaN, 0.5, 0.2), Float32Array.of(0.95, 0.3, 0.5, 0.2)]),
        shown([undefined, undefined])
      )
    )
  })
})
