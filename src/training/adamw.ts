/**
 * AdamW (Loshchilov & Hutter 2019) as a tensor program over flat f32 buffers, in chunks of what the engine works on best at once: on some, the
 * elements of a chunk stay in the processor's cache while the ops of the step pass over them.
 */
import { Effect, Schema, type Scope } from "effect"
import type { Buffer, Call, Engine, EngineError } from "../engines/Engine.ts"
import { setting } from "../config/setting.ts"
import { add, div, input, mul, sqrt, sub } from "../tensor/ops.ts"
import { makeProgram, type Program } from "../tensor/Program.ts"
import type { Group } from "./groups.ts"

const Beta = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0), Schema.isLessThan(1))

export const AdamW = Schema.Struct({
  /** Decay of AdamW's first moments */
  beta1: setting(Beta, 0.9),
  /** Decay of AdamW's second moments */
  beta2: setting(Beta, 0.95),
  /** Added to the root of AdamW's second moments */
  epsilon: setting(Schema.Finite, 1e-8),
  /** Decoupled: each step takes `lr` times this share of a parameter away */
  weightDecay: setting(Schema.Finite, 0)
})
export type AdamW = typeof AdamW.Type

/** The flat buffers of an optimiser, all f32 [n]. */
export interface OptimiserBuffers {
  readonly parameters: Buffer
  readonly gradients: Buffer
  readonly firstMoments: Buffer
  readonly secondMoments: Buffer
}

export interface StepSettings {
  readonly lr: number
  /** From 1: what the bias corrections are computed from. */
  readonly step: number
  /** Multiplies every gradient: clipping, and the division by the number of tokens. */
  readonly gradientScale: number
}

export interface Optimiser {
  /** Updates parameters and moments in place. */
  readonly step: (settings: StepSettings) => Effect.Effect<void, EngineError>
}

/** Scalars that change from step to step, in the order of `scalars`. */
const scalarNames = ["scale", "rate", "rootCorrection", "decay"] as const

/**
 * m = m + (1 - beta1)(g - m), v = v + (1 - beta2)(g^2 - v), p = p decay - rate m / (sqrt(v) rootCorrection + epsilon), with rate =
 * lr / (1 - beta1^t), rootCorrection = 1 / sqrt(1 - beta2^t), decay = 1 - lr weightDecay.
 */
const updateProgram = ({ beta1, beta2, epsilon }: AdamW, n: number): Program => {
  const flat = (name: string) => input(name, "f32", [n])
  const scalar = (name: (typeof scalarNames)[number]) => input(name, "f32", [])
  const [p, m, v] = [flat("p"), flat("m"), flat("v")]
  const g = mul(flat("g"), scalar("scale"))
  const nextM = add(m, mul(sub(g, m), 1 - beta1))
  const nextV = add(v, mul(sub(mul(g, g), v), 1 - beta2))
  const update = div(mul(nextM, scalar("rate")), add(mul(sqrt(nextV), scalar("rootCorrection")), epsilon))
  return makeProgram({ nextP: sub(mul(p, scalar("decay")), update), nextM, nextV })
}

export interface OptimiserOptions {
  /** Elements that one run updates; by default what suits the engine. */
  readonly chunk?: number
  /** By default one, of all parameters, with weight decay. */
  readonly groups?: ReadonlyArray<Group>
}

/** Prepares the runs of a step. The buffers belong to the caller. */
export const makeAdamW = (
  engine: Engine,
  settings: AdamW,
  buffers: OptimiserBuffers,
  { chunk = engine.chunk, groups }: OptimiserOptions = {}
): Effect.Effect<Optimiser, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const whole: Group = { offset: 0, size: buffers.parameters.shape[0]!, rateFactor: 1, decays: true }
    const all = groups ?? [whole]
    const scalars = yield* engine.allocate("f32", [all.length, scalarNames.length])
    const compiled = new Map<number, Effect.Success<ReturnType<Engine["compile"]>>>()
    const calls: Array<Call> = []
    for (const [g, { offset, size: groupSize }] of all.entries()) {
      const scalarViews = Object.fromEntries(
        yield* Effect.forEach(scalarNames, (name, i) =>
          Effect.map(engine.view(scalars, g * scalarNames.length + i, []), view => [name, view] as const)
        )
      )
      for (let start = 0; start < groupSize; start += chunk) {
        const size = Math.min(chunk, groupSize - start)
        const executable =
          compiled.get(size) ??
          (yield* engine.compile(updateProgram(settings, size), { inPlace: { nextP: "p", nextM: "m", nextV: "v" } }))
        compiled.set(size, executable)
        const part = (buffer: Buffer) => engine.view(buffer, offset + start, [size])
        const p = yield* part(buffers.parameters)
        const m = yield* part(buffers.firstMoments)
        const v = yield* part(buffers.secondMoments)
        const g = yield* part(buffers.gradients)
        calls.push(yield* engine.bind(executable, { p, m, v, g, ...scalarViews }, { nextP: p, nextM: m, nextV: v }))
      }
    }
    return {
      step: ({ gradientScale, lr, step }) => {
        const rootCorrection = 1 / Math.sqrt(1 - settings.beta2 ** step)
        const values = all.flatMap(({ decays, rateFactor }) => {
          const groupRate = lr * rateFactor
          const decay = decays ? 1 - groupRate * settings.weightDecay : 1
          return [gradientScale, groupRate / (1 - settings.beta1 ** step), rootCorrection, decay]
        })
        return Effect.andThen(engine.upload(scalars, Float32Array.from(values)), engine.run(calls))
      }
    }
  })
