import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { type Digest, type Json, sha256 } from "../../src/pipeline/Digest.ts"
import { decodePage, type EncodedPage, encodePages, inlineLimit, type PageItem } from "../../src/store/Pages.ts"
import { below, seeded } from "../support/random.ts"
import { bytesOf } from "../support/storeSetup.ts"

const decoded = (pages: Iterable<EncodedPage>) => [...pages].flatMap(page => Effect.runSync(decodePage(page.bytes)))

/** Buffers compare by their bytes, not by their class. */
const plain = (items: Iterable<PageItem>) =>
  [...items].map(item => (item.bytes === undefined ? item : { ...item, bytes: [...item.bytes] }))

const list = (count: number, payload = 0): Array<PageItem> =>
  Array.from({ length: count }, (_, i) => {
    const key = sha256(`item ${i}`)
    return payload === 0
      ? { key, note: { i }, size: 5000 + i, sha256: sha256(`payload ${i}`) }
      : { key, note: null, size: payload, bytes: bytesOf(payload, i) }
  })

/** A key that ends a page wherever 32 items without such a key precede it. */
const boundaryKey = (i: number): Digest => `${"0".repeat(8)}${sha256(`boundary ${i}`).slice(8)}` as Digest

const digests = (pages: Iterable<EncodedPage>) => new Set([...pages].map(page => page.sha256))

const newPages = (before: Iterable<EncodedPage>, after: Iterable<EncodedPage>): number => {
  const known = digests(before)
  return [...digests(after)].filter(digest => !known.has(digest)).length
}

const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(bytes => Buffer.from(bytes).toString("hex") as Digest)
const note = fc.jsonValue({ maxDepth: 3 }).map(value => JSON.parse(JSON.stringify(value)) as Json)
const item: fc.Arbitrary<PageItem> = fc.oneof(
  fc.record({ key, note, size: fc.nat(), sha256: key }),
  fc
    .record({ key, note, bytes: fc.uint8Array({ maxLength: 200 }) })
    .map(({ key, note, bytes }) => ({ key, note, bytes, size: bytes.length }))
)

describe("pages", () => {
  it("give back every list of items, in order", () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 100 }), items => {
        // JSON has one zero; -0 in a note becomes 0, as in every canonical text.
        const expected = JSON.stringify(plain(items))
        assert.strictEqual(JSON.stringify(plain(decoded(encodePages(items)))), reordered(expected))
      })
    )
  })

  it("depend on the items alone", () => {
    for (const payload of [0, 100]) {
      const once = [...encodePages(list(3000, payload))]
      const again = [...encodePages(list(3000, payload))]
      assert.deepStrictEqual(
        again.map(page => page.sha256),
        once.map(page => page.sha256)
      )
      for (const page of once) {
        assert.strictEqual(page.sha256, sha256(page.bytes))
        assert.strictEqual(page.size, page.bytes.length)
      }
    }
  })

  it("of an empty list: none", () => {
    assert.deepStrictEqual([...encodePages([])], [])
  })

  it("have 32 to 2,048 items, some hundred on average, and at most 1 MiB of payload", () => {
    const pages = [...encodePages(list(50_000))]
    const counts = pages.map(page => page.count)
    assert.strictEqual(
      counts.reduce((a, b) => a + b),
      50_000
    )
    assert.isAtLeast(Math.min(...counts.slice(0, -1)), 32)
    assert.isAtMost(Math.max(...counts), 2048)
    const mean = 50_000 / pages.length
    assert.isAbove(mean, 200)
    assert.isBelow(mean, 400)

    for (const page of encodePages(list(1500, inlineLimit))) {
      const bytes = Effect.runSync(decodePage(page.bytes)).reduce((sum, one) => sum + one.size, 0)
      assert.isAtMost(bytes, 1024 * 1024)
    }
    // Neither keys that all end pages nor keys that never do break the limits.
    const all = [...encodePages(list(5000).map((one, i) => ({ ...one, key: boundaryKey(i) })))]
    const never = [
      ...encodePages(list(5000).map(one => ({ ...one, key: `${"1".repeat(8)}${one.key.slice(8)}` as Digest })))
    ]
    assert.deepStrictEqual(
      all.map(page => page.count),
      [2048, 2048, 904]
    )
    assert.deepStrictEqual(
      never.map(page => page.count),
      [2048, 2048, 904]
    )
  })

  it("change by at most two when one item of 10,000 is inserted, removed or replaced", () => {
    const items = list(10_000)
    const before = [...encodePages(items)]
    // The bound holds outside stretches that are cut by counting; this list has none.
    assert.isBelow(Math.max(...before.map(page => page.count)), 2048 - 100)
    const random = seeded(7)
    for (let trial = 0; trial < 60; trial++) {
      const at = below(random, items.length)
      const key = trial % 3 === 0 ? boundaryKey(trial) : sha256(`new ${trial}`)
      const fresh: PageItem = { key, note: trial, size: 3, bytes: bytesOf(3, trial) }
      assert.isAtMost(newPages(before, encodePages(items.toSpliced(at, 0, fresh))), 2, `inserted at ${at}`)
      assert.isAtMost(newPages(before, encodePages(items.toSpliced(at, 1))), 2, `removed at ${at}`)
      assert.isAtMost(newPages(before, encodePages(items.toSpliced(at, 1, fresh))), 2, `replaced at ${at}`)
    }
    assert.strictEqual(newPages(before, encodePages(items)), 0)
  }, 60_000)

  it("change by at most two also where boundaries crowd together", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 70 })), { minLength: 1, maxLength: 20 }),
        fc.nat(),
        fc.boolean(),
        (runs, position, boundary) => {
          // Runs of ordinary keys, each followed by one that may end a page, at every distance around 32.
          const items = runs.flatMap(([ends, length], run) =>
            Array.from({ length }, (_, i): PageItem => {
              const last = ends && i === length - 1
              const base = `${run}.${i}`
              return {
                key: last ? boundaryKey(run) : (`${"1".repeat(8)}${sha256(base).slice(8)}` as Digest),
                note: base,
                size: 1,
                sha256: sha256(base)
              }
            })
          )
          const at = position % items.length
          const fresh: PageItem = {
            key: boundary ? boundaryKey(1000) : ("1".repeat(64) as Digest),
            note: null,
            size: 1,
            sha256: sha256("fresh")
          }
          const before = [...encodePages(items)]
          assert.isAtMost(newPages(before, encodePages(items.toSpliced(at, 0, fresh))), 2)
          assert.isAtMost(newPages(before, encodePages(items.toSpliced(at, 1))), 2)
        }
      ),
      { numRuns: 500 }
    )
  }, 60_000)

  it("refuse items that are none", () => {
    const good = list(1)[0]!
    const cases: ReadonlyArray<readonly [PageItem, RegExp]> = [
      [{ ...good, key: "ABC" as Digest }, /64 hexadecimal digits/],
      [{ key: good.key, note: null, size: 2, bytes: bytesOf(3) }, /3 bytes, announced as 2/],
      [{ key: good.key, note: null, size: 5000, bytes: bytesOf(5000) }, /too many/]
    ]
    for (const [bad, message] of cases) assert.throws(() => [...encodePages([bad])], message)
  })
})

/** Object keys sorted, as the canonical text has them. */
const reordered = (text: string): string =>
  JSON.stringify(
    (JSON.parse(text) as ReadonlyArray<PageItem>).map(({ key, note, size, ...rest }) => ({
      key,
      note: sorted(note),
      size,
      ...rest
    }))
  )

const sorted = (value: Json): Json =>
  Array.isArray(value)
    ? (value as ReadonlyArray<Json>).map(sorted)
    : typeof value === "object" && value !== null
      ? Object.fromEntries(
          Object.entries(value as { readonly [key: string]: Json })
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([name, field]) => [name, sorted(field)])
        )
      : value

describe("decodePage", () => {
  const error = (bytes: string | Uint8Array) => Effect.runSync(Effect.flip(decodePage(Buffer.from(bytes))))
  const [page] = [...encodePages(list(20, 10))]
  const text = Buffer.from(page!.bytes).toString()

  it("survives any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
        assert.strictEqual(error(bytes)._tag, "PageInvalid")
      })
    )
  })

  it("survives any change of a page: it is refused, or read as items again", () => {
    fc.assert(
      fc.property(fc.nat(), fc.uint8Array({ maxLength: 4 }), fc.nat({ max: 4 }), (at, inserted, removed) => {
        const offset = at % page!.bytes.length
        const changed = Buffer.concat([
          page!.bytes.subarray(0, offset),
          inserted,
          page!.bytes.subarray(offset + removed)
        ])
        const result = Effect.runSync(Effect.result(decodePage(changed)))
        if (result._tag === "Failure") assert.strictEqual(result.failure._tag, "PageInvalid")
        else assert.strictEqual(plain(result.success).length, 20)
      }),
      { numRuns: 500 }
    )
  })

  it("names the line and what is wrong with it", () => {
    const cases: ReadonlyArray<readonly [string, RegExp]> = [
      ["", /line 1: does not end in a line break/],
      [text.slice(0, -1), /does not end in a line break/],
      [text.replace('"version":1', '"version":2'), /its version is 2; this program reads 1/],
      [text.replace('"format":"pipeline-page"', '"format":"x"'), /its format is not pipeline-page/],
      [text.replace('"count":20', '"count":21'), /announces 21 items, but there are 20/],
      [`${text}\n`, /line 22: is no JSON/],
      [text.replace(/"bytes":"(.)/, '"bytes":"*'), /line 2: its bytes are not base64/],
      [text.replace('"size":10', '"size":11'), /line 2: has 10 bytes, announced as 11/],
      [text.replace('"size":10', '"size":1e999'), /line 2: its size is no byte count/],
      [text.replace('"key":"', '"key":"X'), /line 2: its key is not 64 hexadecimal digits/],
      [text.replace('"note":null', '"nope":null'), /line 2: has a field "nope"/],
      [text.replace('"note":null,', ""), /line 2: has no note/],
      [text.replace('"note":null', `"note":null,"sha256":"${"a".repeat(64)}"`), /line 2: has both bytes and sha256/],
      ["[]\n", /line 1: is no JSON object/]
    ]
    for (const [bytes, message] of cases) assert.match(error(bytes).message, message)
  })
})
