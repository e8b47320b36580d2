/** Latents as they are drawn on the engine, beside the same steps on the host, where every pass computes all latents from the prompt's states. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { canvasArrays, makeCanvas } from "../../../src/decoding/canvas.ts"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { drawnTogether, latentDrawer, latentSteps } from "../../../src/methods/cola/drawing.ts"
import { cola, ColaArchitecture, colaShape, colaSpecs } from "../../../src/methods/cola/networks.ts"
import { ddim } from "../../../src/methods/shared/latents/samplers.ts"
import { parameterSpecs } from "../../../src/models/config.ts"
import { forward, weightsOf } from "../../../src/models/decoder.ts"
import { allocateParameters, initialise } from "../../../src/models/parameters.ts"
import { rowTensors } from "../../../src/sessions/query.ts"
import { inputsOf, makeSession } from "../../../src/sessions/session.ts"
import { constant, input, lessEqual } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const config = modelConfig({ vocabSize: 23, initializerRange: 0.3 })
const shape = { length: 12, rows: 3 }
const prompts = [[3, 1, 4, 1, 5], [9, 2], []]

const architectureOf = (changes: Partial<ColaArchitecture>): ColaArchitecture => ({
  ...Schema.decodeSync(ColaArchitecture)({}),
  colaNumGlobal: 2,
  colaNumLocal: 7,
  colaBlockSize: 3,
  colaDiffusionDepth: 3,
  colaHeads: 2,
  colaWidth: 8,
  colaMaxLength: 16,
  ...changes
})

const drawing = (architecture: ColaArchitecture) =>
  Effect.gen(function* () {
    const { length, rows } = shape
    const engine = yield* makeOrt({ threads: 1 })
    // Gates and the last map begin at 0: for this, all of the latent model is drawn.
    const latentSpecs = colaSpecs(architecture, config).map(spec => ({ ...spec, initial: { normal: 0.4 } }))
    const buffers = yield* allocateParameters(engine, [...parameterSpecs(config), ...latentSpecs])
    yield* initialise(engine, buffers, 4)
    const parameters = buffers.views
    const canvas = canvasArrays(makeCanvas(prompts, { length, newTokens: 0, mask: 22, pad: 0 }), { rows, length })

    const { diffusion, latents, stateLayer, width } = colaShape(architecture, config, length)
    const noise = normals(randomKey(7, "noise"), rows * latents * width)
    const drawer = yield* latentDrawer(engine, { config, parameters }, architecture, shape)
    const found = yield* drawer.draw(canvas, noise)

    const parameter = inputsOf(parameters)
    const networks = cola(architecture, config, parameter, length)
    const tensors = rowTensors({ rows, length })
    const { hiddenStates } = forward(config, weightsOf(config, parameter), tensors.ids, { causal: false, ...tensors })
    const seen = lessEqual(constant(0, "i32"), tensors.segmentIds)
    const condition = architecture.colaCondition
      ? networks.condition({ states: hiddenStates[stateLayer]!, seen })
      : undefined
    const noised = input("noised", "f32", [rows, latents, width])
    const predicted = networks.diffuse(noised, input("time", "f32", [rows]), { condition })
    const whole = yield* makeSession(engine, { predicted }, parameters)

    let expected: Float32Array = noise.slice()
    for (const [from, to] of drawnTogether(architecture, diffusion)) {
      const latentOf = (i: number): number => Math.floor(i / width) % latents
      const done = expected
      const predict = (z: Float32Array, time: number) =>
        Effect.map(
          whole.run({
            ...(architecture.colaCondition ? canvas : {}),
            noised: z.map((value, i) => (latentOf(i) < from ? done[i]! : value)),
            time: new Float32Array(rows).fill(time)
          }),
          ({ predicted: made }): Float32Array => made
        )
      let z: Float32Array = noise
      if (architecture.colaPrediction === "v")
        for (let j = 0; j < latentSteps; j++) {
          const velocity = yield* predict(z, 1 - j / latentSteps)
          z = z.map((value, i) => value - velocity[i]! / latentSteps)
        }
      else {
        const alphaBar = (time: number): number => 1 - time ** 2
        z = yield* ddim(noise, predict, { steps: latentSteps, alphaBar, eta: 0, noise: () => new Float32Array() })
      }
      expected = expected.map((value, i) => (latentOf(i) >= from && latentOf(i) < to ? z[i]! : value))
    }
    return { drawer, expected, found, noise }
  }).pipe(Effect.scoped)

describe("drawn latents are those of passes over all of them", () => {
  it("draws latents together, but with card the globals first and then block after block", () => {
    const sizes = { globals: 3, locals: 5, block: 2 }
    expect(drawnTogether({ colaVariant: "block_causal" }, sizes)).toEqual([[0, 8]])
    expect(drawnTogether({ colaVariant: "fast_block" }, sizes)).toEqual([[0, 8]])
    expect(drawnTogether({ colaVariant: "card" }, sizes)).toEqual([
      [0, 3],
      [3, 5],
      [5, 7],
      [7, 8]
    ])
  })

  it.live.each([
    ["card, whose last block is short", { colaVariant: "card" }],
    ["card that predicts clean latents", { colaVariant: "card", colaPrediction: "x0" }],
    ["card without a condition", { colaVariant: "card", colaCondition: false }],
    ["card without positions", { colaVariant: "card", colaPositions: false }],
    ["blocks", { colaVariant: "block_causal" }],
    ["shifted blocks", { colaVariant: "fast_block", colaPrediction: "x0" }]
  ] as const)("%s", ([, changes]) =>
    Effect.gen(function* () {
      const { expected, found, noise } = yield* drawing(architectureOf(changes))
      expect(found).toHaveLength(expected.length)
      const largest = Math.max(...expected.map((value, i) => Math.abs(value - noise[i]!)))
      expect(largest).toBeGreaterThan(0.3)
      for (const [i, value] of expected.entries()) expect(Math.abs(found[i]! - value)).toBeLessThan(1e-4 * largest)
    })
  )

  it.effect("a draw counts its passes, and with blocks needs less than passes over all latents would", () =>
    Effect.gen(function* () {
      const { drawer } = yield* drawing(architectureOf({ colaVariant: "card" }))
      const all = yield* drawing(architectureOf({ colaVariant: "block_causal" }))
      expect(drawer.passes).toBe(1 + 4 * latentSteps)
      expect(all.drawer.passes).toBe(1 + latentSteps)
      expect(drawer.flops).toBeLessThan(4 * all.drawer.flops * 0.6)
    })
  )
})
