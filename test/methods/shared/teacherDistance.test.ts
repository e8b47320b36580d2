/** How far a student's states are from its teacher's: from the equations, over another model's weights and over one's own below an adapter. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { AdapterSettings, adapterOf } from "../../../src/methods/shared/adapterSettings.ts"
import { makeTeacherDistance, withoutAdapter } from "../../../src/methods/shared/alignment/teacherDistance.ts"
import { withAdapterConfig } from "../../../src/models/adapter/adapterFiles.ts"
import { parameterSpecs } from "../../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../../src/models/parameters.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import { elements } from "../../../src/tensor/Tensor.ts"
import { bruteForward } from "../../models/bruteForce.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const config = modelConfig({ vocabSize: 20, layers: 3 })
const mask = 19
const [own, others] = [2, 3]
const weightsOf = (seed: number) => {
  const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, seed)]))
  return (name: string) => values.get(name)!
}
const shape = { rows: 1, length: 12, mask, pad: 0 }
const sequences = [
  { ids: [3, 1, 4, 1, 5], places: [2, 4] },
  { ids: [9, 2, 6, 5], places: [3, 1, 2] },
  { ids: [5, 3, 5, 8, 9, 7, 9], places: [] },
  { ids: [1, 7, 1, 8, 2, 8, 1, 8], places: [5] }
].map(({ ids, places }) => ({ ids: Int32Array.from(ids), places: Int32Array.from(places) }))

/** The sum of 1 - cosine over a sequence's columns, each the mean over layers; float64. */
const byHand = (studentSeed: number, teacherSeed: number, tokenShift = true) =>
  sequences.map(({ ids, places }) => {
    const seen = Array.from(ids, (id, i) => (places.includes(i) ? mask : id))
    const student = bruteForward(config, weightsOf(studentSeed), seen, false).states
    const teacher = bruteForward(config, weightsOf(teacherSeed), [...ids], true).states
    return Array.from(places, place => {
      const column = tokenShift ? place - 1 : place
      const distances = [1, 2, 3].map(layer => {
        const [a, b] = [student[layer]![column]!, teacher[layer]![column]!]
        const dot = (x: ReadonlyArray<number>, y: ReadonlyArray<number>) => x.reduce((sum, v, c) => sum + v * y[c]!, 0)
        return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
      })
      return distances.reduce((sum, distance) => sum + distance, 0) / distances.length
    }).reduce((sum, distance) => sum + distance, 0)
  })

describe("the distance from the teacher", () => {
  it.live("is 1 minus the cosine, of each sequence alone, at the places that predict masked tokens", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const loaded = (seed: number) =>
          Effect.gen(function* () {
            const buffers = yield* allocateParameters(engine, parameterSpecs(config))
            yield* initialise(engine, buffers, seed)
            return { config, parameters: buffers.views }
          })
        const [student, teacher] = [yield* loaded(own), yield* loaded(others)]
        for (const [of, seed] of [
          [teacher, others],
          [student, own]
        ] as const)
          for (const tokenShift of [true, false]) {
            const distances = yield* makeTeacherDistance(engine, student, of, { ...shape, tokenShift })
            const expected = byHand(own, seed, tokenShift)
            const measured = yield* distances(sequences)
            expect(measured.map(({ weight }) => weight)).toEqual([2, 3, 0, 1])
            for (const [i, { sum }] of measured.entries()) expect(sum).toBeCloseTo(expected[i]!, 4)
          }
      })
    )
  )

  it.live("of a model of blocks is that of each block behind clean ones", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const buffers = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, buffers, own)
        const size = 2
        const student = { config: { ...config, attentionBlockSize: size }, parameters: buffers.views }
        const teacher = { config, parameters: buffers.views }
        const distances = yield* makeTeacherDistance(engine, student, teacher, { ...shape, halves: true })
        const measured = yield* distances(sequences)
        for (const [s, { ids, places }] of sequences.entries()) {
          const clean = bruteForward(config, weightsOf(own), [...ids], true).states
          let expected = 0
          for (const place of places) {
            const block = Math.floor(place / size)
            const seen = Array.from(ids, (id, i) =>
              Math.floor(i / size) === block && places.includes(i) ? mask : id
            ).slice(0, (block + 1) * size)
            const { states } = bruteForward(student.config, weightsOf(own), seen, false)
            for (const layer of [1, 2, 3]) {
              const [a, b] = [states[layer]![place - 1]!, clean[layer]![place - 1]!]
              const dot = a.reduce((sum, x, c) => sum + x * b[c]!, 0)
              expected += (1 - dot / (Math.hypot(...a) * Math.hypot(...b))) / 3
            }
          }
          expect(measured[s]!.sum).toBeCloseTo(expected, 4)
        }
        expect(measured[0]!.sum).toBeGreaterThan(0.01)
      })
    )
  )

  it.live("of a model with an adapter is that from its own base, whose weights need not be loaded again", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const adapter = adapterOf(Schema.decodeUnknownSync(AdapterSettings)({ r: 2 }), mask)
        const adapted = yield* withAdapterConfig(config, adapter)
        const { specs, views } = yield* allocateParameters(engine, parameterSpecs(adapted))
        const base = yield* allocateParameters(engine, parameterSpecs(config))
        const ofBase = new Set(base.specs.map(({ name }) => name))
        // The adapter, the mask's row among it, is not as it begins: then it would change nothing.
        for (const spec of specs)
          yield* engine.upload(
            views[spec.name]!,
            ofBase.has(spec.name)
              ? initialValues(spec, own)
              : normals(randomKey(7, spec.name), elements(spec.shape)).map(x => 0.3 * x)
          )
        yield* initialise(engine, base, own)
        const student = { config: adapted, parameters: views }
        const [shared, apart] = [
          yield* makeTeacherDistance(engine, student, withoutAdapter(student), shape),
          yield* makeTeacherDistance(engine, student, { config, parameters: base.views }, shape)
        ]
        const [found, expected] = [yield* shared(sequences), yield* apart(sequences)]
        for (const [i, { sum }] of found.entries()) expect(sum).toBeCloseTo(expected[i]!.sum, 5)
        for (const [i, sum] of byHand(own, own).entries())
          if (sequences[i]!.places.length > 0) expect(Math.abs(sum - found[i]!.sum)).toBeGreaterThan(1e-3)
      })
    )
  )
})
