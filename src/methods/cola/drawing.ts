/** Latents drawn by diffusion, given what is visible of a text: all at once, or with card the globals and then block after block. */
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../../engines/Engine.ts"
import type { LoadedModel } from "../../models/artifact.ts"
import { forward, weightsOf } from "../../models/decoder.ts"
import type { CanvasShape } from "../../decoding/canvas.ts"
import { rowTensors } from "../../sessions/query.ts"
import { type Data, inputsOf, makeSession } from "../../sessions/session.ts"
import { add, concat, constant, div, input, lessEqual, mul, reshape, sqrt, sub } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Condition } from "./blockCausal.ts"
import { cola, type ColaArchitecture, colaShape } from "./networks.ts"

/** Steps of the latents' diffusion, whatever the steps of the tokens'. */
export const latentSteps = 16

/** Latents that are drawn together, in this order. */
export const drawnTogether = (
  { colaVariant }: Pick<ColaArchitecture, "colaVariant">,
  { block, globals, locals }: { readonly block: number; readonly globals: number; readonly locals: number }
): ReadonlyArray<readonly [start: number, end: number]> => {
  if (colaVariant !== "card") return [[0, globals + locals]]
  const blocks = Array.from({ length: Math.ceil(locals / block) }, (_, i) => i * block)
  return [[0, globals], ...blocks.map(start => [globals + start, globals + Math.min(locals, start + block)] as const)]
}

/** Keeps the quotient finite where there is no noise to divide by. */
const epsilon = 1e-8

type Step = (noised: Tensor, predicted: Tensor, time: Tensor) => Tensor

/** Euler's method: the path z_t = (1 - t) z_0 + t noise has the velocity noise - z_0. */
const eulerStep: Step = (noised, velocity) => sub(noised, mul(velocity, 1 / latentSteps))

/** DDIM without chance (Song, Meng, Ermon 2021) where the signal's share is 1 - t^2; the last step returns the prediction. */
const ddimStep: Step = (noised, clean, time) => {
  const next = sub(time, 1 / latentSteps)
  const signal = (t: Tensor): Tensor => sqrt(sub(1, mul(t, t)))
  const implied = div(sub(noised, mul(signal(time), clean)), sqrt(add(mul(time, time), epsilon)))
  return add(mul(signal(next), clean), mul(next, implied))
}

export interface LatentDrawer {
  /** From arrays of a canvas and noise [rows, latents, width] to latents of that shape. */
  readonly draw: (canvas: Data, noise: Float32Array) => Effect.Effect<Float32Array, EngineError>
  /** Forward passes of a draw: of the language model, and of the diffusion model. */
  readonly passes: number
  /** Of the matrix products of a draw. */
  readonly flops: number
}

/** The steps of a group stay on the engine. Latents behind it are not computed, as none of its own sees them; those before it stay as they were drawn. */
export const latentDrawer = (
  engine: Engine,
  { config, parameters }: Pick<LoadedModel, "config" | "parameters">,
  architecture: ColaArchitecture,
  { length, rows }: Pick<CanvasShape, "length" | "rows">
): Effect.Effect<LatentDrawer, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { diffusion, latents, stateLayer, width } = colaShape(architecture, config, length)
    const parameter = inputsOf(parameters)
    const networks = cola(architecture, config, parameter, length)
    const step = architecture.colaPrediction === "v" ? eulerStep : ddimStep

    const reader = Effect.gen(function* () {
      const canvas = rowTensors({ rows, length })
      const passed = forward(config, weightsOf(config, parameter), canvas.ids, { causal: false, ...canvas })
      const seen = lessEqual(constant(0, "i32"), canvas.segmentIds)
      const made = networks.condition({ states: passed.hiddenStates[stateLayer]!, seen })
      const tensors = { mask: made.mask.added, ...Object.fromEntries(made.pairs.map((pair, i) => [`pair.${i}`, pair])) }
      return { made, session: yield* makeSession(engine, tensors, parameters) }
    })
    const read = architecture.colaCondition ? yield* reader : undefined
    const given = { ...parameters, ...read?.session.memory }
    const kept = (name: string, { dtype, shape }: Tensor): Tensor => input(name, dtype, shape)
    const condition: Condition | undefined = read && {
      mask: { ...read.made.mask, added: kept("mask", read.made.mask.added) },
      pairs: read.made.pairs.map((pair, i) => kept(`pair.${i}`, pair))
    }

    const groups = yield* Effect.forEach(drawnTogether(architecture, diffusion), ([from, to]) => {
      const noised = input("noised", "f32", [rows, to - from, width])
      const time = input("time", "f32", [rows])
      const seen = from === 0 ? noised : concat([input("before", "f32", [rows, from, width]), noised], 1)
      const predicted = networks.diffuse(seen, time, { condition, from })
      const next = step(noised, predicted, reshape(time, [rows, 1, 1]))
      return Effect.map(
        makeSession(engine, { next, later: sub(time, 1 / latentSteps) }, given, { next: "noised", later: "time" }),
        session => ({ from, to, session })
      )
    })

    /** Of every row the latents from one to another. */
    const part = (all: Float32Array, from: number, to: number): Float32Array => {
      const made = new Float32Array(rows * (to - from) * width)
      for (let r = 0; r < rows; r++)
        made.set(all.subarray((r * latents + from) * width, (r * latents + to) * width), r * (to - from) * width)
      return made
    }
    const start = new Float32Array(rows).fill(1)
    return {
      passes: (read === undefined ? 0 : 1) + groups.length * latentSteps,
      flops: groups.reduce((sum, { session }) => sum + latentSteps * session.flops, read?.session.flops ?? 0),
      draw: (canvas, noise) =>
        Effect.gen(function* () {
          if (read !== undefined) {
            yield* read.session.upload(canvas)
            yield* read.session.compute()
          }
          const drawn = noise.slice()
          for (const { from, session, to } of groups) {
            const before = from === 0 ? {} : { before: part(drawn, 0, from) }
            yield* session.upload({ ...before, noised: part(noise, from, to), time: start })
            yield* session.compute(latentSteps)
            const found = (yield* engine.download(session.memory["next"]!)) as Float32Array
            const size = (to - from) * width
            for (let r = 0; r < rows; r++)
              drawn.set(found.subarray(r * size, (r + 1) * size), (r * latents + from) * width)
          }
          return drawn
        })
    }
  })
