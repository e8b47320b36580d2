import { describe, expect, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { makeAdamW } from "../../src/training/adamw.ts"

const engines: { readonly [name: string]: () => Effect.Effect<Engine, EngineError, Scope.Scope> } = {
  reference: () => Effect.succeed(makeReference()),
  ort: () => makeOrt({ threads: 2 })
}
const settings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 }
const lr = 0.01

/** The paper's algorithm 2, element by element in float64. */
const byHand = (p: Float64Array, gradients: ReadonlyArray<Float32Array>, scale: number): Float64Array => {
  const m = new Float64Array(p.length)
  const v = new Float64Array(p.length)
  for (const [i, gradient] of gradients.entries())
    for (let j = 0; j < p.length; j++) {
      const g = gradient[j]! * scale
      m[j] = settings.beta1 * m[j]! + (1 - settings.beta1) * g
      v[j] = settings.beta2 * v[j]! + (1 - settings.beta2) * g * g
      const mHat = m[j]! / (1 - settings.beta1 ** (i + 1))
      const vHat = v[j]! / (1 - settings.beta2 ** (i + 1))
      p[j] = p[j]! - lr * (mHat / (Math.sqrt(vHat) + settings.epsilon) + settings.weightDecay * p[j]!)
    }
  return p
}

for (const [name, make] of Object.entries(engines))
  describe(`AdamW on ${name}`, () => {
    it.live("is the paper's algorithm, in chunks of any size", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* make()
          const n = 1000
          const initial = normals(randomKey(1, "p"), n)
          const gradients = Array.from({ length: 6 }, (_, i) => normals(randomKey(1, "g", i), n))
          const expected = byHand(Float64Array.from(initial), gradients, 0.25)
          for (const chunk of [n, 300, 4096]) {
            const flat = () => engine.allocate("f32", [n])
            const buffers = {
              parameters: yield* flat(),
              gradients: yield* flat(),
              firstMoments: yield* flat(),
              secondMoments: yield* flat()
            }
            yield* engine.upload(buffers.parameters, initial)
            const optimiser = yield* makeAdamW(engine, settings, buffers, { chunk })
            for (const [i, gradient] of gradients.entries()) {
              yield* engine.upload(buffers.gradients, gradient)
              yield* optimiser.step({ lr, step: i + 1, gradientScale: 0.25 })
            }
            const actual = (yield* engine.download(buffers.parameters)) as Float32Array
            for (const [i, value] of expected.entries())
              expect(Math.abs(actual[i]! - value)).toBeLessThan(2e-6 * (1 + Math.abs(value)))
          }
        })
      )
    )

    it.live("moves a fresh parameter by the learning rate, whatever the size of its gradient", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* make()
          const flat = () => engine.allocate("f32", [3])
          const buffers = {
            parameters: yield* flat(),
            gradients: yield* flat(),
            firstMoments: yield* flat(),
            secondMoments: yield* flat()
          }
          yield* engine.upload(buffers.gradients, Float32Array.of(1e-3, 5, -200))
          const optimiser = yield* makeAdamW(engine, { ...settings, weightDecay: 0 }, buffers)
          yield* optimiser.step({ lr, step: 1, gradientScale: 1 })
          const moved = (yield* engine.download(buffers.parameters)) as Float32Array
          for (const [i, sign] of [-1, -1, 1].entries()) expect(moved[i]).toBeCloseTo(sign * lr, 6)
        })
      )
    )
  })
