import * as fc from "fast-check"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { algorithms, DiffusionDecoding, judge } from "../../src/decoding/diffusion.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { confidenceIn } from "../../src/sessions/confidence.ts"
import { surelyAmong, undrawable } from "../../src/decoding/surely.ts"
import { makeSession } from "../../src/sessions/session.ts"
import { argmax, cast, input } from "../../src/tensor/ops.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"

const compared = algorithms.filter(alg => alg !== "origin")
const n = 40

/** Rows of normal logits, of ever larger spread; every other row is nearly the one before. */
const rowsOf = (vocabSize: number, scale: number, nearness: number, seed: number): Float32Array<ArrayBuffer> => {
  const rows = normals(randomKey(seed, "logits"), n * vocabSize).map((x, i) => x * scale * (1 + i / vocabSize / n))
  const noise = normals(randomKey(seed, "noise"), n * vocabSize)
  for (let r = 1; r < n; r += 2)
    for (let v = 0; v < vocabSize; v++)
      rows[r * vocabSize + v] = rows[(r - 1) * vocabSize + v]! * (1 + nearness * noise[r * vocabSize + v]!)
  return rows
}

const check = (engine: Engine, vocabSize: number, scale: number, nearness: number, seed: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const all = rowsOf(vocabSize, scale, nearness, seed)
      const rows = Array.from({ length: n }, (_, r) => all.slice(r * vocabSize, (r + 1) * vocabSize))
      const [logits, given] = [input("logits", "f32", [n, vocabSize]), input("given", "i32", [n])]
      // Of p2, half of the tokens are any.
      const any = Int32Array.from(rows, (row, r) => (r % 4 < 2 ? row.indexOf(Math.max(...row)) : r % vocabSize))
      let contested = 0
      for (const alg of compared) {
        const tokens = alg === "p2" ? given : cast(argmax(logits, 1), "i32")
        const { run } = yield* makeSession(engine, { ...confidenceIn(logits, tokens, alg) }, {})
        const { score, tolerance } = yield* run({ logits: all, ...(alg === "p2" ? { given: any } : {}) })
        const settings = Schema.decodeUnknownSync(DiffusionDecoding)({ alg, temperature: 0 })
        const exact = rows.map((row, place) => {
          const there = alg === "p2" && place % 4 >= 2 ? any[place] : undefined
          return judge(settings, { place, logits: row, uniform: 0, there }).score
        })
        for (let a = 0; a < n; a++)
          for (let b = 0; b < n; b++) {
            if (a === b) continue
            if (score[a]! - tolerance[a]! > score[b]! + tolerance[b]!)
              expect(exact[a]! > exact[b]!, `${alg} of ${vocabSize}: ${exact[a]} and ${exact[b]}`).toBe(true)
            else if (!(score[b]! - tolerance[b]! > score[a]! + tolerance[a]!)) contested++
          }
      }
      return contested / (compared.length * n * (n - 1))
    })
  )

describe("confidences in f32 with their bounds", () => {
  it.live("never order two places otherwise than the host in f64", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const ort = yield* makeOrt({ threads: 1 })
        const samples = fc.sample(
          fc.record({
            vocabSize: fc.constantFrom(2, 3, 17, 300, 4099),
            scale: fc.constantFrom(1e-3, 0.1, 1, 3, 10, 40),
            nearness: fc.constantFrom(0, 1e-7, 1e-6, 1e-5, 1e-4),
            seed: fc.integer()
          }),
          { numRuns: 12, seed: 5 }
        )
        for (const { nearness, scale, seed, vocabSize } of samples) {
          yield* check(ort, vocabSize, scale, nearness, seed)
          if (vocabSize < 1000) yield* check(makeReference(), vocabSize, scale, nearness, seed)
        }
      })
    )
  )

  it.live("leave few places in doubt", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const ort = yield* makeOrt({ threads: 1 })
        expect(yield* check(ort, 2048, 3, 0.5, 1)).toBeLessThan(0.002)
      })
    )
  )

  it("of places that are surely among the first, surely not, or neither", () => {
    const places = [
      [5, 0.1],
      [3, 0.1],
      [2.95, 0.1],
      [1, 0.1]
    ].map(([score, tolerance], place) => ({ place, score: score!, tolerance: tolerance! }))
    const of = (n: number) => {
      const { certain, contested } = surelyAmong(places, n)
      return [certain.map(({ place }) => place), contested.map(({ place }) => place)]
    }
    expect(of(0)).toEqual([[], []])
    expect(of(1)).toEqual([[0], []])
    expect(of(2)).toEqual([[0], [1, 2]])
    expect(of(3)).toEqual([[0, 1, 2], []])
    expect(of(9)).toEqual([[0, 1, 2, 3], []])
    const { contested } = surelyAmong([{ place: 7, score: NaN, tolerance: undrawable }], 1)
    expect(contested.map(({ place }) => place)).toEqual([7])
  })
})
