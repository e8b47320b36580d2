/** From noise to latents by a network that predicts the clean ones: DDIM. */
import { Effect } from "effect"

/** Predicts from noised latents at a time (1 is noise). `earlier` is the prediction of the step before; all are of one length. */
export type Predict<E> = (noised: Float32Array, time: number, earlier: Float32Array) => Effect.Effect<Float32Array, E>

export interface DdimOptions {
  readonly steps: number
  readonly alphaBar: (time: number) => number
  /** Share of fresh noise: 0 is DDIM (Song, Meng, Ermon 2021), without chance beyond the start. */
  readonly eta: number
  /** Fresh noise of a step, of the latents' length; not asked for where eta is 0. */
  readonly noise: (step: number) => Float32Array
  /** `ascending` walks from 0 to 1 instead, as the seed's benchmark does: for comparison, it does not sample. */
  readonly direction?: "descending" | "ascending"
}

/** Keeps the quotient finite at t = 0, where there is no noise to divide by. */
const epsilon = 1e-8

/** z = sqrt(a(s)) z0 + sqrt(1 - a(s)) (eta noise + sqrt(1 - eta^2) e), e = (z - sqrt(a(t)) z0) / sqrt(1 - a(t)), from t to s in even steps. Returns the last prediction. */
export const ddim = Effect.fn("ddim")(function* <E>(
  start: Float32Array,
  predict: Predict<E>,
  { alphaBar, direction = "descending", eta, noise, steps }: DdimOptions
) {
  let z = start
  let clean: Float32Array = new Float32Array(start.length)
  for (let j = 0; j < steps; j++) {
    const at = (i: number): number => (direction === "descending" ? 1 - i / steps : i / steps)
    const [now, next] = [alphaBar(at(j)), alphaBar(at(j + 1))]
    const predicted = yield* predict(z, at(j), clean)
    const fresh = eta === 0 ? undefined : noise(j)
    const [keep, spread] = [Math.sqrt(next), Math.sqrt(1 - next)]
    const own = Math.sqrt(1 - eta ** 2)
    const [signal, deviation] = [Math.sqrt(now), Math.sqrt(1 - now + epsilon)]
    z = z.map((value, i) => {
      const implied = (value - signal * predicted[i]!) / deviation
      return keep * predicted[i]! + spread * (eta * (fresh?.[i] ?? 0) + own * implied)
    })
    clean = predicted
  }
  return clean
})
