/** The bound of block diffusion: between the exact likelihood of one token after the other and the bound of masked diffusion. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { makeCausalEvaluator } from "../../../src/evaluation/causal.ts"
import { likelihoodBound } from "../../../src/evaluation/likelihood.ts"
import { drawMasks, maskedRows } from "../../../src/evaluation/maskDraws.ts"
import { type ModelConfig, parameterSpecs } from "../../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../../src/models/parameters.ts"
import { makeMaskedLosses, type MaskedLosses } from "../../../src/sessions/maskedLosses.ts"
import { makeDenoiser } from "../../../src/sessions/query.ts"
import { bruteForward } from "../../models/bruteForce.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const mask = 10
const seed = 3
const shape = { rows: 2, length: 12 }
const sequences = [
  [3, 1, 4, 1, 5, 9, 2],
  [6, 5, 3, 5],
  [8, 9, 7, 9, 3, 2, 3, 8, 4, 6]
].map((ids, s) => ({
  ids: Int32Array.from(ids),
  // A prompt of two tokens before the last.
  maskable: Uint8Array.from(ids, (_, i) => Number(s < 2 || i > 1))
}))
const tokens = 6 + 3 + 8

const withBlocks = (attentionBlockSize?: number): ModelConfig =>
  modelConfig({ initializerRange: 0.6, ...(attentionBlockSize === undefined ? {} : { attentionBlockSize }) })

const onEngine = Effect.gen(function* () {
  const engine = yield* makeOrt({ threads: 1 })
  const buffers = yield* allocateParameters(engine, parameterSpecs(withBlocks()))
  yield* initialise(engine, buffers, seed)
  return { engine, parameters: buffers.views }
})

const evaluation = (losses: MaskedLosses, draws: number, blockSize?: number) => ({
  ...shape,
  losses,
  pad: 0,
  mask,
  draws,
  seed: 5,
  bands: 2,
  blockSize
})

describe("the bound of block diffusion", () => {
  it.live("in blocks of one token is the likelihood of the causal model, by every draw alike", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { engine, parameters } = yield* onEngine
        const causal = yield* makeCausalEvaluator(engine, withBlocks(), parameters, { ...shape, pad: 0 })
        const exact = yield* causal.each(sequences)
        const losses = yield* makeMaskedLosses(engine, withBlocks(1), parameters, { ...shape, halves: true })
        for (const draws of [1, 3]) {
          const bound = yield* likelihoodBound(evaluation(losses, draws, 1), sequences)
          expect(bound.tokens).toBe(tokens)
          expect(bound.standardError).toBeLessThan(1e-6)
          for (const [i, { nats, tokens: counted }] of bound.sequences.entries()) {
            expect(counted).toBe(exact[i]!.tokens)
            expect(Math.abs(nats - exact[i]!.nats)).toBeLessThan(1e-4)
          }
        }
      })
    )
  )

  it.live("in blocks of one token without the token shift is that of passes with one mask behind each beginning", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { engine, parameters } = yield* onEngine
        const values = new Map(parameterSpecs(withBlocks()).map(spec => [spec.name, initialValues(spec, seed)]))
        const losses = yield* makeMaskedLosses(engine, withBlocks(1), parameters, {
          ...shape,
          halves: true,
          tokenShift: false
        })
        const bound = yield* likelihoodBound(evaluation(losses, 1, 1), sequences)
        for (const [s, { ids, maskable }] of sequences.entries()) {
          let expected = 0
          for (const [i, id] of ids.entries()) {
            if (i === 0 || maskable[i] === 0) continue
            const { logits } = bruteForward(withBlocks(1), name => values.get(name)!, [...ids.slice(0, i), mask], false)
            const row = logits[i]!
            expected += Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)) - row[id]!
          }
          expect(Math.abs(bound.sequences[s]!.nats - expected)).toBeLessThan(1e-4)
        }
      })
    )
  )

  it.live("in one block is that of masked diffusion, of the same draws", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { engine, parameters } = yield* onEngine
        const plain = yield* makeMaskedLosses(engine, withBlocks(), parameters, shape)
        const expected = yield* likelihoodBound(evaluation(plain, 4), sequences)
        for (const size of [shape.length, 64]) {
          const losses = yield* makeMaskedLosses(engine, withBlocks(size), parameters, { ...shape, halves: true })
          const bound = yield* likelihoodBound(evaluation(losses, 4, size), sequences)
          expect(Math.abs(bound.nats - expected.nats)).toBeLessThan(1e-5)
          expect(Math.abs(bound.standardError - expected.standardError)).toBeLessThan(1e-5)
          for (const [i, { bands }] of bound.sequences.entries())
            for (const [b, { sum, weight }] of bands.entries()) {
              expect(weight).toBe(expected.sequences[i]!.bands[b]!.weight)
              expect(Math.abs(sum - expected.sequences[i]!.bands[b]!.sum)).toBeLessThan(1e-3)
            }
        }
      })
    )
  )

  it.live("in blocks is the sum of the blocks' bounds, each over all sets of its masks behind clean blocks", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { engine, parameters } = yield* onEngine
        const [size, config] = [3, withBlocks(3)]
        const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, seed)]))
        const { ids, maskable } = sequences[2]!
        /** -log p of the masked tokens of the block in which they all are. */
        const lossOf = (places: ReadonlyArray<number>): number => {
          const until = (Math.floor(places[0]! / size) + 1) * size
          const seen = [...ids].slice(0, until).map((id, i) => (places.includes(i) ? mask : id))
          const { logits } = bruteForward(config, name => values.get(name)!, seen, false)
          return places.reduce((sum, place) => {
            const row = logits[place - 1]!
            return sum + Math.log(row.reduce((all, z) => all + Math.exp(z), 0)) - row[ids[place]!]!
          }, 0)
        }
        let exact = 0
        const blocks = Map.groupBy(
          [...ids.keys()].filter(i => i > 0 && maskable[i] === 1),
          i => Math.floor(i / size)
        )
        expect([...blocks.values()].map(own => own.length)).toEqual([1, 3, 3, 1])
        for (const own of blocks.values()) {
          const n = own.length
          const ofSize = Array.from({ length: n + 1 }, () => ({ sum: 0, count: 0 }))
          for (let subset = 1; subset < 2 ** n; subset++) {
            const places = own.filter((_, i) => (subset >> i) % 2 === 1)
            ofSize[places.length]!.sum += (n / places.length) * lossOf(places)
            ofSize[places.length]!.count++
          }
          for (let k = 1; k <= n; k++) exact += ofSize[k]!.sum / ofSize[k]!.count / n
        }
        const losses = yield* makeMaskedLosses(engine, config, parameters, { rows: 32, length: 12, halves: true })
        const { nats, standardError } = yield* likelihoodBound({ ...evaluation(losses, 1500, size), rows: 32 }, [
          sequences[2]!
        ])
        expect(standardError).toBeLessThan(0.02)
        expect(Math.abs(nats - exact / 8)).toBeLessThan(4 * standardError)
      })
    )
  )
})

describe("what decoding asks", () => {
  it.live(
    "is what was trained: of a block behind a finished prefix, its first token among them, whatever comes later",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { engine, parameters } = yield* onEngine
          const [size, config] = [4, withBlocks(4)]
          const ids = Int32Array.of(8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 5)
          const row = { rows: 1, length: ids.length }
          const losses = yield* makeMaskedLosses(engine, config, parameters, { ...row, halves: true })
          const denoiser = yield* makeDenoiser(engine, config, parameters, { ...row, places: size })
          for (const masked of [[0, 1, 2, 3], [0, 2], [1, 2], [0]])
            for (const block of [1, 2]) {
              const places = Int32Array.from(masked, i => block * size + i)
              const { asked, read } = maskedRows([{ ids, places }], [[0]], { ...row, mask, pad: 0 })
              const expected = yield* losses(read, asked)
              // The canvas of a decoding: masks in all blocks that are not reached yet.
              const canvas = read.ids.map((id, i) => (i >= (block + 1) * size ? mask : id))
              const logits = yield* denoiser.logits(canvas, [0], [...places])
              for (const [i, place] of places.entries()) {
                const z = logits.subarray(i * config.vocabSize, (i + 1) * config.vocabSize)
                const loss = Math.log(z.reduce((sum, x) => sum + Math.exp(x), 0)) - z[ids[place]!]!
                expect(loss).toBeCloseTo(expected[i]!, 4)
              }
            }
        })
      )
  )
})

describe("draws by block", () => {
  it("have each stratum once for each block, and another in each of the blocks of a draw", () => {
    const [n, size, draws] = [33, 8, 4]
    const sequence = { ids: new Int32Array(n), maskable: new Uint8Array(n).fill(1) }
    for (let s = 0; s < 50; s++) {
      const { parts, places } = drawMasks(sequence, s, { draws, seed: 1, blockSize: size })
      // The first token is given.
      expect(parts.map(({ maskable }) => maskable)).toEqual([7, 8, 8, 8, 1])
      for (const [block, { sizes }] of parts.slice(1, 4).entries())
        expect(sizes.map(k => Math.ceil((k * draws) / size) - 1)).toEqual(
          Array.from({ length: draws }, (_, draw) => (draw + block + 1) % draws)
        )
      for (let draw = 0; draw < draws; draw++) {
        const all = [...places(draw)]
        expect(new Set(all).size).toBe(all.length)
        expect(all).not.toContain(0)
        for (const [block, { sizes }] of parts.entries())
          expect(all.filter(place => Math.floor(place / size) === block)).toHaveLength(sizes[draw]!)
      }
    }
  })
})
