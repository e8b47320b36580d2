/** Rows that come and go, whatever decodes the texts: beside a queue with so many servers that is simulated by hand. */
import { Effect } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { OpenBatch, type OpenText, writeAll } from "../../src/decoding/openBatch.ts"

/** Counts to a length of its own. */
interface Counting extends OpenText {
  readonly name: number
  readonly steps: number
  made: number
}
const counting = (steps: number, name = 0): Counting => ({
  name,
  steps,
  made: 0,
  get done() {
    return this.made >= this.steps
  }
})

/** What each step had in its rows. */
const counter = (rows: number, fails: (text: Counting) => boolean = () => false) => {
  const seen: Array<ReadonlyArray<readonly [row: number, name: number]>> = []
  const batch = new OpenBatch<Counting, never>(rows, open =>
    Effect.sync(() => {
      seen.push(open.map(({ row, text }) => [row, text.name] as const))
      return {
        passes: 1,
        forwardMs: 0,
        take: open.map(({ text }) => () => {
          if (fails(text)) throw new Error(`text ${text.name}`)
          text.made++
        })
      }
    })
  )
  return { batch, seen }
}

describe("an open batch", () => {
  it("gives the row of a text that is done to the next one, in as many passes as a queue with so many servers takes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 9 }),
        fc.integer({ min: 1, max: 4 }),
        (lengths, rows) => {
          const texts = lengths.map(length => counting(length))
          const { batch, seen } = counter(rows)
          const steps = texts.map(() => 0)
          const done: Array<number> = []
          const { passes } = Effect.runSync(
            writeAll(batch, texts, {
              onStep: (text, number) => Effect.sync(() => assert.strictEqual(++steps[number]!, text.made)),
              onDone: (_, number) => Effect.sync(() => void done.push(number))
            })
          )
          assert.deepStrictEqual(steps, lengths)
          assert.deepStrictEqual(
            done.toSorted((a, b) => a - b),
            [...lengths.keys()]
          )
          const free = Array.from({ length: rows }, () => 0)
          for (const length of lengths) free[free.indexOf(Math.min(...free))]! += length
          assert.strictEqual(passes, Math.max(...free))
          for (const own of seen) assert.strictEqual(new Set(own.map(([row]) => row)).size, own.length)
        }
      )
    )
  })

  it("takes texts in the middle, and gives the row of one that is dropped, or fails, to another", () => {
    const { batch, seen } = counter(2, ({ name }) => name === 3)
    const [a, b, c, d] = [counting(9, 1), counting(2, 2), counting(9, 3), counting(1, 4)] as const
    const step = () => Effect.runSync(batch.step())
    batch.admit(a)
    step()
    batch.admit(b)
    assert.strictEqual(batch.free, 0)
    assert.throws(() => batch.admit(c), /all 2 rows have a text/)
    step()
    batch.drop(a)
    batch.admit(c)
    const moved = step()
    assert.deepStrictEqual(
      moved.map(({ failure, text }) => [text.name, String(failure?.cause)]),
      [
        [3, "Error: text 3"],
        [2, "undefined"]
      ]
    )
    assert.lengthOf(batch.open, 0)
    batch.admit(d)
    step()
    assert.lengthOf(batch.open, 0)
    assert.deepStrictEqual(seen, [
      [[0, 1]],
      [
        [0, 1],
        [1, 2]
      ],
      [
        [0, 3],
        [1, 2]
      ],
      [[0, 4]]
    ])
    assert.strictEqual(a.made, 2)
    assert.deepStrictEqual(batch.spent.passes, 4)
    // Who is not in it is not dropped from it.
    batch.drop(a)
    assert.strictEqual(batch.free, 2)
  })

  it("of a list dies of what a text fails by", () => {
    const exit = Effect.runSyncExit(writeAll(counter(2, ({ name }) => name === 1).batch, [counting(3), counting(3, 1)]))
    assert.match(String(exit), /text 1/)
  })
})
