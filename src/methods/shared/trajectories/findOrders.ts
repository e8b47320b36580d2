/** Finds the order in which a model would reveal given responses: it is asked again after each step how sure it is of what is still masked. */
import { Effect } from "effect"
import type { Response } from "./responses.ts"
import { type ChooseNext, scheduledOrder, thresholdOrder, type Trajectory } from "./trajectory.ts"

/** Entropies (nats) of a model's predictions of tokens at places of a canvas (row x length + column). */
export interface Uncertainty<E> {
  readonly rows: number
  readonly length: number
  /** `pads`: columns at the beginning of each row that are padding. */
  readonly entropies: (
    canvas: Int32Array,
    pads: ReadonlyArray<number>,
    places: ReadonlyArray<number>
  ) => Effect.Effect<Float32Array, E>
}

export interface OrderSettings {
  readonly mode: "scheduled" | "entropy"
  /** States behind the first, at most. */
  readonly steps: number
  /** Mode `entropy`: tokens below this many nats are revealed. */
  readonly threshold: number
  readonly mask: number
  readonly pad: number
}

/** Trajectories of at most `rows` responses. What is revealed is the response's own token, whatever the model would say. */
export const findOrders = <E>(
  { entropies, length, rows }: Uncertainty<E>,
  responses: ReadonlyArray<Response>,
  { mask, mode, pad, steps, threshold }: OrderSettings
): Effect.Effect<ReadonlyArray<Trajectory>, E> =>
  Effect.gen(function* () {
    const canvas = new Int32Array(rows * length).fill(pad)
    const pads = Array.from({ length: rows }, (_, r) => length - (responses[r]?.ids.length ?? 0))
    /** Where the response's first token lies on the canvas. */
    const starts = responses.map(({ promptLength }, r) => r * length + pads[r]! + promptLength)
    const orders = responses.map(({ ids, promptLength }, r) => {
      canvas.set(ids, r * length + pads[r]!)
      canvas.fill(mask, starts[r], (r + 1) * length)
      const size = ids.length - promptLength
      const choose: ChooseNext = mode === "scheduled" ? scheduledOrder(size, steps) : thresholdOrder(threshold)
      return { choose, revealedAt: Array<number>(size).fill(0), forwards: 0 }
    })
    for (let revealStep = 1; ; revealStep++) {
      const masked = orders.map(({ revealedAt }) => [...revealedAt.keys()].filter(place => revealedAt[place] === 0))
      if (masked.every(places => places.length === 0)) break
      const asked = masked.flatMap((places, r) => places.map(place => starts[r]! + place))
      // What is left is revealed in the last step, however sure the model is.
      const last = revealStep >= steps
      const values = last ? new Float32Array(asked.length) : yield* entropies(canvas, pads, asked)
      let from = 0
      for (const [r, places] of masked.entries()) {
        if (places.length === 0) continue
        const order = orders[r]!
        const own = new Map(places.map((place, i) => [place, values[from + i]!]))
        from += places.length
        if (!last) order.forwards++
        for (const place of last ? places : order.choose(places, p => own.get(p)!)) {
          order.revealedAt[place] = revealStep
          canvas[starts[r]! + place] = responses[r]!.ids[responses[r]!.promptLength + place]!
        }
      }
    }
    return orders.map(({ forwards, revealedAt }, r) => ({
      promptLength: responses[r]!.promptLength,
      revealedAt,
      forwards
    }))
  })
